"""What is in a file of ours, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mobilescope.app.pictures.images import INPUT_SUFFIXES, open_picture
from mobilescope.app.pictures.picture_notes import read_record
from mobilescope.core.errors import InputFileError, NewerVersionError
from mobilescope.core.input_files import check_file
from mobilescope.data.datasets import DATASET_FORMAT, Dataset, member_problems
from mobilescope.data.files import file_format, looks_like_model
from mobilescope.data.layout import BENCHTOP, EVENTS, FLAT_FIELDS, HEADERS, LINKS, PHONE, mosaic_path, pair_files
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pair_record import PAIRS_FORMAT, PairRecord
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session

_IN_THE_SESSION = tuple(f"{name}: " for name in (*HEADERS, BENCHTOP, PHONE, *FLAT_FIELDS.values(), EVENTS, LINKS))
_WHAT_IS_SHOWN = "give a session, pair file or dataset (.h5), a model (.pt) or a picture"


def describe(path: Path) -> dict[str, Any]:
    """Return the facts of a file of ours or a picture, JSON-ready; ``problems`` lists what is damaged.

    A picture's ``provenance`` is the record of how it was made; None where it carries none.
    """
    if path.is_dir():
        raise InputFileError(f"{path} is not a file", _WHAT_IS_SHOWN)
    check_file(path)
    if looks_like_model(path):
        from mobilescope.app.inspection.model_card import (
            model_facts,  # brings torch, which takes longer to load than the answer
        )

        return model_facts(path)
    if path.suffix.lower() in INPUT_SUFFIXES:
        return _describe_picture(path)
    if file_format(path) == PAIRS_FORMAT:
        return _describe_pairs(path)
    if file_format(path) == DATASET_FORMAT:
        return _describe_dataset(path)
    with _opened(path) as session:
        beside = [file.name for file in pair_files(path)]
        return {**session.summary(), "pair_files": beside, "problems": [*session.verify(), *_derived_problems(session)]}


def _opened(path: Path) -> Session:
    """Open a session; what is of another kind is told what can be shown."""
    try:
        return Session.open(path)
    except InputFileError as error:
        if error.remedy.startswith("give "):
            raise InputFileError(error.cause, _WHAT_IS_SHOWN) from error
        raise


def _describe_picture(path: Path) -> dict[str, Any]:
    picture, record = open_picture(path), read_record(path)
    rows, columns, _ = picture.shape
    settings = (record or {}).get("settings", {})
    return {
        "file": str(path), "kind": "picture", "rows": rows, "columns": columns, "samples": picture.source.dtype.name,
        "pixel_size_um": picture.pixel_size_um or settings.get("output_pixel_size_um"), "provenance": record,
        "problems": [],
    }


def _derived_problems(session: Session) -> Iterator[str]:
    """Yield what is wrong with the files beside a session that were made from it."""
    for slide in session.slides:
        if mosaic_path(session.path, slide.name).exists():
            yield from _problem_of(partial(Mosaic.open, session.path, slide.name))
    for path in pair_files(session.path):
        yield from _problem_of(partial(PairStore.open, path))


def _problem_of(open_file: Callable[[], Mosaic | PairStore]) -> Iterator[str]:
    try:
        open_file().close()
    except (InputFileError, NewerVersionError) as error:
        yield error.cause


def _describe_pairs(path: Path) -> dict[str, Any]:
    with PairStore.open(path) as store:
        by_slide: dict[str, dict[str, Any]] = {}
        for record in store.records:
            entry = by_slide.setdefault(record.slide, {"role": record.role, "accepted": 0, "refused": []})
            if record.accepted:
                entry["accepted"] += 1
            else:
                entry["refused"].append({"capture": record.capture, "reason": record.reason})
        return {
            "file": str(path), "format": PAIRS_FORMAT, "provenance": {"factor": store.factor} | store.provenance,
            **_jpeg_sizes(store.records), "slides": by_slide, "problems": [],
        }


def _describe_dataset(path: Path) -> dict[str, Any]:
    dataset = Dataset.read(path)
    return {
        "file": str(path), "format": DATASET_FORMAT, "card": dataset.card, "dropped_patches": len(dataset.dropped),
        "problems": member_problems(path, dataset.members),
    }


def _jpeg_sizes(records: tuple[PairRecord, ...]) -> dict[str, Any]:
    """Return what the inputs that went through JPEG came to on average; nothing where none did."""
    stored = [record.quality for record in records if "jpeg_bytes" in record.quality]
    if not stored:
        return {}
    means = {
        f"mean_{name}": round(float(np.mean([quality[f"jpeg_{name}"] for quality in stored])), 3)
        for name in ("bytes", "quality", "ratio")
    }
    return {"jpeg": means}


def advice(facts: dict[str, Any]) -> str:
    """Return what to do about the problems of a file."""
    if any(problem.startswith(_IN_THE_SESSION) for problem in facts["problems"]):
        return f"damaged: mobilescope repair {facts['file']} copies what is whole into a new file"
    return "damaged: restore it from a copy, or make it again"


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield facts for reading: a model's as a card, others as indented lines."""
    if "network" in facts:
        from mobilescope.app.inspection.model_card import card_lines  # brings torch

        yield from card_lines(facts)
    elif facts.get("format") == DATASET_FORMAT:
        from mobilescope.app.datasets.dataset_card import card_lines as dataset_lines  # brings torch

        yield from dataset_lines(facts["card"])
        yield from _indented({"problems": facts["problems"]}, "")
    else:
        yield from _indented(facts, "")


def _short(item: Any) -> Any:
    """Return counts by name for reading within a line."""
    return "(" + ", ".join(f"{name} {count}" for name, count in item.items()) + ")" if isinstance(item, dict) else item


def _indented(facts: dict[str, Any], indent: str) -> Iterator[str]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _indented(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{key}:"
            for entry in value:
                yield f"{indent}  - " + ", ".join(f"{name} {_short(item)}" for name, item in entry.items())
        elif isinstance(value, list) and any(isinstance(entry, str) and " " in entry for entry in value):
            yield f"{indent}{key}:"
            yield from (f"{indent}  - {entry}" for entry in value)
        else:
            yield f"{indent}{key}: {value if value != [] else 'none'}"
