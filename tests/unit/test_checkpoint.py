"""A model comes back as it was saved; any other file is refused by name, and a failed write loses nothing."""

from __future__ import annotations

import errno
import json
import pickle

import pytest
import torch

from mobilescope.app.datasets.exporting import kind_of_export
from mobilescope.app.inspection.inspecting import describe
from mobilescope.core.errors import (
    ConfigError,
    InputFileError,
    ModelKindError,
    NewerVersionError,
    OutputError,
    UserError,
)
from mobilescope.learn.checkpoint import FORMAT_VERSION, ModelCard, load_model, read_card, read_reference, save_model
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

TINY = NetworkConfig(first_width=2, blocks=1, growth=1)


def model(seed=0, **training):
    network = EnhancementNetwork(TINY)
    network.initialise(seed)
    return network, ModelCard(TINY, 0.925, 0.37, "twin µ", "phone", {"slides": {"training": ["a"]}, **training})


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.pt"
    save_model(path, *model(), {"step": 7, "best": [1.0, 0.25], "optimizer": {"state": {0: {"avg": torch.ones(3)}}}})
    return path


def rewrite(path, *, card=None, leave_out=(), **content):
    """Save the checkpoint again with parts of it, or of its card, changed."""
    whole = torch.load(path, weights_only=True)
    changed = json.loads(whole["card"]) | (card or {})
    for name in leave_out:
        del changed[name]
    torch.save(whole | {"card": json.dumps(changed)} | content, path)


def test_everything_comes_back(path):
    network, card = model()
    found, found_card, state = load_model(path)
    assert found_card == card == read_card(path)
    assert not found.training
    for (name, value), (found_name, found_value) in zip(
        network.state_dict().items(), found.state_dict().items(), strict=True
    ):
        assert name == found_name
        assert torch.equal(value, found_value)
    assert (state["step"], state["best"]) == (7, [1.0, 0.25])
    assert torch.equal(state["optimizer"]["state"][0]["avg"], torch.ones(3))


def test_the_file_holds_nothing_but_tensors_and_plain_values(path):
    assert set(torch.load(path, weights_only=True)) == {"card", "weights", "state", "reference"}


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return (tmp_path.joinpath("harmed").touch, ())

    path = tmp_path / "model.pt"
    torch.save({"card": Harm()}, path)
    with pytest.raises(InputFileError, match=r"model\.pt"):
        load_model(path)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputFileError, match=r"model\.pt"):
        load_model(path)


@pytest.mark.parametrize(
    "content",
    [b"hello\n", b'{"card": 1}', b"\x89PNG\r\n\x1a\n" + bytes(200), b"\x89HDF\r\n\x1a\n" + bytes(2000), bytes(999)],
    ids=["text", "json", "png", "hdf5", "zeros"],
)
def test_a_foreign_file_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"model\.pt.*mobilescope train"):
        load_model(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.pt"):
        with pytest.raises(InputFileError) as refused:
            load_model(path)
        assert str(path) in str(refused.value)
        assert refused.value.exit_status == 2


@pytest.mark.parametrize("content", [[1, 2], {"entry.weight": torch.zeros(2)}, {"card": 3}])
def test_a_torch_file_of_something_else_is_refused(path, content):
    torch.save(content, path)
    with pytest.raises(ModelKindError, match=r"model\.pt"):
        load_model(path)


def test_another_kind_of_model_is_refused(path):
    rewrite(path, card={"kind": "mobilescope-focus"})
    for read in (load_model, read_card):
        with pytest.raises(ModelKindError, match="mobilescope-focus"):
            read(path)


def test_a_newer_file_is_refused(path):
    rewrite(path, card={"format_version": FORMAT_VERSION + 1, "software_version": "9.9"})
    with pytest.raises(NewerVersionError, match=r"9\.9.*update"):
        load_model(path)


def test_an_incomplete_card_is_refused(path):
    rewrite(path, card={"training": None})
    with pytest.raises(InputFileError, match="incomplete"):
        load_model(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_pixel_um": 0}, {"input_pixel_um": float("nan")}, {"output_pixel_um": -1},
        {"training": {"slides": None}}, {"training": {"slides": {"training": 5}}}, {"training": {"sources": ["a"]}},
        {"training": {"sources": [{"slides": ["a"]}]}}, {"training": {"config": "quick"}},
        {"training": {"seconds": "3"}},
    ],
    ids=str,
)
def test_a_card_with_values_that_can_not_be_is_refused(path, wrong):
    rewrite(path, card=wrong)
    with pytest.raises(InputFileError, match="incomplete"):
        read_card(path)


def test_weights_that_are_no_numbers_are_refused(path):
    """They would make black pictures."""
    network, card = model()
    network.entry.weight.data[0] = torch.nan
    save_model(path, network, card)
    with pytest.raises(InputFileError, match="no numbers"):
        load_model(path)


def test_an_impossible_network_is_refused(path):
    rewrite(path, card={"network": {"blocks": 0}})
    with pytest.raises(ConfigError, match=r"model\.pt.*network\.blocks"):
        load_model(path)


@pytest.mark.parametrize("weights", [{}, {"entry.weight": torch.zeros(2)}, [1, 2], None])
def test_weights_that_do_not_fit_the_card_are_refused(path, weights):
    rewrite(path, weights=weights)
    with pytest.raises(InputFileError, match="fit"):
        load_model(path)


def test_weights_of_another_size_are_refused(path):
    rewrite(path, card={"network": NetworkConfig(first_width=4).model_dump()})
    with pytest.raises(InputFileError, match="fit"):
        load_model(path)


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "no space left"), RuntimeError("unexpected pos")])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_part(path, monkeypatch, failure):
    before = path.read_bytes()

    def fail(_content, target):
        target.write_bytes(b"half a file")
        raise failure

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OutputError, match=r"model\.pt"):
        save_model(path, *model(seed=1))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pt"]


def test_an_interrupted_write_keeps_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def interrupted(_content, target):
        target.write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(path, *model(seed=1))
    assert path.read_bytes() == before
    monkeypatch.undo()
    save_model(path, *model(seed=1))
    assert torch.equal(load_model(path)[0].entry.weight, model(seed=1)[0].entry.weight)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pt"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match="none") as refused:
        save_model(tmp_path / "none" / "model.pt", *model())
    assert isinstance(refused.value, UserError)


def test_plain_pickles_are_refused(path):
    path.write_bytes(pickle.dumps({"card": "{}"}, protocol=2))
    with pytest.raises((InputFileError, ModelKindError), match=r"model\.pt"):
        load_model(path)


def test_reference_statistics_come_back(path):
    network, card = model()
    save_model(path, network, card, reference={"mean": torch.arange(3.0)})
    assert torch.equal(read_reference(path)["mean"], torch.arange(3.0))


def test_inspection_refuses_statistics_that_enhancement_would(path):
    network, card = model()
    save_model(path, network, card, reference={"0/version": torch.tensor(1.0)})
    with pytest.raises(InputFileError, match="statistics of the training set"):
        describe(path)


@pytest.mark.parametrize("name", ["model", "model.PT", "model.ckpt"])
def test_a_model_is_known_under_any_name(path, name):
    renamed = path.rename(path.with_name(name))
    assert describe(renamed)["kind"] == "mobilescope-enhancement"
    assert kind_of_export(renamed, None) == "onnx"


def test_a_model_without_reference_statistics_says_so(path):
    assert read_reference(path) == {}


def test_a_model_of_the_first_version_still_loads(path):
    rewrite(path, card={"format_version": 1}, leave_out=("stain", "normalisation"))
    assert read_card(path).stain == "unknown"
