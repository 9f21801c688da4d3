"""How a picture of any size is cut into tiles of one shape, and which part of each tile's output is kept."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.learn.networks import NetworkConfig, halo_px, output_size


@dataclass(frozen=True)
class Span:
    """A tile along one axis: input pixels ``first`` to ``last``, output pixels ``start`` to ``stop``, ends excluded.

    ``skip`` output pixels of the tile come before ``start``.
    """

    first: int
    last: int
    start: int
    stop: int
    skip: int


@dataclass(frozen=True)
class Tile:
    """A tile of a picture: a span of rows and one of columns."""

    rows: Span
    columns: Span

    def kept(self, output: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return what the picture takes of this tile's output (rows, columns, channels)."""
        rows, columns = self.rows, self.columns
        return output[
            rows.skip : rows.skip + rows.stop - rows.start,
            columns.skip : columns.skip + columns.stop - columns.start,
        ]


def spans(size_px: int, tile_px: int, config: NetworkConfig) -> list[Span]:
    """Cut one axis into tiles of equal length that start at multiples of the stride.

    Equal lengths let an engine prepare one shape for the whole picture. The first and the last tile lie flush with
    the picture's edges, so that the network's own zero padding takes over there, as it does untiled.

    Parameters
    ----------
    tile_px : int
        Input pixels of a tile without its halo.
    """
    stride, halo = config.stride, halo_px(config)
    core = max(stride, tile_px // stride * stride)
    length = core + 2 * halo + size_px % stride
    if size_px <= length:
        return [Span(0, size_px, 0, output_size(size_px, config), 0)]
    steps = (size_px - length) // stride
    count = 1 + math.ceil(steps / (core // stride))
    firsts = [stride * (steps * index // (count - 1)) for index in range(count)]
    cuts = [0, *(first + halo for first in firsts[1:]), size_px]
    return [
        Span(
            first,
            first + length,
            output_size(cut, config),
            output_size(end, config),
            output_size(cut, config) - output_size(first, config),
        )
        for first, cut, end in zip(firsts, cuts[:-1], cuts[1:], strict=True)
    ]


@dataclass(frozen=True)
class Plan:
    """A picture's tiles, row by row; they are made as they are asked for, since a slide has very many."""

    down: list[Span]
    across: list[Span]

    def __len__(self) -> int:
        return len(self.down) * len(self.across)

    def __iter__(self) -> Iterator[Tile]:
        return (Tile(rows, columns) for rows in self.down for columns in self.across)

    @property
    def tile_area_px(self) -> int:
        """Input pixels of a tile, its halo included."""
        return (self.down[0].last - self.down[0].first) * (self.across[0].last - self.across[0].first)

    def groups(self, most: int) -> Iterator[list[Tile]]:
        """Yield the tiles in order, up to so many at a time."""
        remaining = iter(self)
        while group := list(itertools.islice(remaining, most)):
            yield group


def plan_tiles(rows: int, columns: int, tile_px: int, config: NetworkConfig) -> Plan:
    """Cut a picture into tiles of one shape."""
    return Plan(spans(rows, tile_px, config), spans(columns, tile_px, config))
