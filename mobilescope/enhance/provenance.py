"""Where an enhanced picture comes from: model, input, settings and how far it can be trusted, for its metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import mobilescope
from mobilescope.core.errors import InputFileError
from mobilescope.enhance.trust import TrustReport
from mobilescope.learn.checkpoint import digest_weights, load_model

LABEL = "computed image, not for diagnosis"
_BAND_ROWS = 256

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class ModelIdentity:
    """Which model: the SHA-256 of its file, and of its weights alone, which retagging the file leaves as it is."""

    file_sha256: str
    weights_sha256: str

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Read a model file; the errors are those of `mobilescope.learn.checkpoint.load_model`."""
        network, _, _ = load_model(path)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputFileError(f"the model {path} can't be read: {error.strerror}", "check the file") from error
        return cls(digest, digest_weights(network.state_dict()))


@dataclass(frozen=True)
class Provenance:
    """What made an enhanced picture.

    Attributes
    ----------
    model_sha256, weights_sha256 : str
        See `ModelIdentity`.
    input_sha256 : str
        See `digest_picture`.
    settings : dict
        What else decides the pixels: engine, precision, tile, self-feeding.
    trust : TrustReport or None
        None where nobody assessed the input.
    time_utc : str
        When it was made, ISO 8601 with its zone.
    """

    model_sha256: str
    weights_sha256: str
    input_sha256: str
    settings: Mapping[str, Setting]
    trust: TrustReport | None
    time_utc: str
    software_version: str = mobilescope.__version__
    label: str = LABEL

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return {
            "label": self.label,
            "software": f"mobilescope {self.software_version}",
            "time_utc": self.time_utc,
            "model_sha256": self.model_sha256,
            "weights_sha256": self.weights_sha256,
            "input_sha256": self.input_sha256,
            "settings": dict(self.settings),
            "trust": None if self.trust is None else self.trust.to_json(),
        }


def record_provenance(
    model: ModelIdentity,
    input_sha256: str,
    settings: Mapping[str, Setting],
    trust: TrustReport | None,
    *,
    now: datetime | None = None,
) -> Provenance:
    """Put a record together; ``now`` with its time zone, the present by default."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return Provenance(
        model.file_sha256, model.weights_sha256, input_sha256, dict(settings), trust,
        moment.isoformat(timespec="seconds"),
    )


def digest_picture(image: NDArray[np.generic]) -> str:
    """Return the SHA-256 of a picture: its type and shape, then its values row by row."""
    return digest_bands(lambda rows, columns: image[rows, columns], image.shape)


def digest_bands(read: Callable[[slice, slice], NDArray[np.generic]], shape: tuple[int, ...]) -> str:
    """Return what `digest_picture` does, of a picture that is read in bands of rows and never held whole.

    Parameters
    ----------
    read : callable
        Gives the pixels of a slice of rows and one of columns.
    """
    digest = hashlib.sha256()
    for top in range(0, shape[0], _BAND_ROWS):
        band = read(slice(top, min(top + _BAND_ROWS, shape[0])), slice(0, shape[1]))
        if top == 0:
            digest.update(f"{band.dtype.newbyteorder('<').str} {'x'.join(map(str, shape))}\n".encode())
        # Little-endian on every machine, so that a picture's digest is the same everywhere.
        digest.update(np.ascontiguousarray(band, dtype=band.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
