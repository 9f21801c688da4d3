"""What computes fastest here is measured once and remembered; a damaged memory is none."""

from __future__ import annotations

import json

import pytest
from small_models import TINY, save_small_model

from mobilescope.core.errors import CancelledError
from mobilescope.core.machine import CACHE_VARIABLE, cache_folder
from mobilescope.core.progress import StopToken
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.tuned import Tuning, remember, remembered
from mobilescope.enhance.tuning import tune


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return save_small_model(tmp_path / "model.pt")


def made(model, **options):
    return Enhancer.from_checkpoint(model, "cpu", "fp32", **options)


def test_the_fastest_is_remembered_and_used(model):
    told = []
    found = tune(model, "cpu", "fp32", side_px=96, on_progress=told.append)
    assert [each.ms_per_mpx for each in found] == sorted(each.ms_per_mpx for each in found)
    assert {(each.engine, each.tile_px) for each in found} > {("torch", 512), ("openvino", 512)}
    assert (told[-1].done, told[-1].total) == (len(found), len(found))
    assert remembered(made(model).tuning_key) == found[0]
    assert made(model).engine.startswith(found[0].engine)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_what_is_remembered_is_used_unless_another_is_asked_for(model, name):
    other = "openvino" if name == "torch" else "torch"
    remember(made(model).tuning_key, Tuning(name, 64, 1.0))
    assert made(model).engine.startswith(name)
    assert made(model, engine=other).engine.startswith(other)


def test_another_precision_or_network_is_another_matter(model, tmp_path):
    remember(made(model).tuning_key, Tuning("torch", 64, 1.0))
    assert remembered(Enhancer.from_checkpoint(model, "cpu", "auto").tuning_key) is None
    wider = save_small_model(tmp_path / "wider.pt", config=TINY.model_copy(update={"growth": 6}))
    assert remembered(made(wider).tuning_key) is None


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"key": 3}), json.dumps({"key": {"engine": "torch"}})])
def test_a_damaged_memory_is_none_and_is_written_anew(model, text):
    cache_folder().mkdir()
    (cache_folder() / "tuning.json").write_text(text)
    assert remembered("key") is None
    remember("key", Tuning("torch", 64, 1.0))
    assert remembered("key") == Tuning("torch", 64, 1.0)
    assert [path.name for path in cache_folder().iterdir()] == ["tuning.json"]


def test_tuning_can_be_stopped_and_leaves_nothing(model):
    stop = StopToken()
    with pytest.raises(CancelledError):
        tune(model, "cpu", "fp32", side_px=64, on_progress=lambda _: stop.request(), stop=stop)
    assert not cache_folder().exists()
