"""The pair files of one training: what they hold, whether they agree, and the card that they give a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import UserError
from mobilescope.data.datasets import DATASET_FORMAT, Dataset
from mobilescope.data.files import file_format
from mobilescope.data.pair_record import PairRecord
from mobilescope.data.pairs import PairStore
from mobilescope.learn.blindness import picture_marks
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.networks import NetworkConfig
from mobilescope.learn.patches import FieldPair, factor_of, is_used, load_field
from mobilescope.learn.presets import TrainingConfig

_PITCH_TOLERANCE = 0.01


@dataclass(frozen=True)
class Source:
    """One pair file or dataset: its digest, what it says of itself, and its pairs without their pixels."""

    path: Path
    sha256: str
    provenance: dict[str, Any]
    records: tuple[PairRecord, ...]
    factor: Fraction
    dataset: Dataset | None = None
    parts: tuple[range, ...] = ()

    @classmethod
    def open(cls, path: Path) -> Source:
        """Read a file's own description; InputFileError for one that is no whole pair file."""
        with PairStore.open(path) as store:
            provenance, records, factor, parts = store.provenance, store.records, factor_of(store), store.parts
        if file_format(path) == DATASET_FORMAT:
            dataset = Dataset.read(path)
            return cls(path, dataset.digest, provenance, records, factor, dataset, parts)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path, digest, provenance, records, factor, parts=parts)

    @property
    def output_pixel_um(self) -> float:
        """Pixel pitch of the labels."""
        return float(self.provenance["label_pixel_um"])

    def slides(self, role: str) -> list[str]:
        """Return the names of the slides with accepted pairs of a role."""
        return _slides(self.records, role)

    def describe(self) -> list[dict[str, Any]]:
        """Return what the card says of the file, or of each file of the dataset."""
        if self.dataset is not None:
            told = self.dataset.card.get("members") or [{} for _ in self.dataset.members]
            captures = {"captures_sha256": self.provenance.get("captures_sha256")}
            return [
                _described(member.file, member.sha256, self.records[part.start : part.stop], facts | captures)
                | {"dataset": self.path.name}
                for member, part, facts in zip(self.dataset.members, self.parts, told, strict=True)
            ]
        return [_described(self.path.name, self.sha256, self.records, self.provenance)]


@dataclass(frozen=True)
class FieldReference:
    """A pair, by its file and its number in it."""

    path: Path
    pair: int
    record: PairRecord

    @property
    def slide(self) -> str:
        """Name of the pair's slide."""
        return self.record.slide


@dataclass(frozen=True)
class Sources:
    """Pair files that agree on what a network trained on them does.

    Raises
    ------
    UserError
        The same file twice; files of other factors, warp directions or pixel sizes.
    """

    files: tuple[Source, ...]

    def __post_init__(self) -> None:
        if not self.files:
            raise UserError("there is no pair file to train on", "give at least one session or pair file")
        first = self.files[0]
        for number, other in enumerate(self.files[1:], start=1):
            if any(other.sha256 == earlier.sha256 for earlier in self.files[:number]):
                raise UserError(f"{other.path} is given twice", "give each session once")
            for what, mine, its in (
                ("factor", float(first.factor), float(other.factor)),
                ("warp", first.provenance["warp"], other.provenance["warp"]),
            ):
                if mine != its:
                    raise UserError(
                        f"{first.path} has {what} {mine}, but {other.path} has {its}",
                        "train on sessions that were registered alike",
                    )
            pitches_um = (first.output_pixel_um, other.output_pixel_um)
            if abs(pitches_um[0] - pitches_um[1]) > _PITCH_TOLERANCE * pitches_um[0]:
                raise UserError(
                    f"the labels of {first.path} have pixels of {pitches_um[0]:g} µm, those of {other.path} of "
                    f"{pitches_um[1]:g} µm", "train on sessions of one pixel size",
                )

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Sources:
        """Read the descriptions of pair files."""
        return cls(tuple(Source.open(path) for path in paths))

    @property
    def names(self) -> str:
        """The files' paths, for messages."""
        return ", ".join(str(source.path) for source in self.files)

    @property
    def factor(self) -> Fraction:
        """Label pixels beside one input pixel."""
        return self.files[0].factor

    @property
    def digest(self) -> str:
        """SHA-256 of the file, or of several files' digests in their order."""
        if len(self.files) == 1:
            return self.files[0].sha256
        return hashlib.sha256("".join(source.sha256 for source in self.files).encode("ascii")).hexdigest()

    def fields(self, role: str, *, windowed: bool) -> list[FieldReference]:
        """List the accepted pairs of a role, file by file."""
        return [
            FieldReference(source.path, number, record)
            for source in self.files
            for number, record in enumerate(source.records)
            if is_used(record, role, windowed=windowed)
        ]

    def fitted(self, config: TrainingConfig) -> TrainingConfig:
        """Return the settings with the patches of the datasets, whose blank ones are left out.

        Raises
        ------
        UserError
            Two datasets with patches of other sizes.
        """
        cut = [(each.dataset.patch_px, each.dataset.overlap) for each in self.files if each.dataset is not None]
        if not cut:
            return config
        if len(set(cut)) > 1:
            raise UserError(
                f"the datasets {self.names} have patches of other sizes", "make the datasets with the same patches"
            )
        return config.model_copy(update={"patch_px": cut[0][0], "patch_overlap": cut[0][1]})

    def dropped(self, references: Sequence[FieldReference]) -> NDArray[np.int64]:
        """Return the blank patches that the datasets leave out, as (place among the references, row, column)."""
        found = [np.empty((0, 3), np.int64)]
        for source in self.files:
            if source.dataset is None or not len(source.dataset.dropped):
                continue
            place_of = np.full(len(source.records), -1, np.int64)
            for place, reference in enumerate(references):
                if reference.path == source.path:
                    place_of[reference.pair] = place
            dropped = source.dataset.dropped.astype(np.int64)
            dropped[:, 0] = place_of[dropped[:, 0]]
            found.append(dropped[dropped[:, 0] >= 0])
        return np.concatenate(found)

    def validation_fields(self, count: int) -> list[FieldReference]:
        """List at most ``count`` validation fields, spread evenly over the files.

        Raises
        ------
        UserError
            There are none.
        """
        found = _spread(self.fields("validation", windowed=True), count)
        if not found:
            raise UserError(
                f"{self.names} has no accepted validation pairs", "register a slide with the role 'validation'"
            )
        return found

    def card(self, network: NetworkConfig, training: dict[str, Any]) -> ModelCard:
        """Return the card of a model of this data, with ``training`` added to what the files give.

        Raises
        ------
        UserError
            The network's factor is not that of the data.
        """
        if Fraction(network.shuffle, network.stride) != self.factor:
            raise UserError(
                f"the network enlarges {network.factor:g} times, but the pairs in {self.names} {float(self.factor):g} "
                "times", "train a network of the pairs' own factor",
            )
        first = self.files[0]
        instruments = dict.fromkeys(str(source.provenance["instrument"]) for source in self.files)
        return ModelCard(
            network=network,
            input_pixel_um=first.output_pixel_um * network.factor,
            output_pixel_um=first.output_pixel_um,
            instrument=" + ".join(instruments),
            warp=str(first.provenance["warp"]),
            stain=self._stain(),
            training=training | {
                "pairs_sha256": self.digest,
                "sources": [text for source in self.files for text in source.describe()],
                "slides": {
                    role: sorted({slide for source in self.files for slide in source.slides(role)})
                    for role in ("training", "validation")
                },
                "pairs": len(self.fields("training", windowed=False)),
            },
        )

    def _stain(self) -> str:
        """Return the stains of the training slides in the order of the files; "unknown" where none is told."""
        told: dict[str, None] = {}
        for source in self.files:
            stains = source.provenance.get("stains") or {}
            told.update(dict.fromkeys(str(stains.get(slide) or "unknown") for slide in source.slides("training")))
        return " + ".join(told) or "unknown"


def _slides(records: Sequence[PairRecord], role: str) -> list[str]:
    return sorted({record.slide for record in records if is_used(record, role, windowed=False)})


def _described(
    name: str, sha256: str, records: Sequence[PairRecord], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    text: dict[str, Any] = {
        "file": Path(name).name, "sha256": sha256,
        "slides": {role: _slides(records, role) for role in ("training", "validation")},
    }
    for key in ("session_digest", "input"):
        if provenance.get(key) is not None:
            text[key] = provenance[key]
    return text | {"pictures": picture_marks(provenance, text["slides"]["training"])}


def read_fields(references: Sequence[FieldReference], *, windowed: bool) -> list[FieldPair]:
    """Read the pixels of pairs."""
    fields: list[FieldPair] = []
    store: PairStore | None = None
    try:
        for reference in references:
            if store is None or store.path != reference.path:
                if store is not None:
                    store.close()
                store = PairStore.open(reference.path)
            fields.append(load_field(store, reference.pair, windowed=windowed))
    finally:
        if store is not None:
            store.close()
    return fields


def decoded_bytes(references: Sequence[FieldReference], factor: Fraction) -> int:
    """Return how much memory the pixels of pairs take."""
    pixels = sum(reference.record.shape[0] * reference.record.shape[1] for reference in references)
    return int(pixels * 3 * (2 + factor**2))


def _spread(fields: list[FieldReference], count: int) -> list[FieldReference]:
    """Return at most ``count`` fields spread evenly over the list."""
    if len(fields) <= count:
        return fields
    return [fields[round(place)] for place in np.linspace(0, len(fields) - 1, count)]
