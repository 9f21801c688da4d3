"""Grids of positions over a slide: serpentine benchtop tiles and phone fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mobilescope.core.geometry import RegionUm


@dataclass(frozen=True)
class GridPosition:
    """One stop of a grid; ``x_um`` and ``y_um`` are the centre of the field."""

    index: int
    row: int
    column: int
    x_um: float
    y_um: float


@dataclass(frozen=True)
class FieldGrid:
    """Fields of one size on a regular grid around a centre.

    Parameters
    ----------
    field_width_um, field_height_um : float
        Size of one field at the specimen.
    overlap : float
        Fraction of a field shared with its neighbour; negative leaves a gap.
    serpentine : bool
        Every second row is walked backwards, which halves the stage travel.
    """

    rows: int
    columns: int
    field_width_um: float
    field_height_um: float
    centre_x_um: float = 0.0
    centre_y_um: float = 0.0
    overlap: float = 0.1
    serpentine: bool = True

    def __post_init__(self) -> None:
        """Refuse grids without fields and overlaps that would not advance."""
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"a grid needs at least one row and column, got {self.rows}x{self.columns}")
        if not self.overlap < 1:
            raise ValueError(f"overlap must be below 1, got {self.overlap}")

    @property
    def pitch_um(self) -> tuple[float, float]:
        """Distance between neighbouring centres as (x, y)."""
        return self.field_width_um * (1 - self.overlap), self.field_height_um * (1 - self.overlap)

    @property
    def region(self) -> RegionUm:
        """The area covered by all fields together."""
        pitch_x, pitch_y = self.pitch_um
        return RegionUm.centred(
            self.centre_x_um, self.centre_y_um,
            (self.columns - 1) * pitch_x + self.field_width_um,
            (self.rows - 1) * pitch_y + self.field_height_um,
        )

    def __len__(self) -> int:
        """Return the number of positions."""
        return self.rows * self.columns

    def __iter__(self) -> Iterator[GridPosition]:
        """Yield the positions in the order of the walk."""
        pitch_x, pitch_y = self.pitch_um
        index = 0
        for row in range(self.rows):
            backwards = self.serpentine and row % 2 == 1
            for step in range(self.columns):
                column = self.columns - 1 - step if backwards else step
                yield GridPosition(
                    index, row, column,
                    self.centre_x_um + (column - (self.columns - 1) / 2) * pitch_x,
                    self.centre_y_um + (row - (self.rows - 1) / 2) * pitch_y,
                )
                index += 1
