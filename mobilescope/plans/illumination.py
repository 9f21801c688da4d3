"""What the ring of LEDs is to show, as frozen values: patterns, sequences of them, and colours from what people type.

Colours are drive values 0-255 of red, green and blue; light grows in proportion to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from mobilescope.core.config import StrictModel, load_model
from mobilescope.core.errors import PlanError
from mobilescope.core.ring_model import Colour
from mobilescope.core.ring_protocol import BOARDS, SETTING_RANGES, PatternKind, Setting

CHANNELS = ("red", "green", "blue")
LEAST_DURATION_MS = 10
GREATEST_DURATION_MS = 65_535
GREATEST_REPEATS = 65_535

_GREATEST_PIXEL = SETTING_RANGES[Setting.PIXELS].greatest - 1
_GREATEST_STEPS = max(board.max_steps for board in BOARDS)
_POSITIONS = {PatternKind.BRIGHT_FIELD: 0, PatternKind.CHANNEL: len(CHANNELS) - 1}

Value = TypeVar("Value")


def _refused(parse: Callable[..., Value], *given: Any) -> Value:
    """Return what ``parse`` makes of a value; its ValueError becomes a PlanError."""
    try:
        return parse(*given)
    except ValueError as error:
        cause, _, remedy = str(error).partition("; ")
        raise PlanError(cause, remedy) from error


def _within(name: str, value: int, least: int, greatest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= greatest:
        raise ValueError(f"{name} is {value!r}; give a whole number from {least} to {greatest}")
    return value


def _colour(values: tuple[int, ...]) -> Colour:
    if not isinstance(values, tuple | list) or len(values) != len(CHANNELS):
        raise ValueError(f"{values!r} is no colour; give red, green and blue")
    red, green, blue = (_within(name, value, 0, 255) for name, value in zip(CHANNELS, values, strict=True))
    return red, green, blue


def checked_colour(colour: Colour) -> Colour:
    """Return a colour of three whole numbers 0-255; PlanError naming the channel that is out of range."""
    return _refused(_colour, colour)


def _colour_of_text(text: str) -> Colour:
    written = text.strip()
    try:
        if "," in written:
            values = tuple(int(part) for part in written.split(","))
        else:
            digits = bytes.fromhex(written.removeprefix("#"))
            values = tuple(digits)
    except ValueError:
        values = ()
    if len(values) != len(CHANNELS):
        raise ValueError(f"{text!r} is no colour; give six hexadecimal digits (ff8000) or three numbers (255,128,0)")
    return _colour(values)


def parse_colour(text: str) -> Colour:
    """Return the colour written as ``ff8000``, ``#ff8000`` or ``255,128,0``; PlanError for anything else."""
    return _refused(_colour_of_text, text)


def colour_from_linear(linear: tuple[float, float, float]) -> Colour:
    """Return the colour of linear light, channels 0-1; PlanError outside that."""
    for name, value in zip(CHANNELS, linear, strict=True):
        if not 0 <= value <= 1:
            raise PlanError(f"{name} is {value}", "linear channels lie between 0 and 1")
    red, green, blue = (round(255 * value) for value in linear)
    return red, green, blue


def colour_of_temperature(kelvin: float, level: int = 255) -> Colour:
    """Return the colour of a glowing body, its strongest channel at ``level``.

    Planck's law is weighted with the analytic fits to the CIE 1931 2° observer of Wyman, Sloan and Shirley (Journal of
    Computer Graphics Techniques 2(2), 2013, multi-lobe fits) and brought to the linear sRGB primaries (IEC 61966-2-1);
    what lies outside them is cut off at 0, as blue is below about 1,900 K.

    Parameters
    ----------
    kelvin : float
        Colour temperature, 1,000 to 20,000 K.
    level : int
        Drive value of the strongest channel, 0-255.
    """
    if not 1000 <= kelvin <= 20_000:
        raise PlanError(f"a colour temperature of {kelvin:g} K", "give 1000 to 20000 K")
    _refused(_within, "level", level, 0, 255)
    x, y, z = _planckian_xyz(kelvin)
    linear = (
        3.2406 * x - 1.5372 * y - 0.4986 * z,
        -0.9689 * x + 1.8758 * y + 0.0415 * z,
        0.0557 * x - 0.2040 * y + 1.0570 * z,
    )
    strongest = max(linear)
    red, green, blue = (round(level * max(0.0, value) / strongest) for value in linear)
    return red, green, blue


def _planckian_xyz(kelvin: float) -> tuple[float, float, float]:
    """Return the tristimulus values of a black body, to a common factor."""

    def lobe(nm: float, height: float, centre: float, below: float, above: float) -> float:
        distance = (nm - centre) / (below if nm < centre else above)
        return height * math.exp(-0.5 * distance * distance)

    x = y = z = 0.0
    for nm in range(360, 831, 5):
        # hc/k is 1.438777e7 nm K; the first radiation constant cancels.
        power = (nm / 560) ** -5 / math.expm1(1.438777e7 / (nm * kelvin))
        x += power * (
            lobe(nm, 1.056, 599.8, 37.9, 31.0) + lobe(nm, 0.362, 442.0, 16.0, 26.7) - lobe(nm, 0.065, 501.1, 20.4, 26.2)
        )
        y += power * (lobe(nm, 0.821, 568.8, 46.9, 40.5) + lobe(nm, 0.286, 530.9, 16.3, 31.1))
        z += power * (lobe(nm, 1.217, 437.0, 11.8, 36.0) + lobe(nm, 0.681, 459.0, 26.0, 13.8))
    return x, y, z


@dataclass(frozen=True)
class Pattern:
    """Light on the whole ring or a part of it.

    ``position`` is a pixel (half ring, single), a channel (channel), or 0 (bright field). Pixels count from 0 clockwise
    as seen from the slide; whether the ring has that many is known to the ring alone.
    """

    kind: PatternKind
    position: int
    colour: Colour

    def __post_init__(self) -> None:
        """Refuse positions and colours that no ring has."""
        name = self.kind.name.lower().replace("_", " ")
        _refused(_within, f"the position of a {name}", self.position, 0, _POSITIONS.get(self.kind, _GREATEST_PIXEL))
        checked_colour(self.colour)

    @classmethod
    def bright_field(cls, colour: Colour) -> Pattern:
        """Light all pixels."""
        return cls(PatternKind.BRIGHT_FIELD, 0, colour)

    @classmethod
    def half_ring(cls, position: int, colour: Colour) -> Pattern:
        """Light half the ring, from a pixel upwards, for differential phase contrast."""
        return cls(PatternKind.HALF_RING, position, colour)

    @classmethod
    def single(cls, position: int, colour: Colour) -> Pattern:
        """Light one pixel, for oblique light."""
        return cls(PatternKind.SINGLE, position, colour)

    @classmethod
    def channel(cls, channel: int, colour: Colour) -> Pattern:
        """Light all pixels with one channel of the colour: 0 red, 1 green, 2 blue."""
        return cls(PatternKind.CHANNEL, channel, colour)


@dataclass(frozen=True)
class SequenceStep:
    """A pattern and how long it is shown, 10 to 65,535 ms."""

    pattern: Pattern
    duration_ms: int

    def __post_init__(self) -> None:
        """Refuse durations that the board can't keep."""
        _refused(_within, "a step's duration_ms", self.duration_ms, LEAST_DURATION_MS, GREATEST_DURATION_MS)


@dataclass(frozen=True)
class Sequence:
    """Steps that the board plays by its own clock, ``repeats`` times (0: until stopped)."""

    steps: tuple[SequenceStep, ...]
    repeats: int = 1

    def __post_init__(self) -> None:
        """Refuse sequences that no board can keep."""
        _refused(_within, "the number of steps", len(self.steps), 1, _GREATEST_STEPS)
        _refused(_within, "repeats", self.repeats, 0, GREATEST_REPEATS)

    @property
    def duration_s(self) -> float:
        """How long it plays; infinite where it plays until stopped."""
        once_s = sum(step.duration_ms for step in self.steps) / 1000
        return once_s * self.repeats if self.repeats else math.inf


PATTERN_NAMES = {kind.name.lower().replace("_", "-"): kind for kind in PatternKind}


def _pattern_kind(given: object) -> PatternKind:
    if not isinstance(given, str) or given not in PATTERN_NAMES:
        raise ValueError(f"known patterns are {', '.join(PATTERN_NAMES)}")
    return PATTERN_NAMES[given]


def written_colour(given: object) -> object:
    """Return the colour that a file writes as text, or what else it writes as it is, to be checked."""
    return _colour_of_text(given) if isinstance(given, str) else given


class _StepTable(StrictModel):
    """One table ``[[steps]]`` of a sequence file."""

    pattern: Annotated[PatternKind, BeforeValidator(_pattern_kind)]
    position: int = Field(default=0, ge=0, le=_GREATEST_PIXEL)
    colour: Annotated[Colour, BeforeValidator(written_colour), AfterValidator(_colour)]
    duration_ms: int = Field(ge=LEAST_DURATION_MS, le=GREATEST_DURATION_MS)


class _SequenceFile(StrictModel):
    """A sequence file."""

    repeats: int = Field(default=1, ge=0, le=GREATEST_REPEATS)
    steps: tuple[_StepTable, ...] = Field(min_length=1, max_length=_GREATEST_STEPS)


def load_sequence(path: Path) -> Sequence:
    """Read a sequence from a TOML file; errors name file, key and value.

    The file has ``repeats`` and a table ``[[steps]]`` for each step with ``pattern`` (``bright-field``, ``half-ring``,
    ``single``, ``channel``), ``position``, ``colour`` (``"ff8000"`` or ``[255, 128, 0]``) and ``duration_ms``.
    """
    file = load_model(_SequenceFile, path)
    return Sequence(
        tuple(
            SequenceStep(Pattern(step.pattern, step.position, step.colour), step.duration_ms) for step in file.steps
        ),
        file.repeats,
    )
