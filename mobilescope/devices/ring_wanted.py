"""What the ring should show, as frozen values, and what that puts on the wire."""

from __future__ import annotations

from dataclasses import dataclass

from mobilescope.core.ring_model import Colour, Rendering, pattern_colours
from mobilescope.core.ring_protocol import Setting
from mobilescope.plans.illumination import Sequence

DARK: Colour = (0, 0, 0)

Pixels = tuple[Colour, ...]


@dataclass(frozen=True)
class Steady:
    """Light that stays: each pixel's colour as it was asked for, before brightness, gamma and white balance."""

    asked: Pixels

    @property
    def lit(self) -> bool:
        """Whether any pixel is."""
        return any(map(any, self.asked))

    def shows(self, rendering: Rendering) -> list[Pixels]:
        """Return what the wire may carry."""
        return [rendered(self.asked, rendering)]


@dataclass(frozen=True)
class Playing:
    """A sequence that a ring of ``pixels`` plays, and when it ends by the wire's clock."""

    sequence: Sequence
    pixels: int
    ends_s: float

    @property
    def lit(self) -> bool:
        """A sequence needs the host as light does, dark steps or not."""
        return True

    def shows(self, rendering: Rendering) -> list[Pixels]:
        """Return what the wire may carry, in the order of the steps."""
        patterns = [step.pattern for step in self.sequence.steps]
        asked = [
            tuple(pattern_colours(pattern.kind, pattern.position, pattern.colour, self.pixels)) for pattern in patterns
        ]
        return [rendered(pixels, rendering) for pixels in asked]


Wanted = Steady | Playing


def rendered(asked: Pixels, rendering: Rendering) -> Pixels:
    """Return the colours on the wire for those asked for."""
    return tuple(rendering.shown(colour) for colour in asked)


def rendering_of(settings: dict[Setting, int]) -> Rendering:
    """Return what the settings make of colours."""
    return Rendering(
        settings[Setting.BRIGHTNESS],
        bool(settings[Setting.GAMMA]),
        (settings[Setting.WHITE_RED], settings[Setting.WHITE_GREEN], settings[Setting.WHITE_BLUE]),
    )


def colour_bytes(colours: Pixels) -> bytes:
    """Return colours as commands carry them."""
    return bytes(value for colour in colours for value in colour)
