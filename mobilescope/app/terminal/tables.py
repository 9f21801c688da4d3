"""A table of text, the same for the terminal and for the report."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mobilescope.imaging.metrics import Interval

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """Rows of text under their columns, with a title above and a note below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def lines(self) -> list[str]:
        """Return the table as lines for a terminal."""
        cells = [self.columns, *self.rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]
        padded = [[f"{text:<{width}}" for text, width in zip(row, widths, strict=True)] for row in cells]
        return [self.title, *("  ".join(row).rstrip() for row in padded), *([self.note] if self.note else [])]

    def markdown(self) -> list[str]:
        """Return the table as lines of Markdown."""
        rows = [self.columns, ("---",) * len(self.columns), *self.rows]
        cells = [[text.replace("|", "\\|") for text in row] for row in rows]
        note = ["", self.note] if self.note else []
        return [f"## {self.title}", "", *(f"| {' | '.join(row)} |" for row in cells), *note]


def figure(value: float, digits: int, *, sign: bool = False) -> str:
    """Return a number as text; a dash where it could not be measured."""
    if not math.isfinite(value):
        return MISSING
    return f"{value:{'+' if sign else ''}.{digits}f}"


def spread(interval: Interval, digits: int, *, sign: bool = False) -> str:
    """Return a mean with its interval as text, ``0.948 [0.942, 0.953]``; the mean alone where there is none."""
    mean = figure(interval.mean, digits, sign=sign)
    if not math.isfinite(interval.low):
        return mean
    return f"{mean} [{figure(interval.low, digits, sign=sign)}, {figure(interval.high, digits, sign=sign)}]"
