"""What can't be done as asked is refused before anything is written, whatever the command."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from bad_input_bench import Bench
from integration.small_job import mobilescope

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


def test_the_console_script_ends_in_the_same_way(bench):
    run = mobilescope("inspect", bench["png.h5"], folder=bench.out)
    assert (run.status, run.output) == (2, "")
    known = "give a session, mosaic, pair file or dataset (.h5), a model (.pt) or a picture"
    assert run.errors == f"error: {bench['png.h5']} is not an HDF5 file; {known}\n"
    assert mobilescope("train", "--steps", "none", folder=bench.out).status == 2
