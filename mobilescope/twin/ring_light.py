"""The light of the simulated ring: settings, pixels, sequences and the times after which it goes dark."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from mobilescope.core.ring_model import Colour, Rendering, estimated_ma, pattern_colours
from mobilescope.core.ring_protocol import SETTING_RANGES, BoardKind, LightFlag, PatternKind, Setting, Status

DARK: Colour = (0, 0, 0)
LEAST_DURATION_MS = 10

_TIME_OUTS = (Setting.HOST_TIMEOUT_MS, Setting.LOCAL_TIMEOUT_S)
_SHOWS_KEPT = 10_000


class RefusalError(Exception):
    """A command that the firmware answers with another status than OK."""

    def __init__(self, status: Status, data: bytes = b"") -> None:
        super().__init__(status.name)
        self.status = status
        self.data = data


class SelfOff(Enum):
    """Why the light switched itself off."""

    SILENCE = auto()
    AGE = auto()
    SEQUENCE_END = auto()


@dataclass(frozen=True)
class Show:
    """Pixels as they went over the wire at a time."""

    time_s: float
    pixels: tuple[Colour, ...]


@dataclass(frozen=True)
class _Step:
    kind: int
    position: int
    colour: Colour
    duration_ms: int


@dataclass
class _Playing:
    steps: int
    repeats: int
    step: int
    ends_s: float


class RingLight:
    """What the firmware does with light, by a clock that it is told.

    Parameters
    ----------
    board : BoardKind
        Whose limits hold.
    pixels : int
        The ring's length after power-on.
    """

    def __init__(self, board: BoardKind, pixels: int, now_s: float) -> None:
        self.board = board
        self.settings = {setting: limits.default for setting, limits in SETTING_RANGES.items()}
        self.settings[Setting.PIXELS] = pixels
        self.shown: tuple[Colour, ...] = (DARK,) * pixels
        self.shows: deque[Show] = deque(maxlen=_SHOWS_KEPT)
        self.timed_out = False
        self.local = False
        self._steps: dict[int, _Step] = {}
        self._playing: _Playing | None = None
        # Silence counts from the last valid frame, local light from when it began.
        self._since_s = now_s

    @property
    def pixels(self) -> int:
        """The ring's length."""
        return self.settings[Setting.PIXELS]

    @property
    def playing(self) -> bool:
        """Whether a sequence is."""
        return self._playing is not None

    @property
    def flags(self) -> LightFlag:
        """The flags of the light reply, all but FRESH."""
        return (
            (LightFlag.LIT if any(map(any, self.shown)) else LightFlag(0))
            | (LightFlag.SEQUENCE if self._playing else LightFlag(0))
            | (LightFlag.TIMED_OUT if self.timed_out else LightFlag(0))
            | (LightFlag.LOCAL if self.local else LightFlag(0))
        )

    def heard(self, now_s: float) -> None:
        """Note a valid frame: the host lives."""
        if not self.local:
            self._since_s = now_s

    def shine_locally(self, pixels: tuple[Colour, ...], now_s: float) -> None:
        """Show stored light, which no host has to keep alive."""
        self._show(pixels, now_s)
        self.local = any(map(any, pixels))
        self._since_s = now_s

    def paint(self, first: int, colours: Sequence[Colour], now_s: float) -> None:
        """Show colours from a pixel on; the others stay."""
        if not 0 <= first < self.pixels or first + len(colours) > self.pixels:
            raise RefusalError(Status.PIXEL_OUT_OF_RANGE)
        rendered = self._rendered(colours)
        shown = self.shown[:first] + rendered + self.shown[first + len(colours) :]
        self._refuse_above_supply(shown)
        self._take(shown, now_s)

    def pattern(self, kind: int, position: int, colour: Colour, now_s: float) -> None:
        """Show a pattern."""
        shown = self._pattern(kind, position, colour)
        self._refuse_above_supply(shown)
        self._take(shown, now_s)

    def off(self, now_s: float) -> None:
        """Go dark and stop."""
        self._take((DARK,) * self.pixels, now_s)

    def keep_step(self, step: int, kind: int, position: int, colour: Colour, duration_ms: int) -> None:
        """Keep a step of a sequence."""
        if self._playing:
            raise RefusalError(Status.SEQUENCE_RUNNING)
        if step >= self.board.max_steps:
            raise RefusalError(Status.TOO_MANY_STEPS)
        kept = _Step(kind, position, colour, duration_ms)
        self._check(kept)
        self._steps[step] = kept

    def start(self, steps: int, repeats: int, now_s: float) -> None:
        """Play the steps kept."""
        if steps > self.board.max_steps:
            raise RefusalError(Status.TOO_MANY_STEPS)
        if steps == 0:
            raise RefusalError(Status.VALUE_OUT_OF_RANGE)
        if any(step not in self._steps for step in range(steps)):
            raise RefusalError(Status.NO_SEQUENCE)
        # Settings may have changed since the steps were set.
        for step in range(steps):
            self._check(self._steps[step])
        first = self._steps[0]
        self._take(self._pattern(first.kind, first.position, first.colour), now_s)
        self._playing = _Playing(steps, repeats, 0, now_s + first.duration_ms / 1000)

    def configure(self, setting: int, value: int, now_s: float) -> None:
        """Change a setting; all but the time-outs darken the ring."""
        if setting not in SETTING_RANGES:
            raise RefusalError(Status.UNKNOWN_SETTING)
        setting = Setting(setting)
        limits = SETTING_RANGES[setting]
        greatest = self.board.max_pixels if setting == Setting.PIXELS else limits.greatest
        if not (limits.least <= value <= greatest or (limits.zero and value == 0)):
            raise RefusalError(Status.VALUE_OUT_OF_RANGE)
        self.settings[setting] = value
        if setting not in _TIME_OUTS:
            self.off(now_s)

    def tick(self, now_s: float) -> SelfOff | None:
        """Do what is due by now; return why the light switched itself off, None where it did not."""
        while True:
            step_s = self._playing.ends_s if self._playing else math.inf
            dark_s = self._dark_s()
            if now_s < min(step_s, dark_s):
                return None
            if dark_s <= step_s:
                why = SelfOff.AGE if self.local else SelfOff.SILENCE
                self.off(dark_s)
                self.timed_out = why == SelfOff.SILENCE
                return why
            if self._next_step() is None:
                return SelfOff.SEQUENCE_END

    def _dark_s(self) -> float:
        """Return when the light goes off by itself."""
        if not (any(map(any, self.shown)) or self._playing):
            return math.inf
        lasts_s = (
            self.settings[Setting.LOCAL_TIMEOUT_S] if self.local else self.settings[Setting.HOST_TIMEOUT_MS] / 1000
        )
        return self._since_s + lasts_s if lasts_s else math.inf

    def _next_step(self) -> _Playing | None:
        """Show the next step; dark after the last."""
        playing = self._playing
        assert playing is not None
        now_s = playing.ends_s
        playing.step = (playing.step + 1) % playing.steps
        if playing.step == 0 and playing.repeats:
            playing.repeats -= 1
            if playing.repeats == 0:
                self._playing = None
                self._show((DARK,) * self.pixels, now_s)
                return None
        step = self._steps[playing.step]
        playing.ends_s = now_s + step.duration_ms / 1000
        self._show(self._pattern(step.kind, step.position, step.colour), now_s)
        return playing

    def _check(self, step: _Step) -> None:
        shown = self._pattern(step.kind, step.position, step.colour)
        if step.duration_ms < LEAST_DURATION_MS:
            raise RefusalError(Status.VALUE_OUT_OF_RANGE)
        self._refuse_above_supply(shown)

    def _pattern(self, kind: int, position: int, colour: Colour) -> tuple[Colour, ...]:
        if kind not in set(PatternKind):
            raise RefusalError(Status.VALUE_OUT_OF_RANGE)
        try:
            return self._rendered(pattern_colours(PatternKind(kind), position, colour, self.pixels))
        except ValueError as error:
            raise RefusalError(Status.PIXEL_OUT_OF_RANGE) from error

    def _rendered(self, colours: Sequence[Colour]) -> tuple[Colour, ...]:
        settings = self.settings
        rendering = Rendering(
            settings[Setting.BRIGHTNESS],
            bool(settings[Setting.GAMMA]),
            (settings[Setting.WHITE_RED], settings[Setting.WHITE_GREEN], settings[Setting.WHITE_BLUE]),
        )
        return tuple(rendering.shown(colour) for colour in colours)

    def _refuse_above_supply(self, shown: tuple[Colour, ...]) -> None:
        estimated, limit = estimated_ma(shown), self.settings[Setting.SUPPLY_MA]
        if estimated > limit:
            raise RefusalError(Status.CURRENT_LIMIT, estimated.to_bytes(2, "big") + limit.to_bytes(2, "big"))

    def _take(self, shown: tuple[Colour, ...], now_s: float) -> None:
        """Show what the host wants, whose the light is from then on."""
        self._playing = None
        self.timed_out = False
        if self.local:
            self.local = False
            self._since_s = now_s
        self._show(shown, now_s)

    def _show(self, shown: tuple[Colour, ...], now_s: float) -> None:
        self.shown = shown
        self.shows.append(Show(now_s, shown))
