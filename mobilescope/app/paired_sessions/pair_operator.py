"""Who walks through the slide: a person at a terminal, or nobody, where what needs no person is done."""

from __future__ import annotations

import sys

from mobilescope.acquire.pairing import Choice
from mobilescope.app.terminal.console import say
from mobilescope.core.errors import UserError
from mobilescope.imaging.frame_link import POINTED_UM, LinkPoint

_CHOICES = {"r": Choice.RETAKE, "k": Choice.KEEP, "s": Choice.SKIP, "e": Choice.END}


class StandIn:
    """Nobody: what was refused is kept as refused. Implements `Operator`."""

    def tell(self, text: str) -> None:
        """Say something."""
        say(text)

    def choose(self, what: str, reason: str, advice: str) -> Choice:
        """Keep it."""
        return Choice.KEEP


class Person(StandIn):
    """A person at the terminal. Implements `Operator`."""

    def choose(self, what: str, reason: str, advice: str) -> Choice:
        """Ask what is to be done."""
        while True:
            say(f"{what}: {reason}. Retake, keep as refused, skip, or end? [r/k/s/e]")
            answer = _line()[:1].lower()
            if answer in _CHOICES:
                return _CHOICES[answer]


def ask_for_points(count: int = 3) -> tuple[LinkPoint, ...]:
    """Ask a person for places that are seen on both instruments."""
    say(
        f"Which places are the same? Find {count} that you see on both instruments, far from each other, and type each "
        "as x1,y1=X1,Y1: the phone scope's µm, then the benchtop's."
    )
    points: list[LinkPoint] = []
    while len(points) < count:
        say(f"place {len(points) + 1} of {count}:")
        try:
            points.append(read_point(_line()))
        except UserError as error:
            say(str(error))
    return tuple(points)


def read_point(text: str) -> LinkPoint:
    """Read one place in both frames from x1,y1=X1,Y1."""
    sides = [side.split(",") for side in text.split("=")]
    try:
        (x, y), (at_x, at_y) = ((float(value) for value in side) for side in sides)
        numbers = x, y, at_x, at_y
        if not all(abs(number) < 1e7 for number in numbers):
            raise ValueError(text)
    except ValueError as error:
        raise UserError(
            f"{text!r} is no place in both frames", "write x1,y1=X1,Y1 in µm, as in --link 100,-250=1520,310"
        ) from error
    return LinkPoint((x, y), (at_x, at_y), POINTED_UM)


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise UserError("nobody answered", "run the command in a terminal, or with --yes")
    return line.strip()
