"""What is in a file of ours, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mobilescope.app.inspection.session_card import session_lines
from mobilescope.app.pictures.images import INPUT_SUFFIXES, open_picture
from mobilescope.app.pictures.picture_notes import read_record
from mobilescope.core.errors import ForeignFileError, InputFileError, NewerVersionError
from mobilescope.core.input_files import check_file
from mobilescope.core.progress import ProgressListener, ignore_progress
from mobilescope.data.datasets import DATASET_FORMAT, Dataset, member_problems
from mobilescope.data.files import file_format, looks_like_model
from mobilescope.data.layout import mosaic_path, pair_files
from mobilescope.data.mosaics import MOSAIC_FORMAT, Mosaic
from mobilescope.data.pair_record import PAIRS_FORMAT, PairRecord
from mobilescope.data.pairs import PairStore
from mobilescope.data.schema import SESSION_FORMAT
from mobilescope.data.session import Session

# Longer lists, digests of captures for the most part, are counted; --json has them.
_MOST_LISTED = 3
_WHAT_IS_SHOWN = "give a session, mosaic, pair file or dataset (.h5), a model (.pt) or a picture"


def describe(path: Path, on_progress: ProgressListener = ignore_progress) -> dict[str, Any]:
    """Return the facts of a file of ours or a picture, JSON-ready.

    ``problems`` lists what is damaged; where something is, ``remedy`` says what to do about it.
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
        return _describe_pairs(path, on_progress)
    if file_format(path) == MOSAIC_FORMAT:
        return _describe_mosaic(path, on_progress)
    if file_format(path) == DATASET_FORMAT:
        return _describe_dataset(path)
    with _opened(path) as session:
        own = session.verify(on_progress)
        derived = list(_derived_problems(session, on_progress))
        remedies = [
            *([f"mobilescope repair {path} copies what is whole into a new file"] if own else []),
            *(["stitch or register the session again"] if derived else []),
        ]
        return {
            **session.summary(), "pair_files": [file.name for file in pair_files(path)],
            **_problems([*own, *derived], "; ".join(remedies)),
        }


def _opened(path: Path) -> Session:
    """Open a session; what is of another kind is told what can be shown."""
    try:
        return Session.open(path)
    except ForeignFileError as error:
        raise ForeignFileError(error.cause, _WHAT_IS_SHOWN) from error


def _describe_picture(path: Path) -> dict[str, Any]:
    picture, record = open_picture(path), read_record(path)
    rows, columns, _ = picture.shape
    settings = (record or {}).get("settings", {})
    return {
        "file": str(path), "kind": "picture", "rows": rows, "columns": columns, "samples": picture.source.dtype.name,
        "pixel_size_um": picture.pixel_size_um or settings.get("output_pixel_size_um"), "provenance": record,
        "problems": [],
    }


def _derived_problems(session: Session, on_progress: ProgressListener) -> Iterator[str]:
    """Yield what is wrong with the files beside a session that were made from it."""
    for slide in session.slides:
        if mosaic_path(session.path, slide.name).exists():
            yield from _problems_of(partial(Mosaic.open, session.path, slide.name), on_progress)
    for path in pair_files(session.path):
        yield from _problems_of(partial(PairStore.open, path), on_progress)


def _problems_of(open_file: Callable[[], Mosaic | PairStore], on_progress: ProgressListener) -> Iterator[str]:
    try:
        with open_file() as file:
            yield from file.verify(on_progress)
    except (InputFileError, NewerVersionError) as error:
        yield error.cause


def _describe_mosaic(path: Path, on_progress: ProgressListener) -> dict[str, Any]:
    with Mosaic.open_file(path) as mosaic:
        rows, columns = mosaic.shape
        return {
            "file": str(path), "format": MOSAIC_FORMAT, "slide": mosaic.slide, "rows": rows, "columns": columns,
            "pixel_size_um": mosaic.pixel_size_um, "origin_um": list(mosaic.origin_um), "levels": mosaic.levels,
            "tiles": len(mosaic.tile_positions_px), "provenance": mosaic.provenance,
            **_problems(mosaic.verify(on_progress), "stitch its session again"),
        }


def _describe_pairs(path: Path, on_progress: ProgressListener) -> dict[str, Any]:
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
            **_jpeg_sizes(store.records), "slides": by_slide,
            **_problems(store.verify(on_progress), "register its session again"),
        }


def _describe_dataset(path: Path) -> dict[str, Any]:
    dataset = Dataset.read(path)
    return {
        "file": str(path), "format": DATASET_FORMAT, "card": dataset.card, "dropped_patches": len(dataset.dropped),
        **_problems(member_problems(path, dataset.members), "put the dataset together again"),
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


def _problems(found: list[str], remedy: str) -> dict[str, Any]:
    return {"problems": found, "remedy": remedy} if found else {"problems": found}


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield facts for reading: those of models, datasets and sessions as cards, others as indented lines."""
    if "network" in facts:
        from mobilescope.app.inspection.model_card import card_lines  # brings torch

        yield from card_lines(facts)
    elif facts.get("format") == SESSION_FORMAT:
        yield from session_lines(facts)
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
        elif isinstance(value, list) and len(value) > _MOST_LISTED and key != "problems":
            yield f"{indent}{key}: {len(value)} values"
        elif isinstance(value, list) and any(isinstance(entry, str) and " " in entry for entry in value):
            yield f"{indent}{key}:"
            yield from (f"{indent}  - {entry}" for entry in value)
        else:
            yield f"{indent}{key}: {value if value != [] else 'none'}"
