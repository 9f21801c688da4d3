"""The pair files of one training: what they hold, whether they agree, and the card that they give a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mobilescope.core.errors import TrainingError, UserError
from mobilescope.data.pairs import PairRecord, PairStore
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.networks import NetworkConfig
from mobilescope.learn.patches import FieldPair, factor_of, is_used, load_field

_PITCH_TOLERANCE = 0.01


@dataclass(frozen=True)
class Source:
    """One pair file: its digest, what it says of itself, and its pairs without their pixels."""

    path: Path
    sha256: str
    provenance: dict[str, Any]
    records: tuple[PairRecord, ...]
    factor: Fraction

    @classmethod
    def open(cls, path: Path) -> Source:
        """Read a file's own description; InputFileError for one that is no whole pair file."""
        with PairStore.open(path) as store:
            provenance, records, factor = store.provenance, store.records, factor_of(store)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path, digest, provenance, records, factor)

    @property
    def output_pixel_um(self) -> float:
        """Pixel pitch of the labels."""
        return float(self.provenance["label_pixel_um"])

    def slides(self, role: str) -> list[str]:
        """Return the names of the slides with accepted pairs of a role."""
        return sorted({record.slide for record in self.records if is_used(record, role, windowed=False)})

    def describe(self) -> dict[str, Any]:
        """Return what the card says of the file."""
        text: dict[str, Any] = {
            "file": self.path.name,
            "sha256": self.sha256,
            "slides": {role: self.slides(role) for role in ("training", "validation")},
        }
        if "session_digest" in self.provenance:
            text["session_digest"] = self.provenance["session_digest"]
        return text


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

    def validation_fields(self, count: int) -> list[FieldReference]:
        """List at most ``count`` validation fields, spread evenly over the files.

        Raises
        ------
        TrainingError
            There are none.
        """
        found = _spread(self.fields("validation", windowed=True), count)
        if not found:
            raise TrainingError(
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
                "sources": [source.describe() for source in self.files],
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
