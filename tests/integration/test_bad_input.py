"""Bad input to every command: one line that names the cause and a way out, status 2 (or 1), and nothing touched.

The commands run in this process through the console script's own entry point, with warnings as errors.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import tifffile
import torch
from integration.small_job import INSTRUMENT, SmallJob, digests, mobilescope, plan_text

from mobilescope.app.cli import main
from mobilescope.data.layout import mosaic_path, pairs_path

WRONG_FILES = ("missing", "empty", "truncated", "png", "hdf5", "text", "folder", "below-a-file")


@dataclass(frozen=True)
class Bench:
    """A folder of good and bad input, that no command may change, and one for output that must stay without files."""

    folder: Path
    out: Path
    digests: dict[str, str]

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def write_wrong_files(folder: Path, good: Path) -> None:
    """Write every kind of wrong file under the suffix of a good one."""
    content = good.read_bytes()
    for name, wrong in {
        "empty": b"", "truncated": content[: len(content) * 2 // 3], "png": (folder / "picture.png").read_bytes(),
        "text": b"To whom it may concern\n",
    }.items():
        (folder / f"{name}{good.suffix}").write_bytes(wrong)
    with h5py.File(folder / f"hdf5{good.suffix}", "w") as file:
        file["measurement"] = np.arange(10)
    (folder / f"folder{good.suffix}").mkdir()


def wrong_file(bench: Bench, name: str, suffix: str) -> Path:
    return bench["plan.toml"] / f"x{suffix}" if name == "below-a-file" else bench[f"{name}{suffix}"]


class RunsCode:
    """Unpickling this leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def write_models(folder: Path) -> None:
    content = torch.load(folder / "model.pt", weights_only=True)
    card = json.loads(content["card"])

    def save(name: str, **changes: object) -> None:
        torch.save(content | {"card": json.dumps(card | changes)}, folder / name)

    save("focus.pt", kind="mobilescope-focus")
    save("newer.pt", format_version=99)
    save("narrow.pt", network=card["network"] | {"blocks": 3})
    save("odd.pt", network=card["network"] | {"blocks": -1})
    torch.save(content["weights"], folder / "weights.pt")
    (folder / "code.pt").write_bytes(pickle.dumps(RunsCode(folder / "mark"), protocol=2))
    torch.save({"card": RunsCode(folder / "mark")}, folder / "code-in-zip.pt")


def write_pictures(folder: Path) -> None:
    for name, array in {
        "float": np.full((80, 80), 0.5, np.float32), "scaled": np.full((80, 80), 100, np.float32),
        "nan": np.full((80, 80), np.nan, np.float32), "five": np.zeros((80, 80, 5), np.uint8),
        "integers": np.zeros((80, 80, 3), np.int32), "stack": np.zeros((9, 80, 80), np.uint8),
    }.items():
        tifffile.imwrite(folder / f"{name}.tif", array, photometric="minisblack")
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((8, 8, 3), np.uint8))
    for name in ("pictures", "twins"):
        (folder / name).mkdir()
        shutil.copy(folder / "picture.png", folder / name / "a.png")
    cv2.imwrite(str(folder / "twins" / "a.jpg"), np.zeros((64, 64, 3), np.uint8))
    (folder / "nothing").mkdir()


@pytest.fixture(scope="module")
def bench(small_job: SmallJob, tmp_path_factory) -> Bench:
    folder, out = tmp_path_factory.mktemp("bench"), tmp_path_factory.mktemp("out")
    for path in (small_job.session, small_job.model, pairs_path(small_job.session)):
        shutil.copy(path, folder)
    for slide in ("first", "second", "third"):
        shutil.copy(mosaic_path(small_job.session, slide), folder)
    for name in ("model.last.pt", "model.csv"):
        shutil.copy(small_job.folder / name, folder)
    (folder / "plan.toml").write_text(plan_text())
    (folder / "two-slides.toml").write_text(plan_text(slides=2))
    (folder / "instrument.toml").write_text(INSTRUMENT)
    cv2.imwrite(str(folder / "picture.png"), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("session.h5", "model.pt", "plan.toml", "picture.png"):
        write_wrong_files(folder, folder / name)
    # Two thirds of this plan happen to end between two slides.
    (folder / "truncated.toml").write_text(plan_text()[:-20])
    write_models(folder)
    write_pictures(folder)
    shutil.copy(folder / "session.h5", folder / "newer.h5")
    with h5py.File(folder / "newer.h5", "r+", libver="v110") as file:
        file.attrs["schema_version"] = 99
    (folder / "bare").mkdir()
    shutil.copy(folder / "session.h5", folder / "bare")
    (folder / "demo").mkdir()
    (folder / "demo/instrument.toml").write_text("name = 'another'\n")
    return Bench(folder, out, digests(folder))


@pytest.fixture
def refused(bench, monkeypatch, capsys):
    """Run a command that must refuse its input and return the line that it says."""
    def run(*arguments: object, status: int = 2) -> str:
        monkeypatch.setattr(sys, "argv", ["mobilescope", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == status, said.err
        assert said.out == ""
        lines = said.err.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert errors == lines[-1:]
        assert all(line.startswith("instrument: ") for line in lines[:-1])  # which instrument is always told
        assert "; " in errors[0], "no way out is named"
        assert digests(bench.folder) == bench.digests
        assert [path for path in bench.out.rglob("*") if path.is_file()] == []
        return errors[0]

    return run


Arguments = Callable[[Bench, Path], list[object]]

SESSION_ARGUMENTS: dict[str, Arguments] = {
    "stitch": lambda b, file: ["stitch", file],
    "register": lambda b, file: ["register", file],
    "train": lambda b, file: ["train", file, "--out", b.out / "m.pt", "--steps", 1],
    "evaluate": lambda b, file: ["evaluate", b["model.pt"], file, "--report", b.out / "r.html"],
    "inspect": lambda b, file: ["inspect", file],
    "export": lambda b, file: ["export", file, "--out", b.out / "export"],
    "export-png": lambda b, file: ["export", file, "--kind", "png", "--out", b.out / "export"],
    "enhance": lambda b, file: ["enhance", b["model.pt"], file, b.out / "enhanced"],
}
ACQUISITION_ARGUMENTS: dict[str, Arguments] = {
    command: lambda b, file, command=command: [
        "--config", b["instrument.toml"], command, b["plan.toml"], "--session", file
    ]
    for command in ("scan", "capture")
}
PLAN_ARGUMENTS: dict[str, Arguments] = {
    command: lambda b, file, command=command: [
        "--config", b["instrument.toml"], command, file, "--session", b.out / "new.h5"
    ]
    for command in ("scan", "capture")
}
CONFIG_ARGUMENTS: dict[str, Arguments] = {
    "config": lambda b, file: ["--config", file, "scan", b["plan.toml"], "--session", b.out / "new.h5"]
}
MODEL_ARGUMENTS: dict[str, Arguments] = {
    "evaluate": lambda b, file: ["evaluate", file, b["session.h5"], "--report", b.out / "r.html"],
    "enhance": lambda b, file: ["enhance", file, b["picture.png"], b.out / "enhanced.png"],
    "inspect": lambda b, file: ["inspect", file],
    "export": lambda b, file: ["export", file, "--out", b.out / "m.onnx"],
}
PICTURE_ARGUMENTS: dict[str, Arguments] = {
    "enhance": lambda b, file: ["enhance", b["model.pt"], file, b.out / "enhanced.png"],
    "demo": lambda b, file: ["demo", "--specimen", file, "--pixel-size-um", 0.5, "--out", b.out / "demo"],
}


WRONG_FILE_CASES = [
    pytest.param(arguments, name, suffix, id=f"{command}-{name}{suffix}")
    for suffix, table, left_out in (
        (".h5", SESSION_ARGUMENTS, ()),
        (".h5", ACQUISITION_ARGUMENTS, ("missing",)),  # a missing session is a new one
        (".toml", CONFIG_ARGUMENTS, ("empty",)),  # an empty file is the twin with its defaults
        (".toml", PLAN_ARGUMENTS, ()),
        (".pt", MODEL_ARGUMENTS, ()),
        (".png", PICTURE_ARGUMENTS, ("png",)),
    )
    for command, arguments in table.items()
    for name in WRONG_FILES if name not in left_out
]


@pytest.mark.parametrize(("arguments", "name", "suffix"), WRONG_FILE_CASES)
def test_a_wrong_file_is_named(bench, refused, arguments, name, suffix):
    file = wrong_file(bench, name, suffix)
    line = refused(*arguments(bench, file))
    assert str(file) in line or str(file.parent) in line


@pytest.mark.parametrize("command", [*SESSION_ARGUMENTS, *ACQUISITION_ARGUMENTS])
def test_a_session_from_a_newer_version_is_refused(bench, refused, command):
    arguments = (SESSION_ARGUMENTS | ACQUISITION_ARGUMENTS)[command]
    assert "format version 99" in refused(*arguments(bench, bench["newer.h5"]))


@pytest.mark.parametrize("command", MODEL_ARGUMENTS)
@pytest.mark.parametrize(("name", "words"), [
    ("focus.pt", "holds a 'mobilescope-focus' model"),
    ("newer.pt", "update mobilescope"),
    ("narrow.pt", "don't fit its own card"),
    ("odd.pt", "network.blocks"),
    ("weights.pt", "is no mobilescope model"),
    ("code.pt", "is not a model file"),
    ("code-in-zip.pt", "is not a model file"),
])
def test_a_model_that_does_not_fit_is_refused_and_runs_no_code(bench, refused, command, name, words):
    line = refused(*MODEL_ARGUMENTS[command](bench, bench[name]))
    assert words in line
    assert name in line
    assert not bench["mark"].exists()


@pytest.mark.parametrize(("command", "name"), [
    *((command, name) for command in PICTURE_ARGUMENTS for name in ("five.tif", "integers.tif", "stack.tif")),
    ("demo", "float.tif"), ("enhance", "scaled.tif"), ("enhance", "nan.tif"),
])
def test_a_picture_of_a_wrong_type_is_refused(bench, refused, command, name):
    assert name in refused(*PICTURE_ARGUMENTS[command](bench, bench[name]))


PLANS = {
    "duplicate slide": (lambda plan: plan.replace('"second"', '"first"'), "two slides are called 'first'"),
    "unknown key": (lambda plan: plan + "colour = 1\n", "colour"),
    "unknown table": (lambda plan: plan + "[colours]\n", "colours"),
    "wrong type": (lambda plan: plan.replace("rows = 3", 'rows = "three"', 1), "slides.0.scan.rows"),
    "out of range": (lambda plan: plan.replace("rows = 3", "rows = 0", 1), "slides.0.scan.rows"),
    "unknown role": (lambda plan: plan.replace('"blind"', '"test"'), "slides.2.role"),
    "no slides": (lambda _: "slides = []\n", "slides"),
    "name with a slash": (lambda plan: plan.replace('"first"', '"a/b"'), "slides.0.name"),
    "slide not on the rack": (lambda plan: plan.replace('"first"', '"absent"'), "(--config) as [twin.slides.absent]"),
}


@pytest.mark.parametrize("command", PLAN_ARGUMENTS)
@pytest.mark.parametrize("case", PLANS)
def test_a_plan_with_a_mistake_names_it(bench, refused, tmp_path, command, case):
    change, words = PLANS[case]
    plan = tmp_path / "plan.toml"
    plan.write_text(change(plan_text()))
    line = refused(*PLAN_ARGUMENTS[command](bench, plan))
    assert words in line
    assert case == "slide not on the rack" or str(plan) in line


INSTRUMENTS = {
    "unknown phone parameter": (lambda text: text.replace("bayer_rows", "bayer_rowz"), "twin.phone.bayer_rowz"),
    "unknown key": (lambda text: text + "[phone]\nlens = 2\n", "phone.lens"),
    "unknown preset": (lambda text: text + '[phone]\npreset = "r19"\n', "there is no preset 'r19'"),
    "unknown kind": (lambda text: text.replace("[benchtop]", '[benchtop]\nkind = "leica"'), "benchtop.kind"),
    "odd Bayer frame": (lambda text: text.replace("bayer_rows = 320", "bayer_rows = 321"), "twin.phone.bayer_rows"),
    "wrong type": (lambda text: text.replace("seed = 3", 'seed = "three"'), "twin.seed"),
    "unknown specimen": (lambda text: text.replace('"blood"', '"bone"', 1), "twin.slides.first.specimen"),
    "table that is none": (lambda _: "twin = 3\n", "twin"),
}


@pytest.mark.parametrize("case", INSTRUMENTS)
def test_an_instrument_file_with_a_mistake_names_it(bench, refused, tmp_path, case):
    change, words = INSTRUMENTS[case]
    config = tmp_path / "scope.toml"
    config.write_text(change(INSTRUMENT))
    line = refused(*CONFIG_ARGUMENTS["config"](bench, config))
    assert str(config) in line
    assert words in line


OTHER_CASES: dict[str, tuple[Callable[[Bench], list[object]], str]] = {
    "stitch an unknown slide": (
        lambda b: ["stitch", b["session.h5"], "--slide", "fourth"], "its slides are first, second, third"
    ),
    "train with an unknown preset": (
        lambda b: ["train", b["session.h5"], "--out", b.out / "m.pt", "--preset", "slow"], "choose one of r18, r17"
    ),
    "train into a folder": (lambda b: ["train", b["session.h5"], "--out", b["folder.pt"]], "is a folder"),
    "train below a file": (
        lambda b: ["train", b["session.h5"], "--out", b["plan.toml"] / "m.pt"], "can't be made"
    ),
    "train over a run of other settings": (
        lambda b: ["train", b["session.h5"], "--out", b["model.pt"], "--steps", 3], "to start anew"
    ),
    "train over the session": (lambda b: ["train", b["session.h5"], "--out", b["session.h5"]], "no name for a model"),
    "train on a session twice": (
        lambda b: ["train", b["session.h5"], b["session.h5"], "--out", b.out / "m.pt"], "give each session once"
    ),
    "train with a missing teacher": (
        lambda b: ["train", b["session.h5"], "--out", b.out / "m.pt", "--distil", b["none.pt"]],
        "there is no model file",
    ),
    "train over the teacher": (
        lambda b: ["train", b["session.h5"], "--out", b["model.pt"], "--distil", b["model.pt"]], "another --out"
    ),
    "train without pairs": (
        lambda b: ["train", b["bare"] / "session.h5", "--out", b.out / "m.pt"], "register the session first"
    ),
    "evaluate without pairs": (
        lambda b: ["evaluate", b["model.pt"], b["bare"] / "session.h5", "--report", b.out / "r.html"],
        "register the session first",
    ),
    "evaluate into a folder": (
        lambda b: ["evaluate", b["model.pt"], b["session.h5"], "--report", b["nothing"]], "is a folder"
    ),
    "evaluate over the session": (
        lambda b: ["evaluate", b["model.pt"], b["session.h5"], "--report", b["session.h5"]], "no name for a report"
    ),
    "evaluate over a training log": (
        lambda b: ["evaluate", b["model.pt"], b["session.h5"], "--report", b["model.html"]], "model.csv"
    ),
    "evaluate below a file": (
        lambda b: ["evaluate", b["model.pt"], b["session.h5"], "--report", b["plan.toml"] / "r.html"], "can't be made"
    ),
    "register without mosaics": (lambda b: ["register", b["bare"] / "session.h5"], "stitch the session first"),
    "export without mosaics": (
        lambda b: ["export", b["bare"] / "session.h5", "--out", b.out / "export"], "stitch the session first"
    ),
    "export without pairs": (
        lambda b: ["export", b["bare"] / "session.h5", "--kind", "png", "--out", b.out / "export"],
        "register the session first",
    ),
    "export an unknown kind": (
        lambda b: ["export", b["session.h5"], "--kind", "bmp", "--out", b.out / "export"], "choose ome-tiff or png"
    ),
    "export onto a file": (lambda b: ["export", b["session.h5"], "--out", b["plan.toml"]], "can't be made"),
    "enhance with an unknown precision": (
        lambda b: ["enhance", b["model.pt"], b["picture.png"], b.out / "o.png", "--precision", "fp8"], "fp32, bf16"
    ),
    "enhance into an unknown format": (
        lambda b: ["enhance", b["model.pt"], b["picture.png"], b.out / "o.xyz"], "use one of .png"
    ),
    "enhance below a file": (
        lambda b: ["enhance", b["model.pt"], b["picture.png"], b["plan.toml"] / "o.png"], "can't be made"
    ),
    "enhance a folder onto a file": (
        lambda b: ["enhance", b["model.pt"], b["pictures"], b["plan.toml"]], "can't be made"
    ),
    "enhance a session into one picture": (
        lambda b: ["enhance", b["model.pt"], b["session.h5"], b.out / "o.png"], "give a folder for the results"
    ),
    "enhance a folder into one picture": (
        lambda b: ["enhance", b["model.pt"], b["pictures"], b.out / "o.tif"], "give a folder for the results"
    ),
    "enhance an empty folder": (
        lambda b: ["enhance", b["model.pt"], b["nothing"], b.out / "o"], "holds no pictures"
    ),
    "enhance a picture onto itself": (
        lambda b: ["enhance", b["model.pt"], b["picture.png"], b["picture.png"]], "is the input itself"
    ),
    "enhance a folder into itself": (
        lambda b: ["enhance", b["model.pt"], b["pictures"], b["pictures"]], "is the input folder itself"
    ),
    "enhance two pictures of one name": (
        lambda b: ["enhance", b["model.pt"], b["twins"], b.out / "o"], "several pictures named a"
    ),
    "enhance with an unknown engine": (
        lambda b: ["enhance", b["model.pt"], b["picture.png"], b.out / "o.png", "--engine", "abacus"], "torch"
    ),
    "enhance int8 by a picture too small": (
        lambda b: ["enhance", b["model.pt"], b["tiny.png"], b.out / "o.png", "--precision", "int8"], "int8"
    ),
    "enhance pixels of another size": (
        lambda b: ["enhance", b["model.pt"], b["picture.png"], b.out / "o.png", "--pixel-size-um", 0.1], "0.925 µm"
    ),
    "export a model as pictures": (
        lambda b: ["export", b["model.pt"], "--kind", "png", "--out", b.out / "m.onnx"], "choose onnx"
    ),
    "export a model into another ending": (
        lambda b: ["export", b["model.pt"], "--out", b.out / "m.pb"], "ends in .onnx"
    ),
    "scan into a session of another plan": (
        lambda b: ["--config", b["instrument.toml"], "scan", b["two-slides.toml"], "--session", b["session.h5"]],
        "was begun differently",
    ),
    "demo with two pictures": (
        lambda b: ["demo", "--specimen", b["picture.png"], b["picture.png"], "--pixel-size-um", 0.5,
                   "--out", b.out / "demo"],
        "2 images are too few",
    ),
    "demo with a picture too small": (
        lambda b: ["demo", "--specimen", b["tiny.png"], "--pixel-size-um", 0.5, "--out", b.out / "demo"],
        "at least 64 pixels",
    ),
    "demo with a picture too small to cut in three": (
        lambda b: ["demo", "--specimen", b["picture.png"], "--pixel-size-um", 0.5, "--out", b.out / "demo"],
        "too small for three parts",
    ),
    "demo without a pixel size": (
        lambda b: ["demo", "--specimen", b["picture.png"], "--out", b.out / "demo"], "does not say its pixel size"
    ),
    "demo with a stain and a picture": (
        lambda b: ["demo", "--specimen", "blood", b["picture.png"], "--out", b.out / "demo"], "stands alone"
    ),
    "demo over another demo": (lambda b: ["demo", "--out", b["demo"]], "other settings"),
    "demo onto a file": (lambda b: ["demo", "--out", b["plan.toml"]], "can't be made"),
}


@pytest.mark.parametrize("case", OTHER_CASES)
def test_what_can_not_be_done_is_refused(bench, refused, case):
    arguments, words = OTHER_CASES[case]
    assert words in refused(*arguments(bench))


@pytest.mark.parametrize("name", ["empty", "truncated", "text"])
def test_inspect_finds_damage_in_the_files_beside_a_session(bench, tmp_path, monkeypatch, capsys, name):
    for path in (bench["session.h5"], bench["session.mosaic-first.h5"]):
        shutil.copy(path, tmp_path)
    shutil.copy(bench[f"{name}.h5"], tmp_path / "session.pairs.h5")
    monkeypatch.setattr(sys, "argv", ["mobilescope", "inspect", str(tmp_path / "session.h5"), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert str(tmp_path / "session.pairs.h5") in problem


def test_the_console_script_ends_in_the_same_way(bench):
    run = mobilescope("inspect", bench["png.h5"], folder=bench.out)
    assert (run.status, run.output) == (2, "")
    known = "give a session, pair file or dataset (.h5), a model (.pt) or a picture"
    assert run.errors == f"error: {bench['png.h5']} is not an HDF5 file; {known}\n"
    assert mobilescope("train", "--steps", "none", folder=bench.out).status == 2
