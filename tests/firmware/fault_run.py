"""Mixed commands over a noisy line, with the light on the wire checked after each one that was acknowledged."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from firmware.lockstep_wire import LockstepWire, NoisyLine

from mobilescope.core.errors import LinkError, MobilescopeError
from mobilescope.core.ring_model import Colour, Rendering, pattern_colours
from mobilescope.core.ring_protocol import BoardKind, PatternKind, Setting
from mobilescope.devices.ring import Ring
from mobilescope.plans.illumination import Pattern, Sequence, SequenceStep
from mobilescope.twin.ring_simulator import LockstepBoard

DARK: Colour = (0, 0, 0)
_PIXELS = 12


@dataclass
class FaultReport:
    """What came of the commands: acknowledged, failed by name, and acknowledged with other light on the wire."""

    acknowledged: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    retries: int = 0
    simulated_s: float = 0.0

    @property
    def commands(self) -> int:
        """How many were given."""
        return self.acknowledged + sum(self.errors.values())


class _Mixer:
    """Gives commands by a seed and keeps its own account of what they should show."""

    def __init__(self, ring: Ring, wire: LockstepWire, seed: int) -> None:
        self._ring, self._wire = ring, wire
        self._random = random.Random(seed)
        self._pixels = [DARK] * _PIXELS
        self._brightness = 255
        # Shows of a sequence on its way; any of them may be on the wire.
        self._steps: list[list[Colour]] = []
        self._actions: list[tuple[Any, int]] = [
            (self._fill, 20), (self._set_one, 20), (self._set_all, 15), (self._set_range, 15), (self._pattern, 15),
            (self._off, 5), (self._refresh, 10), (self._configure, 3), (self._read, 3), (self._play, 3),
            (self._stop, 2), (self._count, 2), (self._self_test, 1), (self._silence, 1),
        ]

    def step(self) -> str:
        """Give one command and return its name."""
        actions, weights = zip(*self._actions, strict=True)
        action = self._random.choices(actions, weights)[0]
        action()
        return str(action.__name__).strip("_")

    def restart(self) -> None:
        """Start again from darkness after a command whose outcome is not known."""
        while True:
            try:
                self._ring.off()
                self._brightness = self._ring.setting(Setting.BRIGHTNESS)
            except LinkError:
                continue
            self._dark()
            return

    def complaint(self) -> str:
        """Return what is wrong on the wire, nothing where it shows what it should."""
        shown = list(self._wire.shows[-1][1])[:_PIXELS]
        rendering = Rendering(brightness=self._brightness)
        expected = [[rendering.shown(colour) for colour in look] for look in (self._steps or [self._pixels])]
        # A sequence may have ended, and nobody has told.
        if self._steps:
            expected.append([DARK] * _PIXELS)
        return "" if shown in expected else f"shows {shown} instead of {expected}"

    def _colour(self) -> Colour:
        return self._random.randrange(90), self._random.randrange(90), self._random.randrange(90)

    def _base(self) -> list[Colour]:
        return [DARK] * _PIXELS if self._steps else list(self._pixels)

    def _dark(self) -> None:
        self._take([DARK] * _PIXELS)

    def _take(self, pixels: list[Colour]) -> None:
        self._pixels, self._steps = pixels, []

    def _fill(self) -> None:
        first = self._random.randrange(_PIXELS)
        count = self._random.randint(1, _PIXELS - first)
        colour, pixels = self._colour(), self._base()
        pixels[first : first + count] = [colour] * count
        self._ring.fill(colour, first=first, count=count)
        self._take(pixels)

    def _set_one(self) -> None:
        index, colour, pixels = self._random.randrange(_PIXELS), self._colour(), self._base()
        pixels[index] = colour
        self._ring.set_pixel(index, colour)
        self._take(pixels)

    def _set_all(self) -> None:
        pixels = [self._colour() for _ in range(_PIXELS)]
        self._ring.set_pixels(pixels)
        self._take(pixels)

    def _set_range(self) -> None:
        first = self._random.randrange(_PIXELS)
        colours = [self._colour() for _ in range(self._random.randint(1, _PIXELS - first))]
        pixels = self._base()
        pixels[first : first + len(colours)] = colours
        self._ring.set_pixels(colours, first=first)
        self._take(pixels)

    def _any_pattern(self) -> Pattern:
        kind = self._random.choice(list(PatternKind))
        positions = {PatternKind.BRIGHT_FIELD: 1, PatternKind.CHANNEL: 3}.get(kind, _PIXELS)
        return Pattern(kind, self._random.randrange(positions), self._colour())

    def _look(self, pattern: Pattern) -> list[Colour]:
        return pattern_colours(pattern.kind, pattern.position, pattern.colour, _PIXELS)

    def _pattern(self) -> None:
        pattern = self._any_pattern()
        self._ring.show(pattern)
        self._take(self._look(pattern))

    def _off(self) -> None:
        self._ring.off()
        self._dark()

    def _refresh(self) -> None:
        self._ring.refresh()

    def _configure(self) -> None:
        value = self._random.randrange(256)
        self._ring.configure(Setting.BRIGHTNESS, value)
        self._brightness = value
        self._dark()

    def _read(self) -> None:
        assert self._ring.setting(Setting.BRIGHTNESS) == self._brightness

    def _play(self) -> None:
        patterns = [self._any_pattern() for _ in range(self._random.randint(1, 4))]
        steps = tuple(SequenceStep(pattern, self._random.randint(10, 200)) for pattern in patterns)
        self._ring.play(Sequence(steps, repeats=self._random.randrange(3)))
        self._steps = [self._look(pattern) for pattern in patterns]

    def _stop(self) -> None:
        self._ring.stop()
        self._dark()

    def _count(self) -> None:
        self._ring.statistics()

    def _self_test(self) -> None:
        assert self._ring.self_test().ok
        self._dark()

    def _silence(self) -> None:
        """Say nothing for longer than the board waits, then mend what that did."""
        self._wire.sleep(2.3)
        self._ring.refresh()


def run_faults(board: BoardKind, firmware: Any, commands: int, *, share: float = 0.01, seed: int = 1) -> FaultReport:
    """Give mixed commands to the real firmware in lock-step, bytes corrupted or dropped both ways."""
    report = FaultReport()
    with LockstepBoard(board.name, firmware) as simulated:
        wire = LockstepWire(simulated, NoisyLine(share, seed), NoisyLine(share, seed + 1000))
        with Ring.open(wire=wire, keep_alive=False) as ring:
            mixer = _Mixer(ring, wire, seed)
            for number in range(commands):
                try:
                    name = mixer.step()
                except MobilescopeError as error:
                    report.errors[type(error).__name__] += 1
                    mixer.restart()
                    continue
                report.acknowledged += 1
                if complaint := mixer.complaint():
                    report.wrong.append(f"command {number}, {name}: {complaint}")
                del wire.shows[:-1]
            report.retries = ring.ring_state().retries
        report.simulated_s = wire.now_s()
    return report
