"""`inspect` says what is in a file to people and programs, and finds what is not whole."""

from __future__ import annotations

import json

import h5py
import pytest
from damage import flip_in_chunk
from integration.small_job import STEPS, mobilescope

from mobilescope.data.schema import SCHEMA_VERSION


def test_a_session_is_shown_as_a_card(small_job):
    run = mobilescope("inspect", "session.h5", "--json", folder=small_job.folder)
    facts, shown = run.json(), run.errors.splitlines()
    assert (facts["state"], facts["schema_version"], facts["pairs"]) == ("closed", SCHEMA_VERSION, True)
    assert facts["problems"] == []
    assert f"format {SCHEMA_VERSION}" in run.errors
    for words in ("small twin", "benchtop 512×512 px, phone 320×320 px", "session.pairs.h5"):
        assert words in run.errors
    assert ["first", "training", "–", "9", "focused", "9", "4", "yes"] in [line.split() for line in shown]
    assert shown[-2:] == ["events: none", "problems: none"]


@pytest.mark.parametrize(("file", "told"), [
    ("session.pairs.h5", {"format": "mobilescope-pairs"}),
    ("session.mosaic-first.h5", {"format": "mobilescope-mosaic", "slide": "first", "pixel_size_um": 0.37, "tiles": 9}),
])
def test_people_and_programs_are_told_the_same(small_job, file, told):
    run = mobilescope("inspect", file, "--json", folder=small_job.folder)
    facts = run.json()
    assert facts["problems"] == []
    assert told.items() <= facts.items()
    for key, value in told.items():
        assert f"{key}: {value}" in run.errors.splitlines()
    assert "problems: none" in run.errors.splitlines()


@pytest.mark.parametrize(("file", "dataset", "told"), [
    ("session.pairs.h5", "pairs/000002/label", "pair 2 (slide first"),
    ("session.mosaic-second.h5", "levels/0/pixels", "level 0, rows 0 to 255"),
])
def test_a_changed_bit_in_what_was_made_of_a_session_is_found(copied_job, file, dataset, told):
    flip_in_chunk(copied_job / file, dataset)
    for inspected in (file, "session.h5"):
        run = mobilescope("inspect", inspected, "--json", folder=copied_job)
        assert run.status == 1
        (problem,) = json.loads(run.output)["problems"]
        assert problem.startswith(told)
        assert file in problem
        assert "damaged: " + json.loads(run.output)["remedy"] in run.errors
        assert "session again" in run.errors


def test_a_model_is_shown_as_a_card(small_job):
    run = mobilescope("inspect", "model.pt", "--json", folder=small_job.folder)
    facts = run.json()
    assert (facts["kind"], facts["instrument"], facts["problems"]) == ("mobilescope-enhancement", "small twin", [])
    assert facts["parameters"] == 229_197
    for words in (
        "model card of model.pt", "229,197 parameters (R18's)", "0.925 µm in, 0.37 µm out", "small twin",
        "not for diagnosis", "training slides", "first", "validation slides", "second", f"{STEPS} steps", "ssim",
    ):
        assert words in run.errors
    assert "third" not in run.errors.replace("third-party", "")


def test_without_json_standard_output_is_empty(small_job):
    run = mobilescope("inspect", "model.pt", folder=small_job.folder)
    assert (run.status, run.output) == (0, "")


def test_an_image_that_can_no_longer_be_named_is_not_passed_over_in_silence(copied_job):
    session = copied_job / "session.h5"
    with h5py.File(session, "r+", libver=("v110", "v110")) as file:
        for table in ("benchtop/rows", "phone/rows"):
            row = file[table][5]
            row["y_um"] += 1
            file[table][5] = row
    told = "session.h5 is damaged: 1 of {} {} are left out"
    assert told.format(27, "tiles") in mobilescope("stitch", "session.h5", folder=copied_job).errors
    assert told.format(12, "captures") in mobilescope("register", "session.h5", folder=copied_job).errors
    enhanced = mobilescope("enhance", "model.pt", "session.h5", "out", folder=copied_job)
    assert told.format(12, "captures") in enhanced.errors
    assert len(list((copied_job / "out").iterdir())) == 11
