"""How closely pictures of one field are looked at, in terms that hold for each of them whatever its pixels."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 16.0
# As many notches back as forth end at the whole picture, whatever was rounded on the way.
_CLOSEST_TO_WHOLE = 1.001


@dataclass(frozen=True)
class Part:
    """A part of a picture in its pixels; 0 is the first pixel's outer edge."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Zoom:
    """What part of a picture fills its view.

    Attributes
    ----------
    factor : float
        The picture's width over the part's, 1 to `MOST`.
    x, y : float
        The part's middle, in parts of the picture's width and height.
    """

    factor: float = 1.0
    x: float = 0.5
    y: float = 0.5

    def part_of(self, columns: int, rows: int) -> Part:
        """Return the part of a picture of this size."""
        width, height = columns / self.factor, rows / self.factor
        return Part(self.x * columns - width / 2, self.y * rows - height / 2, width, height)

    def closer(self, times: float, x: float = 0.5, y: float = 0.5) -> Zoom:
        """Return a zoom so many times as close, under which the point at ``x``, ``y`` of the view stays there."""
        factor = min(self.factor * times, MOST)
        if factor < _CLOSEST_TO_WHOLE:
            return Zoom()
        stays_x, stays_y = (self.x + (x - 0.5) / self.factor, self.y + (y - 0.5) / self.factor)
        return _inside(factor, stays_x - (x - 0.5) / factor, stays_y - (y - 0.5) / factor)

    def moved(self, across: float, down: float) -> Zoom:
        """Return a zoom whose part lies by so many of its own widths and heights to the right and below."""
        return _inside(self.factor, self.x + across / self.factor, self.y + down / self.factor)


def _inside(factor: float, x: float, y: float) -> Zoom:
    """Return a zoom whose part does not leave the picture."""
    half = 0.5 / factor
    return Zoom(factor, min(max(x, half), 1 - half), min(max(y, half), 1 - half))
