"""Light that changes: sequences that the board plays by its own clock, and the walk of colours for the eye."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mobilescope.core.ring_model import Colour
from mobilescope.devices.ring import Ring
from mobilescope.plans.illumination import Pattern, Sequence

WALK_COLOURS: tuple[Colour, ...] = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (24, 24, 24))

_WALK_STEP_S = 0.06
_LOOK_S = 0.05
# The board's clock and this one may differ by a little.
_GRACE_S = 0.2


@dataclass(frozen=True)
class Played:
    """How long a sequence played, and whether it was stopped before its end."""

    seconds: float
    stopped: bool


def play_until_told(
    port: str | None,
    sequence: Sequence,
    told: threading.Event,
    *,
    again: bool,
    on_step: Callable[[str], None],
    on_trouble: Callable[[str], None],
) -> Played:
    """Play a sequence until it ends or somebody says so.

    Parameters
    ----------
    again : bool
        Play it until told, whatever its own number of repeats.
    on_step : callable
        Called with a line for each step as it comes, by this computer's clock; short steps are passed over.
    """
    wanted = Sequence(sequence.steps, 0) if again else sequence
    with Ring.open(port) as ring:
        ring.play(wanted)
        began_s = time.monotonic()
        said = trouble = ""
        while (passed_s := time.monotonic() - began_s) < wanted.duration_s + _GRACE_S and not told.is_set():
            if passed_s < wanted.duration_s and (step := _step_at(wanted, passed_s)) != said:
                said = step
                on_step(step)
            if (error := ring.ring_state().error) != trouble:
                trouble = error
                on_trouble(trouble)
            told.wait(_LOOK_S)
        return Played(round(time.monotonic() - began_s, 2), told.is_set())


def _step_at(sequence: Sequence, passed_s: float) -> str:
    """Return how to say which step is on after a time."""
    round_s = sum(step.duration_ms for step in sequence.steps) / 1000
    rounds, rest_s = divmod(passed_s, round_s)
    number = 0
    while number < len(sequence.steps) - 1 and rest_s >= sequence.steps[number].duration_ms / 1000:
        rest_s -= sequence.steps[number].duration_ms / 1000
        number += 1
    pattern = sequence.steps[number].pattern
    name = pattern.kind.name.lower().replace("_", "-")
    of = f" of {sequence.repeats}" if sequence.repeats else ""
    return (
        f"round {int(rounds) + 1}{of}, step {number + 1} of {len(sequence.steps)}: {name} {pattern.position} "
        f"{bytes(pattern.colour).hex()}, {sequence.steps[number].duration_ms} ms"
    )


def walk(ring: Ring, told: threading.Event) -> None:
    """Light each pixel in each colour, one after the other, until done or told to end."""
    for colour in WALK_COLOURS:
        for pixel in range(ring.identity.pixels):
            if told.wait(_WALK_STEP_S):
                return
            ring.show(Pattern.single(pixel, colour))
    told.wait(_WALK_STEP_S)
    ring.off()
