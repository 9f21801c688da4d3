"""The middle of a phone's picture, where its lens is best, cut into four squares (R18, data preprocessing)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mobilescope.core.errors import InputImageError

CropPreset = Literal["whole", "r18", "square"]

_R18_PX = 2048
_PARTS = 2


@dataclass(frozen=True)
class Crop:
    """A part of a developed picture: (row, column) of its first pixel, and (rows, columns)."""

    origin_px: tuple[int, int]
    shape: tuple[int, int]

    @property
    def part(self) -> tuple[slice, slice]:
        """Rows and columns as slices."""
        (top, left), (rows, columns) = self.origin_px, self.shape
        return slice(top, top + rows), slice(left, left + columns)

    def offset_um(self, picture: tuple[int, int], pixel_um: float) -> tuple[float, float]:
        """Return where its centre lies from that of a picture of (rows, columns), x right and y down."""
        (top, left), (rows, columns) = self.origin_px, self.shape
        return (left + (columns - picture[1]) / 2) * pixel_um, (top + (rows - picture[0]) / 2) * pixel_um


def central_crops(shape: tuple[int, int], preset: CropPreset) -> tuple[Crop, ...]:
    """Return the parts of a developed picture of (rows, columns) that are compared.

    Parameters
    ----------
    preset : {"whole", "r18", "square"}
        The picture as it is; the central 2048² in four of 1024²; the largest central square in four. Parts begin at
        even pixels and have even sides, in the order of rows.

    Raises
    ------
    InputImageError
        The picture is too small.
    """
    if preset not in get_args(CropPreset):
        raise InputImageError(f"there are no crops {preset!r}", f"choose {', '.join(get_args(CropPreset))}")
    rows, columns = shape
    if preset == "whole":
        return (Crop((0, 0), shape),)
    side = _R18_PX if preset == "r18" else min(shape) // (2 * _PARTS) * 2 * _PARTS
    if side == 0 or min(shape) < side:
        raise InputImageError(
            f"a picture of {rows}x{columns} has no central {max(side, 2 * _PARTS)}x{max(side, 2 * _PARTS)}",
            'take crops = "square", or "whole"',
        )
    top, left = ((length - side) // 2 // 2 * 2 for length in shape)
    part = side // _PARTS
    return tuple(
        Crop((top + row * part, left + column * part), (part, part))
        for row in range(_PARTS) for column in range(_PARTS)
    )
