"""What a session says of itself, as a card: its state, its slides in a table, its events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mobilescope.app.inspection.cards import card_line
from mobilescope.app.terminal.tables import MISSING, Table

# Counts of a slide that are shown where any slide has more than what is usual.
_SHOWN_IF_UNUSUAL = {
    "lights": (), "marks": ("unmarked",), "attempts": ("0",), "channels": ("default",), "planes": ("0",), "paired": (),
}


def session_lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield what `describe` found out about a session; its instrument is named alone, the whole of it being long."""
    yield f"session {facts['file']}"
    yield card_line("state", f"{facts['state']}, {facts['bytes'] / 1e6:.0f} MB, format {facts['schema_version']}")
    yield card_line("begun", f"{facts['created']} with mobilescope {facts['software_version']}")
    yield card_line("instrument", _instrument(facts["instrument_name"], facts["instrument"]))
    yield card_line("frames", f"benchtop {_size(facts['benchtop_shape'])}, phone {_size(facts['phone_shape'])}")
    yield card_line("flat fields", ", ".join(f"{name} {count}" for name, count in facts["flat_fields"].items()))
    yield card_line("pair files", ", ".join(facts["pair_files"]) or "none")
    yield ""
    yield from slide_table(facts["slides"]).lines()
    yield ""
    events = [f"{_date(event['time_s'])} {event['level']}: {event['text']}" for event in facts["events"]]
    yield from _listed("events", events)
    yield from _listed("problems", facts["problems"])


def slide_table(slides: list[dict[str, Any]]) -> Table:
    """Return what each slide has; columns that would say the usual of all of them are left out."""
    unusual = [
        name for name, usual in _SHOWN_IF_UNUSUAL.items() if any(set(slide[name]) - set(usual) for slide in slides)
    ]
    columns = ("slide", "role", "stain", "tiles", "focus", *unusual, "captures", "mosaic")
    rows = tuple(
        (
            slide["name"], slide["role"], slide["stain"] or MISSING, str(slide["tiles"]),
            _counts(slide["focus_verdicts"]), *(_counts(slide[name]) for name in unusual), str(slide["captures"]),
            "yes" if slide["mosaic"] else "no",
        )
        for slide in slides
    )
    return Table("slides", columns, rows)


def _instrument(name: str, told: dict[str, Any]) -> str:
    described = told.get("instrument", told)
    kinds = [
        f"{part} {described[part]['kind']}" for part in ("benchtop", "phone", "ring")
        if isinstance(described.get(part), dict) and "kind" in described[part]
    ]
    return f"{name} ({', '.join([*kinds, '--json has all of it'])})"


def _size(shape: list[int]) -> str:
    rows, columns = shape
    return f"{columns}×{rows} px"


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.items()) or MISSING


def _date(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")


def _listed(title: str, entries: list[str]) -> Iterator[str]:
    yield f"{title}:{'' if entries else ' none'}"
    yield from (f"  - {entry}" for entry in entries)
