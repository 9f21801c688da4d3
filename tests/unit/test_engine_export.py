"""An exported model is the model: any size, checked against torch, with its card in it."""

from __future__ import annotations

import importlib
import importlib.util
import json

import numpy as np
import pytest
import torch

from mobilescope.core.errors import MobilescopeError, OutputError, UserError
from mobilescope.enhance import onnx_export
from mobilescope.enhance.onnx_export import export_onnx
from mobilescope.learn.checkpoint import ModelCard, load_model, save_model
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

SMALL = NetworkConfig(first_width=6, growth=4, blocks=2)
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra 'onnx'",
)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.pt"
    made = EnhancementNetwork(SMALL)
    made.initialise(3)
    save_model(path, made, ModelCard(SMALL, 0.925, 0.37, "a twin", "phone"))
    return path


@needs_onnx
def test_the_export_computes_what_the_model_does(model, tmp_path):
    path = tmp_path / "model.onnx"
    assert export_onnx(model, path) <= 1e-4
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(0).random((1, 3, 21, 50), dtype=np.float32)
    network, _, _ = load_model(model)
    with torch.inference_mode():
        expected = network(torch.from_numpy(picture)).numpy()
    np.testing.assert_allclose(session.run(None, {"picture": picture})[0], expected, atol=1e-4)
    card = json.loads(session.get_modelmeta().custom_metadata_map["mobilescope"])
    assert card["output_pixel_um"] == 0.37


@needs_onnx
def test_an_export_that_differs_is_not_kept(model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "TOLERANCE", 0.0)
    with pytest.raises(MobilescopeError, match="differs from torch"):
        export_onnx(model, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@needs_onnx
def test_an_export_into_no_folder_is_refused(model, tmp_path):
    with pytest.raises(OutputError, match="no folder"):
        export_onnx(model, tmp_path / "none" / "model.onnx")


def test_what_is_missing_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mobilescope\[onnx\]"):
        export_onnx(model, tmp_path / "model.onnx")
