"""Rows of the table of pairs as frozen values, and back; and what a pair may be committed on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from mobilescope import __version__
from mobilescope.core.errors import SessionError
from mobilescope.core.pair_link import MAX_LINK_TILES, QUALITY_NAMES, PairLink, Source, Verdict
from mobilescope.data.records import Row, set_text
from mobilescope.data.schema import LINK_ROW

_PLACES = ("phone_um", "planned_um", "found_um", "picture_to_um", "link")
_NUMBERS = ("time_s", "link_residual_um", "seconds")
_COUNTS = ("index", "row", "column", "link_points", "attempts", "run")
_REASON_BYTES = 256

CaptureKey = tuple[str, int]
Cell = tuple[str, int, int]


def link_row(link: PairLink) -> Row:
    """Return the table row of a field's link, still without checksum."""
    if len(link.tiles) > MAX_LINK_TILES:
        raise SessionError(
            f"a field lies on {len(link.tiles)} tiles, a session has room for {MAX_LINK_TILES}",
            "name those under most of the field",
        )
    record = np.zeros((), LINK_ROW)
    set_text(record, "slide", link.slide)
    set_text(record, "verdict", link.verdict)
    set_text(record, "source", link.source)
    set_text(record, "software_version", __version__)
    set_text(record, "reason", link.reason.encode("utf-8")[:_REASON_BYTES].decode("utf-8", "ignore"))
    for name in (*_PLACES, *_NUMBERS, *_COUNTS):
        record[name] = getattr(link, name)
    for name in QUALITY_NAMES:
        record["quality"][name] = link.quality.get(name, np.nan)
    record["tile_count"] = len(link.tiles)
    if link.tiles:
        record["tiles"][: len(link.tiles)] = link.tiles
    return record


def pair_link(row: Any) -> PairLink:
    """Return a table row as a PairLink."""
    fields: dict[str, Any] = {name: tuple(float(value) for value in row[name]) for name in _PLACES}
    fields |= {name: float(row[name]) for name in _NUMBERS} | {name: int(row[name]) for name in _COUNTS}
    quality = {name: float(row["quality"][name]) for name in QUALITY_NAMES}
    return PairLink(
        **fields, slide=_text(row, "slide"), verdict=cast("Verdict", _text(row, "verdict")),
        reason=_text(row, "reason"), source=cast("Source", _text(row, "source")),
        quality={name: value for name, value in quality.items() if not np.isnan(value)},
        tiles=tuple((int(tile[0]), int(tile[1])) for tile in row["tiles"][: int(row["tile_count"])]),
    )


def current_fields(links: Iterable[PairLink]) -> list[PairLink]:
    """Return the latest link of each field, in the order in which the fields were first paired."""
    latest: dict[Cell, PairLink] = {}
    for link in links:
        latest[link.slide, link.row, link.column] = link
    return list(latest.values())


def half_pair(link: PairLink, captures: set[CaptureKey], tiles: set[Cell]) -> str:
    """Say what of a pair is missing; empty for a whole one."""
    name = f"the pair of capture {link.index} of slide {link.slide}"
    if (link.slide, link.index) not in captures:
        return f"{name}: there is no such capture"
    for row, column in link.tiles:
        if (link.slide, row, column) not in tiles:
            return f"{name}: there is no benchtop tile row {row} column {column}"
    if link.accepted and not link.tiles:
        return f"{name}: it has no benchtop side"
    return ""


def _text(row: Any, name: str) -> str:
    return bytes(row[name]).decode("utf-8")
