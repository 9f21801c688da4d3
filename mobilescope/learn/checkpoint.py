"""A model in one file that loads without running code: tensors and a JSON card."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import mobilescope
from mobilescope.core.config import validate
from mobilescope.core.errors import DiskSpaceError, InputFileError, ModelKindError, NewerVersionError, OutputError
from mobilescope.core.input_files import check_file
from mobilescope.core.whole_files import own_temporary
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

KIND = "mobilescope-enhancement"
FORMAT_VERSION = 2
_NORMALISATION = "sRGB-encoded RGB, 0-1"
# What a card says of each source as lists: slides by role, digests of captures by slide.
_LISTS = ("slides", "pictures")
_LEAST_FREE_BYTES = 1_000_000


@dataclass(frozen=True)
class ModelCard:
    """What a model is and where it comes from.

    Attributes
    ----------
    network : NetworkConfig
    input_pixel_um, output_pixel_um : float
        Pixel pitches that the network was trained between.
    training : dict
        Training configuration, steps done, slides by role, digests of the sessions, validation figures.
    stain : str
        What the training slides were stained with, several joined by " + "; "unknown" where nobody said.
    normalisation : str
        How pixel values are counted on both sides of the network.
    """

    network: NetworkConfig
    input_pixel_um: float
    output_pixel_um: float
    instrument: str
    warp: str
    training: dict[str, Any] = field(default_factory=dict)
    software_version: str = mobilescope.__version__
    stain: str = "unknown"
    normalisation: str = _NORMALISATION

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON-ready values."""
        return {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "network": self.network.model_dump(),
            "input_pixel_um": self.input_pixel_um,
            "output_pixel_um": self.output_pixel_um,
            "instrument": self.instrument,
            "warp": self.warp,
            "stain": self.stain,
            "normalisation": self.normalisation,
            "training": self.training,
            "software_version": self.software_version,
        }


def save_model(
    path: Path,
    network: EnhancementNetwork,
    card: ModelCard,
    state: dict[str, Any] | None = None,
    reference: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write a checkpoint; the old file stays whole until the new one is.

    Parameters
    ----------
    state : dict, optional
        What resuming needs besides the weights: tensors, numbers and strings, nested in dicts and lists.
    reference : dict of Tensor, optional
        Statistics of the training set by which later inputs are judged.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    content = {
        "card": json.dumps(card.to_json() | {"weights_sha256": digest_weights(weights)}),
        "weights": weights,
        "state": state or {},
        "reference": reference or {},
    }
    try:
        with own_temporary(path) as temporary:
            torch.save(content, temporary.path)
            temporary.path.replace(path)
    except (OSError, RuntimeError) as error:
        if shutil.disk_usage(path.parent if path.parent.is_dir() else ".").free < _LEAST_FREE_BYTES:
            raise DiskSpaceError(
                f"the disk is full, so the model {path} was not written", "free some space and run the same command"
            ) from error
        raise OutputError(
            f"could not write the model {path}: {error}", "check the folder and its free space"
        ) from error


def digest_weights(weights: dict[str, torch.Tensor]) -> str:
    """Return the SHA-256 of all weights in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the file's content and its card, checked for kind and version."""
    check_file(path, "model file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of foreign pickles is no help to a user
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError, AttributeError) as error:
        raise InputFileError(
            f"{path} is not a model file, or it is damaged", "give a .pt file that 'mobilescope train' wrote"
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("card"), str):
        raise ModelKindError(f"{path} is no mobilescope model", "give a .pt file that 'mobilescope train' wrote")
    try:
        card = json.loads(content["card"])
        version = int(card.get("format_version", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise InputFileError(f"the card of the model {path} is damaged", "restore the file from a copy") from error
    if card.get("kind") != KIND:
        raise ModelKindError(f"{path} holds a {card.get('kind')!r} model", f"a {KIND!r} model is needed here")
    if version > FORMAT_VERSION:
        raise NewerVersionError(
            f"{path} was written by mobilescope {card.get('software_version')}, newer than this one",
            "update mobilescope to read it",
        )
    return content, card


def read_card(path: Path) -> ModelCard:
    """Return a model's card; see `load_model` for the errors."""
    _, card = _read(path)
    return _card_from(card, path)


def read_reference(path: Path) -> dict[str, torch.Tensor]:
    """Return the statistics of a model's training set; empty for a model that was saved without them."""
    content, _ = _read(path)
    reference = content.get("reference", {})
    if not isinstance(reference, dict) or not all(isinstance(value, torch.Tensor) for value in reference.values()):
        raise InputFileError(f"the reference statistics in {path} are damaged", "restore the file from a copy")
    return reference


def _card_from(card: dict[str, Any], path: Path) -> ModelCard:
    try:
        return ModelCard(
            network=validate(NetworkConfig, card["network"], source=str(path), prefix="network"),
            input_pixel_um=_pixel_um(card["input_pixel_um"]),
            output_pixel_um=_pixel_um(card["output_pixel_um"]),
            instrument=str(card["instrument"]),
            warp=str(card["warp"]),
            training=_training(card["training"]),
            software_version=str(card["software_version"]),
            stain=str(card.get("stain", "unknown")),
            normalisation=str(card.get("normalisation", _NORMALISATION)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputFileError(f"the card of the model {path} is incomplete: {error}", "train the model again") from error


def _pixel_um(value: Any) -> float:
    pitch_um = float(value)
    if not 0 < pitch_um < math.inf:
        raise ValueError(f"pixels of {pitch_um} µm")
    return pitch_um


def _training(record: Any) -> dict[str, Any]:
    """Return a card's training record, whose entries that are read again must be of their types."""
    training = dict(record)
    sources = training.get("sources", [])
    if not isinstance(sources, list) or not all(isinstance(source, dict) for source in sources):
        raise TypeError("training sources that are no list of records")
    for lists in (training.get("slides", {}), *(source.get(key, {}) for source in sources for key in _LISTS)):
        if not isinstance(lists, dict) or not all(isinstance(names, list) for names in lists.values()):
            raise TypeError("training slides or pictures that are no lists by name")
    if not isinstance(training.get("config", {}), dict) or not isinstance(training.get("seconds", 0), int | float):
        raise TypeError("a training configuration or time of another type")
    return training


def load_model(path: Path) -> tuple[EnhancementNetwork, ModelCard, dict[str, Any]]:
    """Load a checkpoint as (network on the CPU in evaluation mode, card, resume state).

    Raises
    ------
    InputFileError
        Missing, truncated or foreign files, weights that don't fit the card.
    ModelKindError
        A checkpoint of another kind of model.
    NewerVersionError
        A file from a newer version of this software.
    """
    content, raw_card = _read(path)
    card = _card_from(raw_card, path)
    network = EnhancementNetwork(card.network)
    try:
        network.load_state_dict(content["weights"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise InputFileError(f"the weights in {path} don't fit its own card", "the file is damaged") from error
    if digest_weights(network.state_dict()) != raw_card.get("weights_sha256"):
        raise InputFileError(f"the weights in {path} don't match their checksum", "restore the file from a copy")
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise InputFileError(f"weights in {path} are no numbers", "restore it from a copy, or train the model again")
    return network.eval(), card, content.get("state", {})
