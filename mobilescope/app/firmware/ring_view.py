"""The ring drawn in a terminal: a circle of coloured blocks, or a row where the circle does not fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.style import Style
from rich.text import Text

from mobilescope.core.ring_model import Colour

# LEDs give light in proportion to their value, screens do not.
_SCREEN_GAMMA = 2.2
_BLOCK, _DARK = "██", "··"
_ROW_PIXELS = 30


def ring_text(pixels: Sequence[Colour], *, rows: int) -> Text:
    """Return the ring as lines of text, at most ``rows`` where it is drawn as a circle.

    Pixel 0 is at the top and numbers grow clockwise, as seen from the slide.
    """
    radius = _radius(len(pixels)) + 1  # room between neighbours
    if 2 * radius + 1 > rows:
        return _row(pixels)
    size = 2 * radius + 1
    places = {_place(index, len(pixels), radius): colour for index, colour in enumerate(pixels)}
    drawn = Text()
    for row in range(size):
        for column in range(size):
            drawn.append_text(_block(places[row, column]) if (row, column) in places else Text("  "))
        drawn.append("\n")
    return drawn


def _radius(pixels: int) -> int:
    """Return the least radius at which all pixels of a ring have places of their own."""
    radius = 1
    while len({_place(index, pixels, radius) for index in range(pixels)}) < pixels:
        radius += 1
    return radius


def _place(index: int, pixels: int, radius: int) -> tuple[int, int]:
    angle = 2 * math.pi * index / pixels
    return round(radius - radius * math.cos(angle)), round(radius + radius * math.sin(angle))


def _row(pixels: Sequence[Colour]) -> Text:
    drawn = Text()
    for index, colour in enumerate(pixels):
        drawn.append_text(_block(colour))
        drawn.append("\n" if index % _ROW_PIXELS == _ROW_PIXELS - 1 else "")
    drawn.append("\n")
    return drawn


def _block(colour: Colour) -> Text:
    if not any(colour):
        return Text(_DARK, Style(dim=True))
    red, green, blue = (round(255 * (value / 255) ** (1 / _SCREEN_GAMMA)) for value in colour)
    return Text(_BLOCK, Style(color=f"rgb({red},{green},{blue})"))
