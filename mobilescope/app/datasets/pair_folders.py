"""Pairs as folders of TIFFs that any trainer reads: input/ and label/ with the same names, for each side of a split."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope import __version__
from mobilescope.app.datasets.dataset_files import write_card_files
from mobilescope.app.pictures.folders import prepare_folder
from mobilescope.app.pictures.images import write_rgb
from mobilescope.app.pictures.picture_notes import read_record
from mobilescope.core.errors import InputFileError, OutputError
from mobilescope.core.whole_files import drop_abandoned, is_temporary, replaced_when_written
from mobilescope.data.datasets import DATASET_FORMAT, Dataset, Role
from mobilescope.data.files import file_format
from mobilescope.data.pair_record import PairRecord
from mobilescope.data.pairs import PairStore

SPLIT: dict[Role, str] = {"training": "train", "validation": "val", "blind": "test"}
IMAGES = ("input", "label")
_COLUMNS = (
    "name", "split", "slide", "stain", "session", "instrument", "capture", "row", "column", "input_pixel_um",
    "label_pixel_um", "factor", "warp", "window_top", "window_bottom", "window_left", "window_right",
    "residual_median_px", "residual_p95_px", "pearson", "input_sha256", "label_sha256",
)
_QUALITIES = ("residual_median_px", "residual_p95_px", "pearson")


@dataclass(frozen=True)
class NamedPair:
    """A pair to export: its number in the store, its name, and the provenance of its file."""

    index: int
    name: str
    record: PairRecord
    provenance: Mapping[str, Any]
    identity: str

    def path(self, folder: Path, image: str) -> Path:
        """Return where one of its pictures stands in a folder for trainers."""
        return folder / SPLIT[self.record.role] / image / f"{self.name}.tif"


def export_pair_folders(pairs: Path, folder: Path) -> Iterator[tuple[Path, int]]:
    """Write the accepted pairs of a pair file or dataset and yield (file, files in all) one by one.

    ``train``, ``val`` and ``test`` each have ``input`` and ``label`` with the same names; ``pairs.csv``, ``card.json``
    and ``card.md`` stand beside. Each TIFF carries its pixel size and a record of what it is. Pairs that are there
    already are not written again, so the same call goes on.

    Raises
    ------
    OutputError
        The folder holds pairs of something else: mixed splits would leak from training into the test.
    """
    prepare_folder(folder)
    with PairStore.open(pairs) as store:
        wanted = list(named_pairs(store, pairs))
        _check_folder(folder, {pair.path(folder, image) for pair in wanted for image in IMAGES})
        rows, total = [], 2 * len(wanted) + 3
        for pair in wanted:
            digests = {}
            for image in IMAGES:
                path = pair.path(folder, image)
                path.parent.mkdir(parents=True, exist_ok=True)
                digests[image] = _digest_there(path, pair, image)
                if digests[image] is None:
                    pixels = store.input(pair.index) if image == "input" else store.label(pair.index)
                    digests[image] = _write(path, pair, image, pixels, store.factor)
                yield path, total
            rows.append(_row(pair, store.factor, digests))
        table = folder / "pairs.csv"
        _write_table(table, rows)
        yield table, total
        for path in write_card_files(_card(store, pairs), folder / "card", f"Pairs of {pairs.name}"):
            yield path, total


def named_pairs(store: PairStore, pairs: Path) -> Iterator[NamedPair]:
    """Yield the accepted pairs with names of their own, as long as the file's pairs stay what they are."""
    provenances = list(_provenances(store, pairs))
    several = len(store.parts) > 1
    used: set[str] = set()
    for part, provenance in zip(store.parts, provenances, strict=True):
        session = str(provenance.get("session") or pairs.name)
        made = str(provenance.get("made_of") or provenance.get("session_digest") or "")
        for index in part:
            record = store.records[index]
            if not record.accepted:
                continue
            name = f"{record.slide}-{record.capture:04d}"
            name = f"{Path(session).stem}-{name}" if several else name
            if (record.row, record.column) != (0, 0) and name in used:
                name = f"{name}-{record.row}-{record.column}"
            while name in used:
                name += "+"
            used.add(name)
            identity = f"{made}/{record.slide}/{record.capture}/{record.row}/{record.column}/{record.warp}"
            yield NamedPair(index, name, record, provenance, hashlib.sha256(identity.encode()).hexdigest())


def _provenances(store: PairStore, pairs: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the provenance of each file behind the store."""
    if file_format(pairs) != DATASET_FORMAT:
        yield store.provenance
        return
    for member in Dataset.read(pairs).card["members"]:
        yield store.provenance | member


def _check_folder(folder: Path, wanted: set[Path]) -> None:
    for split in SPLIT.values():
        for image in IMAGES:
            for path in sorted((folder / split / image).glob("*")):
                if is_temporary(path):
                    drop_abandoned(path)
                elif path not in wanted:
                    raise OutputError(
                        f"{path} is not of this export, and a pair on two sides would leak into the test",
                        "export into an empty folder",
                    )


def _digest_there(path: Path, pair: NamedPair, image: str) -> str | None:
    """Return the digest of the pixels of a file that is there already; None where it must be written."""
    if not path.exists():
        return None
    try:
        record = read_record(path)
    except InputFileError:
        return None
    if record is None or record.get("pair") != pair.identity or record.get("image") != image:
        raise OutputError(f"{path} is another picture", "export into an empty folder")
    return str(record["pixels_sha256"])


def _write(path: Path, pair: NamedPair, image: str, pixels: NDArray[np.generic], factor: float) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
    pixel_um = _pixel_um(pair, image, factor)
    record = pair.record
    note = {
        "image": image, "pair": pair.identity, "pixels_sha256": digest, "pixel_size_um": pixel_um,
        "slide": record.slide, "role": record.role, "capture": record.capture, "row": record.row,
        "column": record.column, "warp": record.warp, "coding": "sRGB", "window": record.window,
        "session": pair.provenance.get("session"), "session_digest": pair.provenance.get("session_digest"),
        "instrument": pair.provenance.get("instrument"), "registered_by": pair.provenance.get("software_version"),
        "exported_by": __version__,
    }
    write_rgb(path, pixels, note=json.dumps(note), pixel_size_um=pixel_um)
    return digest


def _pixel_um(pair: NamedPair, image: str, factor: float) -> float:
    label_um = float(pair.provenance["label_pixel_um"])
    return label_um * factor if image == "input" else label_um


def _row(pair: NamedPair, factor: float, digests: Mapping[str, str | None]) -> dict[str, Any]:
    record, told = pair.record, pair.provenance
    top, bottom, left, right = record.bounds
    return {
        "name": f"{pair.name}.tif", "split": SPLIT[record.role], "slide": record.slide,
        "stain": (told.get("stains") or {}).get(record.slide, "unknown"), "session": told.get("session"),
        "instrument": told.get("instrument"), "capture": record.capture, "row": record.row, "column": record.column,
        "input_pixel_um": f"{_pixel_um(pair, 'input', factor):g}",
        "label_pixel_um": f"{_pixel_um(pair, 'label', factor):g}",
        "factor": f"{factor:g}", "warp": record.warp, "window_top": top, "window_bottom": bottom, "window_left": left,
        "window_right": right,
        **{name: f"{record.quality[name]:.4g}" for name in _QUALITIES if name in record.quality},
        "input_sha256": digests["input"], "label_sha256": digests["label"],
    }


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replaced_when_written(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _card(store: PairStore, pairs: Path) -> dict[str, Any]:
    """Return the dataset's own card, or the one that the pair file alone would have."""
    if file_format(pairs) == DATASET_FORMAT:
        return Dataset.read(pairs).card
    from mobilescope.app.datasets.datasets import card_of  # brings torch

    return card_of(pairs)
