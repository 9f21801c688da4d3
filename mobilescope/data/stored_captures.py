"""Which phone captures a session holds: by number and light, by the field that they show, and by digest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mobilescope.core.protocols import CapturedField
from mobilescope.data.records import channel_of


class StoredCaptures:
    """What is known of the captures that are committed, kept up to date row by row.

    Attributes
    ----------
    in_white : set of (slide, index)
        Captures in the light that is compared with the benchtop; a further light does not stand for them.
    digests : set of str
        SHA-256 of each raw frame and JPEG.
    """

    def __init__(self, rows: Iterable[Any]) -> None:
        self.in_white: set[tuple[str, int]] = set()
        self.digests: set[str] = set()
        self._numbers: dict[tuple[str, int], set[str]] = {}
        self._lights: set[tuple[str, int, int, int, str]] = set()
        self._fields: dict[tuple[str, int, int], CapturedField] = {}
        self._next: dict[str, int] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Any) -> None:
        """Take note of a capture by its table row."""
        slide, index, channel = bytes(row["slide"]).decode(), int(row["index"]), channel_of(row)
        place = slide, int(row["row"]), int(row["column"])
        self._numbers.setdefault((slide, index), set()).add(channel)
        self._lights.add((*place, index, channel))
        self._next[slide] = max(self._next.get(slide, 0), index + 1)
        self.digests.update(bytes(row[name]).decode() for name in ("sha256", "jpeg_sha256"))
        captured = CapturedField(index, float(row["x_um"]), float(row["y_um"]))
        if channel:
            self._fields.setdefault(place, captured)
        else:
            self._fields[place] = captured
            self.in_white.add((slide, index))

    def has_number(self, slide: str, index: int, channel: str) -> bool:
        """Tell whether a slide's capture of this number is there in a light."""
        return channel in self._numbers.get((slide, index), ())

    def has_field(self, slide: str, row: int, column: int, channel: str) -> bool:
        """Tell whether a field was captured in a light, whatever its number.

        Of a field that was taken again in white, the further lights of the earlier take count no more.
        """
        captured = self._fields.get((slide, row, column))
        return captured is not None and (slide, row, column, captured.index, channel) in self._lights

    def field(self, slide: str, row: int, column: int) -> CapturedField | None:
        """Return number and place of a field's latest capture in the compared light, else of any other."""
        return self._fields.get((slide, row, column))

    def free_number(self, slide: str, wanted: int) -> int:
        """Return ``wanted`` where no capture of a slide has that number, else the next above all."""
        return self.next_number(slide) if (slide, wanted) in self._numbers else wanted

    def next_number(self, slide: str) -> int:
        """Return a number that no capture of a slide has."""
        return self._next.get(slide, 0)
