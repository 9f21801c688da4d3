"""Enhancement of images of any size: tiles with the exact halo, equal to the untiled result."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import MobilescopeError, ModelKindError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.enhance.compaction import without_silent_units
from mobilescope.enhance.engines import Engine, EngineName, pick_engine
from mobilescope.enhance.pictures import check_shape, from_engine, to_engine
from mobilescope.enhance.ranges import residual_blocks
from mobilescope.enhance.tiling import plan_tiles
from mobilescope.enhance.tuned import remembered, tuning_key
from mobilescope.imaging.bands import Piece
from mobilescope.learn.activity import firing_units
from mobilescope.learn.checkpoint import ModelCard, load_model, read_reference
from mobilescope.learn.device import Precision, pick_device
from mobilescope.learn.memory import is_out_of_memory
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig, halo_px, output_size

_RGB = 3
_CPU_TILE_PX = 512
_GPU_TILE_PX = 2048
_LEAST_TILE_PX = 32

ReadTile = Callable[[slice, slice], NDArray[np.generic]]


class Enhancer:
    """A trained network, ready for pictures.

    Call it with one RGB image (rows, columns, 3): uint8 in gives uint8 out, uint16 uint16, float 0–1 float32. The
    output is ``card.network.factor`` times larger along each axis.

    Attributes
    ----------
    card : ModelCard
    units : int
        Inner units of the network's blocks that are computed.
    tuning_key : str
        What a measurement of its speed holds for; see `mobilescope.enhance.tuned`.
    """

    def __init__(
        self,
        network: EnhancementNetwork,
        card: ModelCard,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        engine: EngineName = "auto",
        calibration: Sequence[NDArray[np.generic]] = (),
        tile_px: int | None = None,
    ) -> None:
        if network.config.channels != _RGB:
            raise ModelKindError(
                f"this model is for pictures of {network.config.channels} channels", "RGB pictures need one of 3"
            )
        place = pick_device(device)
        self._config = network.config
        self.units = sum(block.first.out_channels for block in residual_blocks(network))
        self.tuning_key = tuning_key(network.config, self.units, place, precision)
        tuning = remembered(self.tuning_key) if engine == "auto" and precision != "int8" else None
        if tuning is not None:
            engine, tile_px = cast("EngineName", tuning.engine), tile_px or tuning.tile_px
        self._engine: Engine = pick_engine(engine, network, place, precision, calibration)
        self._tile_px = tile_px or (_GPU_TILE_PX if place.type == "cuda" else _CPU_TILE_PX)
        self.card = card

    @classmethod
    def from_checkpoint(
        cls,
        path: Path,
        device: str = "auto",
        precision: Precision = "auto",
        *,
        engine: EngineName = "auto",
        calibration: Sequence[NDArray[np.generic]] = (),
        whole: bool = False,
        tile_px: int | None = None,
    ) -> Self:
        """Load a model file; the errors are those of `mobilescope.learn.checkpoint.load_model`.

        Parameters
        ----------
        calibration : sequence of pictures
            What int8 measures the network's ranges on; a few that are like those to come.
        whole : bool
            Compute also the units that never fired on the training pictures, where the model tells which those are.
        tile_px : int, optional
            Side of a tile without its halo, input pixels; what suits the device where it is not given.
        """
        network, card, _ = load_model(path)
        firing = None if whole else firing_units(network, read_reference(path))
        if firing is not None:
            network = without_silent_units(network, firing)
        return cls(
            network, card, device=device, precision=precision, engine=engine, calibration=calibration, tile_px=tile_px
        )

    @property
    def engine(self) -> str:
        """What computes: library, device and precision."""
        return self._engine.name

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Return the output's (rows, columns, 3) for an input's shape; InputImageError where that is no picture's."""
        check_shape(shape)
        return output_size(shape[0], self._config), output_size(shape[1], self._config), shape[2]

    def __call__(
        self,
        image: NDArray[np.generic],
        *,
        on_progress: ProgressListener = ignore_progress,
        stop: StopToken | None = None,
    ) -> NDArray[np.generic]:
        """Enhance one image; CancelledError between tiles when asked to stop."""
        shape = self.output_shape(image.shape)
        pieces = self.stream(lambda *place: image[place], image.shape, on_progress=on_progress, stop=stop)
        first = next(pieces)
        if first.pixels.shape == shape:
            return first.pixels
        result = np.empty(shape, first.pixels.dtype)
        for piece in itertools.chain([first], pieces):
            rows, columns = piece.pixels.shape[:2]
            result[piece.row : piece.row + rows, piece.column : piece.column + columns] = piece.pixels
        return result

    def part(self, image: NDArray[np.generic], rows: slice, columns: slice) -> NDArray[np.generic]:
        """Enhance a part of an image as it would be within the whole: with what surrounds it in view of the network.

        Where the part begins at a multiple of the network's stride, the result is the whole one's.
        """
        down, skip_rows, keep_rows = _surrounded(rows, image.shape[0], self._config)
        across, skip_columns, keep_columns = _surrounded(columns, image.shape[1], self._config)
        enhanced = self(image[down, across])
        return enhanced[skip_rows : skip_rows + keep_rows, skip_columns : skip_columns + keep_columns]

    def stream(
        self,
        read: ReadTile,
        shape: tuple[int, ...],
        *,
        on_progress: ProgressListener = ignore_progress,
        stop: StopToken | None = None,
    ) -> Iterator[Piece]:
        """Enhance a picture that need not fit into memory, piece by piece, from left to right and top to bottom.

        Parameters
        ----------
        read : callable
            Gives the pixels (rows, columns, 3) of two slices of the picture; called once for each tile.
        shape : tuple
            The picture's (rows, columns, 3).
        """
        check_shape(shape)
        return self._stream(read, shape, on_progress, stop or StopToken())

    def _stream(
        self, read: ReadTile, shape: tuple[int, ...], on_progress: ProgressListener, stop: StopToken
    ) -> Iterator[Piece]:
        plan = plan_tiles(shape[0], shape[1], self._tile_px, self._config)
        done = 0
        for group in plan.groups(max(1, self._engine.batch_px // plan.tile_area_px)):
            stop.raise_if_requested("enhancing")
            given = [
                read(slice(tile.rows.first, tile.rows.last), slice(tile.columns.first, tile.columns.last))
                for tile in group
            ]
            pictures = [to_engine(pixels) for pixels in given]
            outputs = self._run(pictures[0][None] if len(pictures) == 1 else np.stack(pictures))
            done += len(group)
            on_progress(Progress("enhance", done, len(plan), "tiles"))
            for tile, output in zip(group, outputs, strict=True):
                yield Piece(tile.rows.start, tile.columns.start, from_engine(tile.kept(output), given[0].dtype))

    def _run(self, pictures: NDArray[np.generic]) -> NDArray[np.generic]:
        """Enhance tiles of one shape, in smaller parts where memory runs out: a tile is a picture like any other."""
        _, rows, columns, _ = pictures.shape
        if len(plan_tiles(rows, columns, self._tile_px, self._config)) > 1:  # planned before tiles had to shrink
            return np.stack([self._in_parts(picture) for picture in pictures])
        try:
            return self._engine.run(pictures)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            failure = error
        self._engine.release()
        if len(pictures) > 1:
            return np.concatenate([self._run(picture[None]) for picture in pictures])
        self._shrink(rows, columns, failure)
        return self._in_parts(pictures[0])[None]

    def _shrink(self, rows: int, columns: int, failure: BaseException) -> None:
        smaller = min(self._tile_px, max(rows, columns)) // 2
        if smaller < _LEAST_TILE_PX or len(plan_tiles(rows, columns, smaller, self._config)) < 2:
            raise MobilescopeError(
                f"memory ran out on a tile of {columns}×{rows} px", "close other programs"
            ) from failure
        self._tile_px = smaller
        warnings.warn(
            f"memory ran out on a tile of {columns}×{rows} px; going on with tiles of {smaller} px",
            RuntimeWarning,
            stacklevel=3,
        )

    def _in_parts(self, picture: NDArray[np.generic]) -> NDArray[np.generic]:
        output = np.empty(self.output_shape(picture.shape), picture.dtype)
        rows, columns, _ = picture.shape
        for tile in plan_tiles(rows, columns, self._tile_px, self._config):
            part = picture[tile.rows.first : tile.rows.last, tile.columns.first : tile.columns.last]
            kept = tile.kept(self._run(part[None])[0])
            output[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop] = kept
        return output


def _surrounded(part: slice, size_px: int, config: NetworkConfig) -> tuple[slice, int, int]:
    """Return a span of one axis with its halo, the output pixels that come before the span's own, and the span's own.

    The halo before it is a multiple of the stride, so that the network's grid stays where it would be without.
    """
    halo = halo_px(config)
    before = min(halo, part.start // config.stride * config.stride)
    grown = slice(part.start - before, min(size_px, part.stop + halo))
    return grown, before * config.shuffle // config.stride, output_size(part.stop - part.start, config)
