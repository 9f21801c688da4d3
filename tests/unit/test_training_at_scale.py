"""Several processes, several files, a teacher, self-feeding: what else a training run can be made of."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from training_samples import QUICK, TINY

from mobilescope.core.errors import UserError
from mobilescope.data.pairs import PairStore
from mobilescope.learn.checkpoint import load_model, read_card, save_model
from mobilescope.learn.feed import DataOptions
from mobilescope.learn.networks import EnhancementNetwork
from mobilescope.learn.presets import network_for
from mobilescope.learn.refeed import refeed
from mobilescope.learn.train import train

QUICK_FACTORS = {1.0: Fraction(1), 1.5: Fraction(3, 2), 2.0: Fraction(2), 3.0: Fraction(3)}

pytestmark = pytest.mark.usefixtures("one_thread")

@pytest.fixture
def pairs(write_pairs):
    return write_pairs(("a", "training"), ("a", "training"), ("b", "validation"), ("c", "blind"))


def weights(path):
    return load_model(path)[0].state_dict()


def worst_difference(first, second):
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@contextmanager
def load_pair(path, role):
    """Give the open file and the number of its first pair of a role."""
    with PairStore.open(path) as store:
        yield store, next(number for number, record in enumerate(store.records) if record.role == role)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_train_what_one_does(pairs, tmp_path):
    alone, shared = tmp_path / "alone.pt", tmp_path / "shared.pt"
    train(pairs, alone, QUICK, network=TINY)
    program = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from mobilescope.learn.networks import NetworkConfig\n"
        "from mobilescope.learn.presets import TrainingConfig\n"
        "from mobilescope.learn.train import train\n"
        "torch.set_num_threads(1)\n"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), TrainingConfig.model_validate_json(sys.argv[3]),\n"
        "      network=NetworkConfig.model_validate_json(sys.argv[4]), device='cpu')\n"
    )
    arguments = [str(pairs), str(shared), QUICK.model_dump_json(), TINY.model_dump_json()]
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments], env=os.environ | where | {"RANK": str(rank)},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    assert worst_difference(weights(alone), weights(shared)) < 1e-5
    assert alone.with_suffix(".csv").read_text().count("\n") == shared.with_suffix(".csv").read_text().count("\n")


def test_a_batch_that_can_not_be_shared_is_refused():
    from mobilescope.learn.ranks import Ranks

    with pytest.raises(UserError, match="multiple of 3"):
        Ranks(1, 3).share(4)
    assert Ranks(1, 2).share(4) == slice(2, 4)


def test_workers_and_resident_fields_train_the_same_weights(pairs, tmp_path):
    paths = [tmp_path / f"{name}.pt" for name in ("memory", "workers", "resident")]
    options = (DataOptions(), DataOptions(workers=1), DataOptions(resident="on"))
    for path, data in zip(paths, options, strict=True):
        train(pairs, path, QUICK, network=TINY, data=data)
    assert worst_difference(weights(paths[0]), weights(paths[1])) == 0
    assert worst_difference(weights(paths[0]), weights(paths[2])) == 0


def test_several_files_train_one_network(write_pairs, tmp_path):
    first = write_pairs(("a", "training"), ("b", "validation"), name="one.h5", stains={"a": "blood"})
    second = write_pairs(("a", "training"), ("c", "validation"), name="two.h5", seed=9, stains={"a": "h&e"})
    model = tmp_path / "model.pt"
    train([first, second], model, QUICK, network=TINY)
    card = read_card(model)
    assert card.stain == "blood + h&e"
    assert [source["file"] for source in card.training["sources"]] == ["one.h5", "two.h5"]
    assert card.training["pairs"] == 2


@pytest.mark.parametrize(
    ("options", "message"), [({"warp": "benchtop"}, "warp"), ({"factor": 2.0}, "factor")], ids=["warp", "factor"]
)
def test_files_that_were_registered_otherwise_are_refused(write_pairs, tmp_path, options, message):
    first = write_pairs(("a", "training"), ("b", "validation"), name="one.h5")
    second = write_pairs(("a", "training"), ("b", "validation"), name="two.h5", **options)
    with pytest.raises(UserError, match=message):
        train([first, second], tmp_path / "model.pt", QUICK, network=TINY)


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0, 3.0])
def test_every_enlargement_can_be_trained(write_pairs, tmp_path, factor):
    path = write_pairs(("a", "training"), ("b", "validation"), factor=factor)
    model = tmp_path / "model.pt"
    tails = network_for("quick", QUICK_FACTORS[factor])
    network = TINY.model_copy(update={"shuffle": tails.shuffle, "stride": tails.stride})
    train(path, model, QUICK, network=network)
    card = read_card(model)
    assert card.network.factor == factor
    assert card.input_pixel_um == pytest.approx(factor * card.output_pixel_um)


def test_a_network_of_another_factor_is_refused(write_pairs, tmp_path):
    path = write_pairs(("a", "training"), ("b", "validation"), factor=2.0)
    with pytest.raises(UserError, match=r"enlarges 2\.5 times.*2 times"):
        train(path, tmp_path / "model.pt", QUICK, network=TINY)


def test_patience_ends_a_run_and_is_kept_over_a_stop(pairs, tmp_path):
    still = QUICK.model_copy(update={
        "patience": 2, "steps": 600, "learning_rate": 1e-30, "schedule": "constant", "gradient_weight": 0.0,
    })
    model = tmp_path / "model.pt"
    result = train(pairs, model, still, network=TINY)
    assert not result.stopped
    assert result.steps < 600
    assert result.steps - result.best_step == 2 * still.validate_every
    again = train(pairs, model, still, network=TINY)
    assert (again.steps, again.best_step) == (result.steps, result.best_step)


def test_epochs_set_the_steps(pairs, tmp_path):
    result = train(pairs, tmp_path / "model.pt", QUICK.model_copy(update={"epochs": 2}), network=TINY)
    assert result.steps == -(-2 * result.patches // QUICK.batch)


def test_panels_show_phone_network_and_benchtop(pairs, tmp_path):
    model = tmp_path / "model.pt"
    train(pairs, model, QUICK, network=TINY)
    panels = sorted((tmp_path / "model.panels").iterdir())
    assert [panel.name for panel in panels] == [f"step-{step:06d}.png" for step in (6, 12, 18, 24)]
    picture = cv2.imread(str(panels[-1]))[..., ::-1]
    with load_pair(pairs, "validation") as (store, index):
        label = store.label(index)
    benchtop = picture[: label.shape[0], -label.shape[1] :]
    np.testing.assert_array_equal(benchtop, label)


def test_tensorboard_has_the_scores(pairs, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(pairs, tmp_path / "model.pt", QUICK, network=TINY, tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "model.tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("validation_ssim")] == [6, 12, 18, 24]
    assert events.Images("validation")


def test_a_student_learns_from_its_teacher(pairs, tmp_path):
    teacher, student = tmp_path / "teacher.pt", tmp_path / "student.pt"
    train(pairs, teacher, QUICK.model_copy(update={"steps": 60}), network=TINY)
    # A teacher that paints everything in one grey: a student of it alone does so too, whatever its labels say.
    network, card, _ = load_model(teacher)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.exit.bias.fill_(0.25)
    save_model(teacher, network, card)
    taught = QUICK.model_copy(update={"steps": 120, "distil_weight": 1.0, "learning_rate": 1e-2})
    train(pairs, student, taught, network=TINY, teacher=teacher)
    learned, card, _ = load_model(student.with_name("student.last.pt"))
    with load_pair(pairs, "training") as (store, index):
        picture = torch.from_numpy(store.input(index).astype(np.float32) / 65535).permute(2, 0, 1)[None]
    with torch.inference_mode():
        assert float((learned(picture) - 0.25).abs().mean()) < 0.05
    assert card.training["teacher"]["network"] == TINY.model_dump()


def test_a_teacher_of_another_factor_is_refused(pairs, tmp_path, write_pairs):
    teacher = tmp_path / "teacher.pt"
    train(pairs, teacher, QUICK.model_copy(update={"steps": 1}), network=TINY)
    other = write_pairs(("a", "training"), ("b", "validation"), name="x2.h5", factor=2.0)
    network = TINY.model_copy(update={"shuffle": 2, "stride": 1})
    with pytest.raises(UserError, match=r"teacher.*2 times"):
        train(other, tmp_path / "student.pt", QUICK, network=network, teacher=teacher)


def test_feeding_the_output_again_keeps_its_grid_or_makes_it_finer():
    network = EnhancementNetwork(TINY)
    network.initialise(0)
    picture = torch.rand(1, 3, 12, 16)
    assert refeed(network, picture, "downsampled").shape == (1, 3, 30, 40)
    assert refeed(network, picture, "finer").shape == (1, 3, 75, 100)


def test_self_feeding_trains_the_second_pass(pairs, tmp_path):
    fed, plain = (QUICK.model_copy(update={"steps": 90, "refeed": mode}) for mode in ("downsampled", "off"))
    errors = {}
    for name, config in (("fed", fed), ("plain", plain)):
        path = tmp_path / f"{name}.pt"
        train(pairs, path, config, network=TINY)
        network, _, _ = load_model(path)
        with load_pair(pairs, "validation") as (store, index):
            low, label = store.input(index).astype(np.float32) / 65535, store.label(index).astype(np.float32) / 255
        with torch.inference_mode():
            second = refeed(network, torch.from_numpy(low).permute(2, 0, 1)[None], "downsampled")
        errors[name] = float(np.mean((second[0].permute(1, 2, 0).numpy() - label) ** 2))
    assert errors["fed"] < errors["plain"]


def bare_entry(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mobilescope.learn", *map(str, arguments)], capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_the_bare_entry_tells_what_is_wrong_in_a_line(pairs, tmp_path):
    done = bare_entry(pairs, "--out", tmp_path / "m.pt")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no training patches of 60 px")
    assert "Traceback" not in done.stderr


def test_the_bare_entry_refuses_a_folder_that_is_not_there_before_it_trains(write_pairs, tmp_path):
    pairs = write_pairs(("a", "training"), ("b", "validation"), size=64)
    done = bare_entry(pairs, "--out", tmp_path / "missing" / "m.pt", "--steps", 2)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the model can't be written as")
    assert "Traceback" not in done.stderr


def test_the_bare_entry_prints_json(write_pairs, tmp_path):
    pairs = write_pairs(("a", "training"), ("b", "validation"), size=64)
    done = bare_entry(pairs, "--out", tmp_path / "m.pt", "--steps", 2, "--preset", "distilled", "--batch", 2)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
