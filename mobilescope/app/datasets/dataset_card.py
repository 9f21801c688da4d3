"""A dataset's card: what is in it, by slide, stain and instrument, how it was made, and of which files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mobilescope import __version__
from mobilescope.app.datasets.blank_patches import FilePatches, PatchPlan
from mobilescope.app.terminal.tables import MISSING, Table
from mobilescope.core.factor import GridFactor
from mobilescope.data.datasets import ROLES, Member, Role, joined_input
from mobilescope.data.pair_record import PairRecord
from mobilescope.learn.sources import Source

_COUNTS = ("accepted", "refused", "patches", "blank", "kept")


def dataset_card(
    files: Sequence[Source], split: Sequence[Mapping[str, Role]], thinned: Sequence[FilePatches], plan: PatchPlan,
    members: Sequence[Member],
) -> dict[str, Any]:
    """Return the card, JSON-ready.

    Patches are counted for training slides: ``blank`` of them show nothing, ``kept`` are trained on.
    """
    grid = GridFactor.of(float(files[0].factor))
    slides = [
        row for source, roles, patches in zip(files, split, thinned, strict=True)
        for row in _slide_rows(source, roles, patches)
    ]
    return {
        "kind": "mobilescope-dataset",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "software_version": __version__,
        "pairs": {
            "warp": files[0].provenance["warp"], "factor": grid.value,
            "input": joined_input([source.provenance for source in files]),
            "jpeg_ratio": files[0].provenance.get("jpeg_ratio"),
            "input_pixel_um": files[0].output_pixel_um * grid.value, "label_pixel_um": files[0].output_pixel_um,
        },
        "patches": asdict(plan) | {"stride_px": plan.stride_px, "label_patch_px": plan.patch_px * grid.value},
        "roles": _summed(slides, lambda row: row["role"], order=ROLES),
        "stains": _summed(slides, lambda row: row["stain"]),
        "instruments": _summed(slides, lambda row: row["instrument"]),
        "refused": _reasons(files, split),
        "slides": slides,
        "left_out": sorted({
            record.slide for source, roles in zip(files, split, strict=True)
            for record in source.records if record.slide not in roles
        }),
        "known_by_name_only": sorted(
            source.path.name for source in files if not source.provenance.get("captures_sha256")
        ),
        "members": [_member(source, member) for source, member in zip(files, members, strict=True)],
    }


def general(reason: str) -> str:
    """Return a reason without its figures, so that alike ones can be counted."""
    return re.sub(r"\d+(\.\d+)?", "…", reason)


def _slide_rows(source: Source, roles: Mapping[str, Role], patches: FilePatches) -> list[dict[str, Any]]:
    stains = source.provenance.get("stains") or {}
    dropped = Counter(source.records[number].slide for number in patches.dropped[:, 0].tolist())
    rows = []
    for slide, role in roles.items():
        mine = [record for record in source.records if record.slide == slide]
        accepted = sum(record.accepted for record in mine)
        row: dict[str, Any] = {
            "slide": slide, "session": source.provenance.get("session", source.path.name), "role": role,
            "stain": str(stains.get(slide) or "unknown"), "instrument": str(source.provenance.get("instrument")),
            "accepted": accepted, "refused": len(mine) - accepted,
        }
        if role == "training":
            row |= {
                "patches": patches.patches[slide], "blank": patches.blank[slide],
                "kept": patches.patches[slide] - dropped[slide],
            }
        rows.append(row)
    return rows


def _summed(
    rows: Sequence[Mapping[str, Any]], key: Callable[[Mapping[str, Any]], str], order: Sequence[str] = ()
) -> dict[str, dict[str, int]]:
    """Return how many slides and pairs stand under each key."""
    names = order or sorted({key(row) for row in rows})
    return {
        name: {"slides": len({row["slide"] for row in rows if key(row) == name})} | {
            count: sum(row.get(count, 0) for row in rows if key(row) == name) for count in _COUNTS
        }
        for name in names
    }


def _reasons(files: Sequence[Source], split: Sequence[Mapping[str, Role]]) -> dict[str, int]:
    """Return how often each reason refused a pair, without the figures in it, the commonest first."""
    def refused(records: Sequence[PairRecord], roles: Mapping[str, Role]) -> list[str]:
        return [general(record.reason) for record in records if record.slide in roles and not record.accepted]

    found = Counter(
        reason for source, roles in zip(files, split, strict=True) for reason in refused(source.records, roles)
    )
    return dict(found.most_common())


def _member(source: Source, member: Member) -> dict[str, Any]:
    told = source.provenance
    return {
        "file": member.file, "sha256": member.sha256, "bytes": member.size_bytes, "session": told.get("session"),
        "session_digest": told.get("session_digest"), "instrument": told.get("instrument"),
        "software_version": told.get("software_version"), "thresholds": told.get("thresholds"),
        "label_pixel_um": told.get("label_pixel_um"), "input_pixel_um": told.get("input_pixel_um"),
        "phone_half_pitch_um": told.get("phone_half_pitch_um"), "input": told.get("input"),
    }


def card_tables(card: Mapping[str, Any]) -> list[Table]:
    """Return the card as tables, for the terminal and for Markdown."""
    pairs, patches = card["pairs"], card["patches"]
    through = "" if pairs["jpeg_ratio"] is None else f" {pairs['jpeg_ratio']:g} times smaller"
    facts = (
        ("made", f"{card['created']} by mobilescope {card['software_version']}"),
        ("pixels", f"{pairs['input_pixel_um']:g} µm in, {pairs['label_pixel_um']:g} µm out ({pairs['factor']:g}×)"),
        ("warp", f"{pairs['warp']} (which image was resampled onto the other)"),
        ("input", f"{pairs['input']}{through}"),
        ("patches", f"{patches['patch_px']}↔{patches['label_patch_px']:g} px, {patches['overlap']:.0%} overlap, "
                    f"every {patches['stride_px']} px"),
        ("blank patches", f"less than {patches['least_specimen']:.0%} specimen; {patches['keep_blank']:.0%} of them "
                          f"kept, seed {patches['seed']}"),
        ("left out", ", ".join(card["left_out"]) or "no slide"),
    )
    tables = [
        Table("Dataset", ("what", "value"), facts, " ".join(_warnings(card))),
        *(_count_table(f"By {title}", title, card[key]) for title, key in
          (("side", "roles"), ("stain", "stains"), ("instrument", "instruments"))),
        Table("Slides", ("slide", "session", "side", "stain", "instrument", *_COUNTS), tuple(
            (row["slide"], row["session"], row["role"], row["stain"], row["instrument"], *_counts(row))
            for row in card["slides"]
        )),
    ]
    if card["refused"]:
        rows = tuple((str(count), reason) for reason, count in card["refused"].items())
        tables.append(Table("Refused pairs", ("pairs", "reason"), rows))
    files = tuple(
        (each["file"], str(each["session"]), str(each["software_version"]), each["sha256"][:16],
         str(each["session_digest"])[:16])
        for each in card["members"]
    )
    tables.append(Table("Files", ("file", "session", "version", "SHA-256", "session's"), files))
    return tables


def _warnings(card: Mapping[str, Any]) -> list[str]:
    """Return what whoever trains on the dataset should know before."""
    found = []
    if unknown := card["known_by_name_only"]:
        found.append(f"Slides of {', '.join(unknown)} are told apart by name alone: register again.")
    jpeg = [each["file"] for each in card["members"] if each["input"] not in (None, "raw")]
    if jpeg and len(jpeg) < len(card["members"]):
        found.append(
            f"Inputs of {', '.join(jpeg)} went through JPEG, the others did not: evaluate a model of both on each kind "
            "alone as well."
        )
    blind = Counter(row["slide"] for row in card["slides"] if row["role"] == "blind")
    if repeated := [slide for slide, sessions in blind.items() if sessions > 1]:
        found.append(
            f"Blind slides of several sessions: {', '.join(repeated)}. Their fields may show the same places, which "
            "makes intervals by field too narrow."
        )
    return found


def _count_table(title: str, column: str, counts: Mapping[str, Mapping[str, int]]) -> Table:
    rows = tuple((name, str(row["slides"]), *_counts(row)) for name, row in counts.items())
    return Table(title, (column, "slides", *_COUNTS), rows)


def _counts(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(MISSING if row.get(name) is None else str(row[name]) for name in _COUNTS)


def card_lines(card: Mapping[str, Any]) -> list[str]:
    """Return the card as lines for a terminal."""
    return [line for table in card_tables(card) for line in (*table.lines(), "")]


def card_markdown(card: Mapping[str, Any], title: str) -> str:
    """Return the card as Markdown."""
    lines = [f"# {title}", "", *(line for table in card_tables(card) for line in (*table.markdown(), ""))]
    return "\n".join(lines)
