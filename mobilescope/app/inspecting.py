"""What is in a file of ours, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mobilescope.core.errors import InputFileError, NewerVersionError
from mobilescope.data.files import file_format
from mobilescope.data.layout import mosaic_path, pair_files
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pairs import PAIRS_FORMAT, PairRecord, PairStore
from mobilescope.data.session import Session


def describe(path: Path) -> dict[str, Any]:
    """Return the facts of a session, a pair file or a model, JSON-ready; ``problems`` lists what is damaged."""
    if not path.exists():
        raise InputFileError(f"there is no file {path}", "check the path")
    if not path.is_file():
        raise InputFileError(f"{path} is not a file", "give a session (.h5) or a model (.pt)")
    if path.suffix == ".pt":
        from mobilescope.learn.checkpoint import load_model  # brings torch, which takes longer to load than the answer

        _, card, _ = load_model(path)
        return {"file": str(path), **card.to_json(), "problems": []}
    if file_format(path) == PAIRS_FORMAT:
        return _describe_pairs(path)
    with Session.open(path) as session:
        beside = [file.name for file in pair_files(path)]
        return {**session.summary(), "pair_files": beside, "problems": [*session.verify(), *_derived_problems(session)]}


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


def lines(facts: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Yield facts as indented lines for reading."""
    for key, value in facts.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from lines(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{key}:"
            for entry in value:
                yield f"{indent}  - " + ", ".join(f"{name} {item}" for name, item in entry.items())
        else:
            yield f"{indent}{key}: {value if value != [] else 'none'}"
