"""Training learns, repeats by its seed, survives being killed to the last bit, and says why it can't start."""

from __future__ import annotations

import csv
import math
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from training_samples import QUICK, TINY

from mobilescope.core.errors import OutputError, SessionLockedError, TrainingError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.imaging.turns import turned
from mobilescope.learn.checkpoint import load_model, read_card
from mobilescope.learn.patches import PatchSet, load_fields
from mobilescope.learn.presets import PRESETS, preset
from mobilescope.learn.stepping import Stepper
from mobilescope.learn.train import learning_rate_at, train

pytestmark = pytest.mark.usefixtures("one_thread")

@pytest.fixture
def pairs(write_pairs):
    return write_pairs(("a", "training"), ("a", "training"), ("b", "validation"), ("c", "blind"))


@pytest.fixture
def model(tmp_path):
    return tmp_path / "model.pt"


def weights(path):
    return load_model(path)[0].state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def last(path):
    return path.with_name(f"{path.stem}.last.pt")


def log(path):
    with path.with_suffix(".csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_loss_falls_and_the_best_weights_are_kept(pairs, model):
    config = QUICK.model_copy(update={"steps": 80, "validate_every": 10})
    seen = []
    result = train(pairs, model, config, network=TINY, on_progress=seen.append)
    rows = log(model)
    losses = [float(row["validation_loss"]) for row in rows]
    assert [int(row["step"]) for row in rows] == list(range(10, 81, 10))
    assert losses[-1] < losses[0] / 2
    assert result.validation_loss == pytest.approx(min(losses), abs=1e-6)
    assert result.best_step == 10 * (1 + int(np.argmin(losses)))
    assert (result.model, result.steps, result.stopped) == (model, 80, False)
    assert [p.done for p in seen] == list(range(1, 81))
    assert {p.total for p in seen} == {80}


def test_the_card_tells_where_the_model_comes_from(pairs, model):
    train(pairs, model, QUICK, network=TINY)
    card = read_card(model)
    assert card.network == TINY
    assert (card.input_pixel_um, card.output_pixel_um) == pytest.approx((0.925, 0.37))
    assert (card.instrument, card.warp) == ("a twin", "phone")
    assert card.training["slides"] == {"training": ["a"], "validation": ["b"]}
    assert card.training["config"] == QUICK.model_dump()
    assert card.training["steps_done"] == card.training["best_step"]


def test_the_same_seed_gives_the_same_weights(pairs, tmp_path):
    paths = [tmp_path / f"{name}.pt" for name in ("first", "again", "other")]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        train(pairs, path, QUICK.model_copy(update={"seed": seed}), network=TINY)
    first, again, other = (weights(last(path)) for path in paths)
    assert same(first, again)
    assert not same(first, other)


class Killed(BaseException):
    """Stands for a process that ends without a word."""


def dying_at(step):
    def on_progress(progress):
        if progress.done == step:
            raise Killed

    return on_progress


@pytest.mark.parametrize("steps", [(3,), (6,), (13,), (23,), (7, 20)], ids=str)
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(pairs, tmp_path, steps):
    whole, broken = tmp_path / "whole.pt", tmp_path / "broken.pt"
    expected = train(pairs, whole, QUICK, network=TINY)
    for step in steps:
        with pytest.raises(Killed):
            train(pairs, broken, QUICK, network=TINY, on_progress=dying_at(step))
    result = train(pairs, broken, QUICK, network=TINY)
    assert same(weights(broken), weights(whole))
    assert same(weights(last(broken)), weights(last(whole)))
    assert (result.best_step, result.validation_loss) == (expected.best_step, expected.validation_loss)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_process_killed_while_training_can_be_resumed(pairs, tmp_path):
    whole, broken = tmp_path / "whole.pt", tmp_path / "broken.pt"
    train(pairs, whole, QUICK, network=TINY)
    program = (
        "import os, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from mobilescope.learn.networks import NetworkConfig\n"
        "from mobilescope.learn.presets import TrainingConfig\n"
        "from mobilescope.learn.train import train\n"
        "torch.set_num_threads(1)\n"
        "config = TrainingConfig.model_validate_json(sys.argv[3])\n"
        "network = NetworkConfig.model_validate_json(sys.argv[4])\n"
        "def kill(progress):\n"
        "    if progress.done == 14:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), config, network=network, on_progress=kill)\n"
    )
    arguments = [str(pairs), str(broken), QUICK.model_dump_json(), TINY.model_dump_json()]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    train(pairs, broken, QUICK, network=TINY)
    assert same(weights(last(broken)), weights(last(whole)))
    assert same(weights(broken), weights(whole))


def test_a_stop_keeps_the_best_and_the_run_can_go_on(pairs, tmp_path):
    whole, broken = tmp_path / "whole.pt", tmp_path / "broken.pt"
    train(pairs, whole, QUICK, network=TINY)
    stop = StopToken()
    result = train(
        pairs, broken, QUICK, network=TINY, stop=stop, on_progress=lambda p: stop.request() if p.done == 9 else None
    )
    assert (result.stopped, result.steps, result.best_step) == (True, 9, 6)
    assert read_card(broken).training["best_step"] == 6
    assert not train(pairs, broken, QUICK, network=TINY).stopped
    assert same(weights(broken), weights(whole))


def test_a_stop_before_the_first_validation_leaves_a_model(pairs, model):
    stop = StopToken()
    stop.request()
    result = train(pairs, model, QUICK, network=TINY, stop=stop)
    assert (result.stopped, result.steps) == (True, 0)
    assert read_card(model).training["steps_done"] == 0


def test_a_model_of_an_earlier_run_stands_until_there_is_a_better_one(pairs, model, monkeypatch):
    train(pairs, model, QUICK, network=TINY)
    last(model).unlink()
    earlier = model.read_bytes()
    monkeypatch.setattr("mobilescope.learn.train.enhancement_loss", lambda *_: torch.tensor(math.nan))
    with pytest.raises(TrainingError, match="nan"):
        train(pairs, model, QUICK, network=TINY)
    assert model.read_bytes() == earlier


def test_a_model_of_an_earlier_run_is_not_returned_as_the_new_one(pairs, model):
    train(pairs, model, QUICK, network=TINY)
    last(model).unlink()
    stop = StopToken()
    stop.request()
    assert train(pairs, model, QUICK, network=TINY, stop=stop).stopped
    assert read_card(model).training["steps_done"] == 0


def test_what_is_no_model_is_not_replaced_by_one(pairs):
    """A mistyped --out names the very pairs, or the session, that are trained on."""
    before = pairs.read_bytes()
    with pytest.raises(OutputError, match="is no model"):
        train(pairs, pairs, QUICK, network=TINY)
    assert pairs.read_bytes() == before


def test_a_finished_model_of_another_training_is_not_replaced(pairs, model, write_pairs):
    """Someone else's model, copied here without what its run would need to go on."""
    others = write_pairs(("a", "training"), ("b", "validation"), name="others.pairs.h5", seed=50)
    train(others, model, QUICK, network=TINY)
    last(model).unlink()
    before = model.read_bytes()
    with pytest.raises(UserError, match="other pairs"):
        train(pairs, model, QUICK, network=TINY)
    assert model.read_bytes() == before


def test_a_second_training_into_the_same_model_is_refused(pairs, model):
    """It would write into the first one's half-written files."""
    said = []

    def start_again(progress):
        if progress.done == 3:
            with pytest.raises(SessionLockedError, match="being written") as refused:
                train(pairs, model, QUICK, network=TINY)
            said.append(str(refused.value))

    train(pairs, model, QUICK, network=TINY, on_progress=start_again)
    assert "model.pt" in said[0]
    assert sorted(path.name for path in model.parent.glob("model.*")) == [
        "model.csv", "model.last.pt", "model.panels", "model.pt",
    ]


def test_a_table_that_is_no_log_is_not_replaced_by_one(pairs, model):
    table = model.with_suffix(".csv")
    table.write_text("file,x_um,y_um\n1.tif,0,0\n")
    with pytest.raises(OutputError, match=r"model\.csv"):
        train(pairs, model, QUICK, network=TINY)
    assert table.read_text().startswith("file")
    assert not model.exists()


@pytest.mark.parametrize("left", [b"", b"step,sec", b"step,seconds,a,b,c,d\r\n6,0.1,1,2,3,4\r\n1"], ids=len)
def test_a_log_cut_by_a_kill_is_gone_on_with(pairs, model, left):
    stop = StopToken()
    train(pairs, model, QUICK, network=TINY, stop=stop, on_progress=lambda p: stop.request() if p.done == 9 else None)
    model.with_suffix(".csv").write_bytes(left)
    train(pairs, model, QUICK, network=TINY)
    rows = log(model)
    assert [int(row["step"]) for row in rows][-2:] == [18, 24]
    assert float(rows[-1]["validation_ssim"]) <= 1


def test_a_finished_run_is_not_repeated(pairs, model):
    first = train(pairs, model, QUICK, network=TINY)
    seen = []
    again = train(pairs, model, QUICK, network=TINY, on_progress=seen.append)
    assert not seen
    assert (again.steps, again.best_step, again.validation_loss) == (24, first.best_step, first.validation_loss)


def test_an_unfinished_run_with_other_settings_is_not_overwritten(pairs, model):
    train(pairs, model, QUICK, network=TINY)
    before = model.read_bytes()
    with pytest.raises(UserError, match=r"model\.last\.pt.*other settings"):
        train(pairs, model, QUICK.model_copy(update={"learning_rate": 1e-4}), network=TINY)
    assert model.read_bytes() == before


def test_an_unfinished_run_on_other_pairs_is_not_overwritten(pairs, model, write_pairs):
    train(pairs, model, QUICK, network=TINY)
    others = write_pairs(("a", "training"), ("b", "validation"), name="others.pairs.h5", seed=50)
    with pytest.raises(UserError, match=r"model\.last\.pt.*other pairs"):
        train(others, model, QUICK, network=TINY)


REFUSED = {"accepted": False, "reason": "residual too great"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("b", "validation")], "no training patches"),
        ([("a", "training", REFUSED), ("b", "validation")], "no training patches"),
        ([("a", "training")], "no accepted validation pairs"),
        ([("a", "training"), ("b", "validation", REFUSED)], "no accepted validation pairs"),
        ([("a", "training"), ("b", "validation", {"window": (8, 8, 0, 40)})], "no accepted validation pairs"),
    ],
    ids=["none to train on", "all refused", "none to validate on", "validation refused", "nothing to look at"],
)
def test_a_run_without_data_does_not_start(write_pairs, model, members, message):
    with pytest.raises(UserError, match=message):
        train(write_pairs(*members), model, QUICK, network=TINY)
    assert not model.exists()


def test_fields_smaller_than_a_patch_are_told(pairs, model):
    with pytest.raises(UserError, match="60 px in 2 accepted"):
        train(pairs, model, QUICK.model_copy(update={"patch_px": 60}), network=TINY)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_best(pairs, model, monkeypatch):
    from mobilescope.learn import stepping as module

    whole = module.lean_enhancement_loss
    # The first eight training steps take a call each; from then on the loss is spoilt.
    calls = []

    def spoilt(*arguments):
        calls.append(None)
        return whole(*arguments) * (math.nan if len(calls) > 8 else 1.0)

    monkeypatch.setattr(module, "lean_enhancement_loss", spoilt)
    with pytest.raises(TrainingError, match="nan at step 8"):
        train(pairs, model, QUICK, network=TINY)
    assert read_card(model).training["best_step"] == 6


def test_a_step_that_memory_does_not_hold_names_the_batch_and_keeps_the_best(pairs, model, monkeypatch):
    whole, calls = Stepper.step, []

    def step(self, *arguments):
        calls.append(None)
        if len(calls) > 8:
            torch.empty(2**60)  # what no machine has
        return whole(self, *arguments)

    monkeypatch.setattr(Stepper, "step", step)
    with pytest.raises(TrainingError, match=f"a step on {QUICK.batch} patches .* smaller --batch"):
        train(pairs, model, QUICK, network=TINY)
    assert read_card(model).training["best_step"] == 6


def test_a_run_that_diverges_says_so(pairs, model):
    wild = QUICK.model_copy(update={"learning_rate": 1e30, "schedule": "constant", "validate_every": 1000})
    with pytest.raises(TrainingError, match="lower learning rate"):
        train(pairs, model, wild, network=TINY)


def test_the_learning_rate_warms_up_and_falls_to_a_hundredth():
    config = QUICK.model_copy(update={"steps": 1000, "learning_rate": 1.0})
    rates = [learning_rate_at(config, step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (49, 50)
    assert rates[525] == pytest.approx(0.505, abs=0.01)
    assert rates[1000] == pytest.approx(0.01)
    assert rates[50:] == sorted(rates[50:], reverse=True)
    constant = config.model_copy(update={"schedule": "constant"})
    assert {learning_rate_at(constant, step) for step in (0, 500, 999)} == {1.0}


def test_the_papers_preset_is_the_papers():
    paper = preset("r18")
    assert (paper.batch, paper.learning_rate, paper.schedule, paper.patch_px) == (32, 2e-4, "constant", 60)
    assert (paper.gradient_weight, paper.patch_overlap, paper.stride_px, paper.augment) == (0.001, 0.4, 36, False)
    with pytest.raises(UserError, match=f"'r19'.*{', '.join(PRESETS)}"):
        preset("r19")


def test_patches_and_labels_meet(write_pairs):
    """Every patch, turned or not, is its label at two fifths of the size."""
    fields = load_fields(write_pairs(("a", "training"), size=60), "training", windowed=False)
    patches = PatchSet(fields, patch_px=16, stride_px=10)
    turns = np.arange(len(patches)) % 8
    inputs, labels = patches.batch(np.arange(len(patches)), turns)
    assert inputs.shape == (len(patches), 3, 16, 16)
    assert labels.shape == (len(patches), 3, 40, 40)
    # The fixture's label is the input's picture with its colours reversed, on another scale.
    small = torch.nn.functional.interpolate(labels, size=(16, 16), mode="area")
    expected = 0.15 + 0.7 * inputs.flip(1)
    assert float((small - expected).abs().max()) < 0.02


def test_patches_cover_the_field_to_its_end(write_pairs):
    fields = load_fields(write_pairs(("a", "training"), size=50), "training", windowed=False)
    patches = PatchSet(fields, patch_px=16, stride_px=10)
    # Starts 0, 10, 20, 30 and, flush with the end, 34.
    assert len(patches) == 25
    inputs, _ = patches.batch(np.array([24]))
    np.testing.assert_allclose(inputs[0].permute(1, 2, 0), fields[0].input[34:, 34:] / 65535, atol=1e-6)


def test_the_eight_turns_differ():
    image = np.arange(27).reshape(3, 3, 3)
    assert len({turned(image, turn).tobytes() for turn in range(8)}) == 8
    np.testing.assert_array_equal(turned(image, 0), image)


def test_validation_looks_inside_the_window(write_pairs):
    path = write_pairs(("b", "validation", {"window": (4, 44, 8, 40)}))
    field, = load_fields(path, "validation", windowed=True)
    whole, = load_fields(path, "validation", windowed=False)
    np.testing.assert_array_equal(field.input, whole.input[4:44, 8:40])
    np.testing.assert_array_equal(field.label, whole.label[10:110, 20:100])
