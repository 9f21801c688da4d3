"""What the ring's firmware makes of colours, the same on both sides of the wire: rendering, CRC, current, patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mobilescope.core.framing import crc16
from mobilescope.core.ring_protocol import GAMMA, SETTING_RANGES, PatternKind, Setting

Colour = tuple[int, int, int]

_CHANNEL_MA = 20
_IDLE_MA = 1


@dataclass(frozen=True)
class Rendering:
    """The settings that stand between a colour and the wire, each 0-255; ``white`` is (red, green, blue)."""

    brightness: int = SETTING_RANGES[Setting.BRIGHTNESS].default
    gamma: bool = False
    white: Colour = (255, 255, 255)

    def shown(self, colour: Colour) -> Colour:
        """Return the colour that the wire carries for a colour asked for."""
        red, green, blue = (self._channel(value, white) for value, white in zip(colour, self.white, strict=True))
        return red, green, blue

    def _channel(self, value: int, white: int) -> int:
        value = GAMMA[value] if self.gamma else value
        value = value * (white + 1) >> 8
        return value * (self.brightness + 1) >> 8


def shown_crc(shown: Sequence[Colour]) -> int:
    """Return the CRC that the board reports for the colours on the wire."""
    return crc16(bytes(value for red, green, blue in shown for value in (green, red, blue)))


def estimated_ma(shown: Sequence[Colour]) -> int:
    """Return the current the board estimates for the colours on the wire, in mA."""
    return -(-_CHANNEL_MA * sum(map(sum, shown)) // 255) + _IDLE_MA * len(shown)


def pattern_colours(kind: PatternKind, position: int, colour: Colour, pixels: int) -> list[Colour]:
    """Return the colours of a pattern on a ring of ``pixels``, before rendering; ValueError for a bad position."""
    limits = {PatternKind.BRIGHT_FIELD: 1, PatternKind.CHANNEL: 3}
    if not 0 <= position < limits.get(kind, pixels):
        raise ValueError(f"{kind.name.lower()} has no position {position} on a ring of {pixels} pixels")
    dark: Colour = (0, 0, 0)
    if kind == PatternKind.BRIGHT_FIELD:
        return [colour] * pixels
    if kind == PatternKind.CHANNEL:
        red, green, blue = (value if channel == position else 0 for channel, value in enumerate(colour))
        return [(red, green, blue)] * pixels
    lit = 1 if kind == PatternKind.SINGLE else max(1, pixels // 2)
    return [colour if (pixel - position) % pixels < lit else dark for pixel in range(pixels)]
