"""Export of a model to ONNX with dynamic sizes, checked against torch."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobilescope.core.errors import MobilescopeError, OutputError, UserError
from mobilescope.learn.checkpoint import load_model
from mobilescope.learn.networks import EnhancementNetwork

TOLERANCE = 1e-4
_OPSET = 18
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_CHECKED_SIZES = ((16, 22), (33, 17), (1, 1))


def export_onnx(path_model: Path, path_onnx: Path) -> float:
    """Write a model as ONNX, float32 RGB 0–1 (batch, 3, rows, columns) in and out, all but the channels dynamic.

    Returns
    -------
    float
        The largest difference from torch that ONNX Runtime gave, over sizes other than the exported one.

    Raises
    ------
    UserError
        Where the extra ``onnx`` is not installed.
    MobilescopeError
        Where ONNX Runtime differs from torch by more than 1e-4; nothing is written then.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"the export needs {', '.join(missing)}", "install what is missing with: pip install 'mobilescope[onnx]'"
        )
    network, card, _ = load_model(path_model)
    if not path_onnx.parent.is_dir():
        raise OutputError(f"there is no folder {path_onnx.parent}", "create it or give another output")
    with tempfile.TemporaryDirectory(dir=path_onnx.parent) as folder:
        made = Path(folder) / "model.onnx"
        _write(network, made)
        _describe(made, card.to_json())
        difference = _difference(network, made)
        if not difference <= TOLERANCE:
            raise MobilescopeError(f"the exported model differs from torch by {difference:.2g}, so it was not kept")
        made.replace(path_onnx)
    return difference


def _write(network: EnhancementNetwork, path: Path) -> None:
    dynamic = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # the exporter tells of packages that it could do without
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # and of its dependencies' deprecations
            torch.onnx.export(
                network, (torch.zeros(2, network.config.channels, 24, 38),), path, input_names=["picture"],
                output_names=["enhanced"], opset_version=_OPSET, dynamo=True, dynamic_shapes=(dynamic,),
                external_data=False, verbose=False,
            )
    finally:
        log.setLevel(level)


def _describe(path: Path, card: dict[str, Any]) -> None:
    """Store the model's card in the file."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"mobilescope": json.dumps(card)})
    onnx.save(model, path)


def _difference(network: EnhancementNetwork, path: Path) -> float:
    session = importlib.import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random, worst = np.random.default_rng(0), 0.0
    for batch, size in enumerate(_CHECKED_SIZES, start=1):
        picture = random.random((batch, network.config.channels, *size), dtype=np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(picture)).numpy()
        found = session.run(None, {"picture": picture})[0]
        if found.shape != expected.shape:
            raise MobilescopeError(f"the exported model gives {found.shape} in place of {expected.shape}")
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst
