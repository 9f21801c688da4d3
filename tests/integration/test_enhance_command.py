"""The command that enhances, as a user meets it: what it prints, how it ends, and that it goes on where it stopped."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
from integration.small_job import MOBILESCOPE, mobilescope, signalled
from small_models import save_small_model

from mobilescope.app.cli import main
from mobilescope.app.pictures.images import read_rgb, write_rgb
from mobilescope.enhance.torch_engine import TorchEngine

FP32 = ("--device", "cpu", "--engine", "torch", "--precision", "fp32")


def picture(rows=70, columns=90, seed=0):
    return np.random.default_rng(seed).integers(60, 200, (rows, columns, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to run commands in, with a model and a picture."""
    monkeypatch.chdir(tmp_path)
    save_small_model(tmp_path / "model.pt", training={"slides": {"training": ["a", "b"], "validation": ["c"]}})
    write_rgb(tmp_path / "in.png", picture())
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Run a command in this process and return its status, its JSON and the lines for people."""
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["mobilescope", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, json.loads(said.out) if said.out else None, said.err.splitlines()

    return call


def test_the_json_has_what_became_of_every_picture(run, folder):
    status, told, lines = run("enhance", "model.pt", "in.png", "out.png", *FP32, "--json")
    assert status == 0
    assert (told["model"], told["written"], told["failed"]) == ("model.pt", ["out.png"], [])
    (done,) = told["files"]
    assert (done["input"], done["output"], done["skipped"]) == ("in.png", "out.png", False)
    assert done["state"] in ("trusted", "caution", "not for use")
    assert (done["state"] == "trusted") == (done["reasons"] == [])
    assert done["engine"] == told["engine"]
    assert "torch" in done["engine"]
    assert "float32" in done["engine"]
    assert done["seconds"] > 0
    if done["state"] != "trusted":
        assert any(done["state"] in line and done["reasons"][0] in line for line in lines)
    status, told, lines = run("enhance", "model.pt", "in.png", "out.png", *FP32, "--json")
    assert (status, told["written"], told["files"][0]["skipped"]) == (0, [], True)
    assert "1 done before" in lines[-1]
    assert run("enhance", "model.pt", "in.png", "out.png", *FP32, "--again", "--json")[1]["written"] == ["out.png"]


def test_bad_files_in_a_folder_are_told_and_the_rest_is_done(run, folder):
    (folder / "many").mkdir()
    write_rgb(folder / "many" / "a.png", picture())
    (folder / "many" / "b.png").write_bytes(b"no picture")
    status, told, lines = run("enhance", "model.pt", "many", "out", *FP32, "--json")
    assert (status, told["written"]) == (1, ["out/a.png"])
    (failed,) = told["failed"]
    assert failed["input"] == "many/b.png"
    assert "can't be read" in failed["error"]
    assert [line for line in lines if line.startswith("failed: ")] == [f"failed: {failed['error']}"]
    assert lines[-1].startswith("1 enhanced, 1 failed: out")


def test_the_same_doubt_about_many_pictures_is_told_once(run, folder):
    (folder / "many").mkdir()
    for seed in range(4):
        write_rgb(folder / "many" / f"{seed}.png", picture(seed=seed))
    _, told, lines = run("enhance", "model.pt", "many", "out", *FP32, "--json")
    reasons = {tuple(each["reasons"]) for each in told["files"]}
    assert len(reasons) == 1  # the model carries no statistics
    assert [line for line in lines if "caution" in line] == [
        f"out/0.png and 3 more: caution: {'; '.join(reasons.pop())}"
    ]


def test_want_of_memory_is_one_line_and_no_failure(run, folder, monkeypatch):
    plain, enough = TorchEngine.run, 60 * 60

    def cramped(engine, pictures):
        if pictures[..., 0].size > enough:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(engine, pictures)

    run("enhance", "model.pt", "in.png", "whole.tif", *FP32)
    monkeypatch.setattr(TorchEngine, "run", cramped)
    status, _, lines = run("enhance", "model.pt", "in.png", "parts.tif", *FP32)
    assert status == 0
    warned = [line for line in lines if "memory ran out" in line]
    assert warned
    assert all(line.startswith("warning: ") and "going on with tiles of" in line for line in warned)
    assert np.abs(read_rgb(folder / "whole.tif").astype(int) - read_rgb(folder / "parts.tif")).max() <= 1


def test_inspect_prints_the_record_of_a_picture(run, folder):
    run("enhance", "model.pt", "in.png", "out.ome.tif", *FP32)
    status, facts, lines = run("inspect", "out.ome.tif", "--json")
    assert status == 0
    assert "  label: computed image, not for diagnosis" in lines
    assert f"  input_sha256: {facts['provenance']['input_sha256']}" in lines
    assert facts["pixel_size_um"] == pytest.approx(0.37)
    assert run("inspect", "in.png", "--json")[1]["provenance"] is None


def test_inspect_prints_a_models_card(run, folder):
    status, facts, lines = run("inspect", "model.pt", "--json")
    assert status == 0
    assert facts["network"]["first_width"] == 4
    assert facts["reference"] == []
    text = "\n".join(lines)
    for words in ("0.925 µm in, 0.37 µm out", "by 2.5×", "a, b", "a twin", "blood", "training set: none"):
        assert words in text


@pytest.mark.skipif(importlib.util.find_spec("onnxscript") is None, reason="needs the extra 'onnx'")
def test_a_model_is_exported_as_onnx_with_its_difference(run, folder):
    status, told, lines = run("export", "model.pt", "--out", "model.onnx", "--json")
    assert (status, told["written"]) == (0, ["model.onnx"])
    assert told["largest_difference"] < 1e-4
    assert "differs from torch by" in lines[-1]


def test_an_export_without_its_packages_says_what_to_install(run, folder, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if "onnx" in name else real(name, *rest))
    status, _, lines = run("export", "model.pt", "--out", "model.onnx")
    assert status == 2
    assert "pip install 'mobilescope[onnx]'" in lines[-1]
    assert not (folder / "model.onnx").exists()


def test_a_pipe_is_not_called_missing(folder):
    """A shell gives a name as `<(cat in.png)` does: /dev/fd/N, a pipe."""
    for arguments, words in (
        (["enhance", "model.pt", "PIPE", "out.png"], "a picture or session is read more than once"),
        (["enhance", "PIPE", "in.png", "out.png"], "a model file is read more than once"),
        (["inspect", "PIPE"], "a file is read more than once"),
        (["live", "model.pt", "--source", "PIPE", "--no-window"], "a video is read more than once"),
    ):
        named = [each.replace("PIPE", "/dev/stdin") for each in arguments]
        done = subprocess.run(
            [MOBILESCOPE, *named], cwd=folder, input=(folder / "in.png").read_bytes(), capture_output=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, b"")
        (error,) = done.stderr.decode().splitlines()
        assert error.startswith("error: /dev/stdin is a pipe")
        assert words in error
        assert error.endswith("save it as a file and name that")


def test_ctrl_c_leaves_no_half_slide_and_the_same_command_goes_on(folder):
    image = picture(900, 700)
    tifffile.imwrite(folder / "slide.tif", image, photometric="rgb", tile=(128, 128))
    command = ("enhance", "model.pt", "slide.tif", "out/slide.ome.tif", *FP32, "--tile-px", 32)
    stopped = signalled(*command, folder=folder, after="enhance: ", number=signal.SIGINT)
    assert stopped.status == 130, stopped.errors
    assert "Traceback" not in stopped.errors
    assert list((folder / "out").iterdir()) == []
    assert mobilescope(*command, "--json", folder=folder).json()["written"] == ["out/slide.ome.tif"]
    assert read_rgb(folder / "out" / "slide.ome.tif").shape == (2250, 1750, 3)
