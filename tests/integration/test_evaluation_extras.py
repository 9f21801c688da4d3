"""What can be asked for beyond the scores, through the real command on a small job."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
import torch
from integration.small_job import mobilescope

EXTRAS = ("--jpeg", "--usaf", "--focus-stack")


@pytest.fixture(scope="module")
def extras(small_job, tmp_path_factory):
    """An evaluation with everything, of a model that also stands for another stain's."""
    folder = tmp_path_factory.mktemp("extras")
    content = torch.load(small_job.model, weights_only=True)
    card = json.loads(content["card"]) | {"stain": "another"}
    torch.save(content | {"card": json.dumps(card)}, folder / "other.pt")
    run = mobilescope(
        "evaluate", small_job.model, small_job.session, "--report", "all.html", "--json", *EXTRAS,
        "--model", "other.pt", folder=folder,
    )
    assert run.status == 0, run.errors
    return folder, run


def test_jpeg_sizes_shrink_and_cost(extras):
    _, run = extras
    rows = run.json()["jpeg"]
    assert [row["wanted_ratio"] for row in rows] == [1, 5, 10, 21, 40]
    assert [row["ratio"]["mean"] for row in rows] == pytest.approx([1, 5, 10, 21, 40], rel=0.15)
    assert rows[0]["ssim_bicubic"] == run.json()["bicubic"]["ssim"]
    assert rows[-1]["ssim_bicubic"]["mean"] < rows[0]["ssim_bicubic"]["mean"]


def test_the_target_is_resolved_best_by_the_benchtop(extras):
    _, run = extras
    target = run.json()["target"]
    widths = [element["bar_width_um"] for element in target["elements"]]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == pytest.approx(0.548, abs=0.001)
    by_group = {(element["group"], element["element"]): element["contrast"] for element in target["elements"]}
    # The twin's phone keeps a tenth at 0.87 µm by its optics; its pixels of 0.925 µm can't show bars that fine.
    assert 0.9 < target["finest_um"]["phone"] < 1.3
    assert target["finer_than_target"]["benchtop"]
    assert by_group[8, 1]["benchtop"] > by_group[8, 1]["phone"] > 0.4
    assert by_group[9, 6]["phone"] < 0.1 < by_group[9, 6]["benchtop"]


def test_the_phone_is_sharpest_in_focus(extras):
    _, run = extras
    stack = run.json()["focus_stack"]
    middle = stack["defocus_um"].index(0)
    for method in ("bicubic", "colour"):
        curve = stack["methods"][method]["ssim"]
        assert curve[middle] == max(curve)
        assert 4 < stack["methods"][method]["depth_um"] < 30
    assert stack["reference"] == "colour"


def test_the_matrix_has_every_model_on_every_session(extras, small_job):
    _, run = extras
    told = run.json()
    assert [(cell["model_stain"], cell["trained_on"]) for cell in told["cross"]] == [("unknown", []), ("another", [])]
    # The same weights under another name score the same.
    for cell in told["cross"]:
        assert cell["network"]["ssim"] == told["network"]["ssim"]
    assert str(small_job.session) == told["cross"][0]["session"]


def test_everything_stands_in_the_report_and_beside_it(extras):
    folder, run = extras
    page = (folder / "all.html").read_text(encoding="utf-8")
    for heading in ("Other stains", "JPEG input", "Resolution", "Depth of field"):
        assert f"<h2>{heading}</h2>" in page
    told = run.json()
    counts = {
        "all.csv": told["fields"] * len(told["methods"]), "all-jpeg.csv": told["fields"] * 5,
        "all-stains.csv": told["fields"] * 2 * 2, "all-target.csv": len(told["target"]["elements"]),
    }
    for name, count in counts.items():
        with (folder / name).open(newline="", encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == count
    for title in ("Cross-stain matrix", "USAF 1951 target", "Depth of field", "JPEG input"):
        assert title in run.errors


def test_the_matrix_refuses_a_model_that_saw_a_blind_slide_before_any_work(small_job, tmp_path):
    content = torch.load(small_job.model, weights_only=True)
    card = json.loads(content["card"])
    card["training"].setdefault("slides", {})["training"] = ["third"]
    for source in card["training"].get("sources", []):
        source["slides"]["training"] = ["third"]
    torch.save(content | {"card": json.dumps(card)}, tmp_path / "peeked.pt")
    refused = mobilescope(
        "evaluate", small_job.model, small_job.session, "--model", "peeked.pt", "--report", "r.html", folder=tmp_path
    )
    assert refused.status == 2
    assert f"error: peeked.pt was trained on third of {small_job.session}" in refused.errors
    assert "evaluate:" not in refused.errors
    assert not (tmp_path / "r.html").exists()


def test_raw_pictures_of_jpeg_pairs_went_through_jpeg_too(small_job, tmp_path):
    for path in small_job.folder.glob("session*.h5"):
        (tmp_path / path.name).symlink_to(path)
    registered = mobilescope("register", "session.h5", "--jpeg-ratio", 21, "--json", folder=tmp_path).json()
    run = mobilescope("evaluate", small_job.model, registered["pairs"], "--report", "r.html", "--json", folder=tmp_path)
    told, full = run.json(), small_job.runs["evaluate"].json()
    assert told["methods"] == full["methods"]
    for method in ("raw", "bicubic"):
        assert told[method]["ssim"]["mean"] < full[method]["ssim"]["mean"]
    assert "JPEG, 21× smaller" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_pair_file_alone_is_enough_for_scores(small_job, tmp_path):
    shutil.copy(small_job.folder / "session.pairs.h5", tmp_path / "moved.h5")
    run = mobilescope("evaluate", small_job.model, "moved.h5", "--report", "r.html", "--json", folder=tmp_path)
    told, full = run.json(), small_job.runs["evaluate"].json()
    assert told["methods"] == ["bicubic", "colour", "rl", "network"]
    assert {name: told[name] for name in told["methods"]} == {name: full[name] for name in told["methods"]}
    for option, cause in (("--focus-stack", "is not beside it"), ("--usaf", "no instrument to measure with")):
        refused = mobilescope("evaluate", small_job.model, "moved.h5", option, folder=tmp_path)
        assert refused.status == 2
        assert cause in refused.errors
        assert len([line for line in refused.errors.splitlines() if line.startswith("error:")]) == 1
