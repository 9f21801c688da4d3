"""A phone that gives JPEGs alone, from the calibration of its light to the dataset's card, as a user runs it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mobilescope.app.cli import app
from mobilescope.app.pictures.enhance_jobs import open_jobs
from mobilescope.data.pairs import PairStore
from mobilescope.data.phone_light import read_phone_light
from mobilescope.data.session import Session
from mobilescope.learn.sources import Sources

INSTRUMENT = """\
[phone]
kind = "twin"
pictures = "{pictures}"

[development]
calibration = "light.h5"
white_balance = "reference"

[benchtop]
frame_rows = 512
frame_columns = 512

[twin.phone]
bayer_rows = 384
bayer_columns = 384
vignetting = 0.5

[twin.slides.smear]
specimen = "blood"
"""
PLAN = """\
[[slides]]
name = "smear"
role = "training"
scan = { rows = 2, columns = 2 }

[slides.capture]
rows = 1
columns = 1
overlap = 0
"""


def run(folder, *arguments, config="scope.toml"):
    return CliRunner().invoke(app, ["--config", str(folder / config), *map(str, arguments)])


def done(folder, *arguments):
    result = run(folder, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jpeg")
    (folder / "scope.toml").write_text(INSTRUMENT.format(pictures="jpeg"))
    (folder / "plan.toml").write_text(PLAN)
    return folder


@pytest.fixture(scope="module")
def calibrated(folder):
    return done(folder, "calibrate", "light", "--frames", "4")


@pytest.fixture(scope="module")
def pairs(folder, calibrated):
    """The pair file of a session that was scanned, captured, stitched and registered by commands."""
    session = folder / "s.h5"
    for command in (("scan", folder / "plan.toml", "--session", session),
                    ("capture", folder / "plan.toml", "--session", session), ("stitch", session)):
        done(folder, *command)
    assert done(folder, "register", session)["accepted"] == 1
    return folder / "s.pairs.h5"


def test_the_light_is_calibrated_by_jpegs(folder, calibrated):
    assert (calibrated["pictures"], calibrated["hot_pixels"], calibrated["dead_pixels"]) == ("jpeg", 0, 0)
    assert calibrated["corner"] == pytest.approx(0.5, abs=0.1)
    assert read_phone_light(folder / "light.h5").clear.shape == (192, 192, 3)


def test_the_pairs_say_that_they_are_of_jpegs_in_even_light(folder, pairs, calibrated):
    told = done(folder, "inspect", pairs)["provenance"]
    assert (told["input"], told["jpeg_ratio"]) == ("jpeg", None)
    assert told["development"]["flat_field"] is True
    assert set(told["development"]["light"]["session"]) == {"dark", "clear"}
    np.testing.assert_allclose(told["development"]["gains"], calibrated["reference_gains"], rtol=1e-4)
    with Session.open(folder / "s.h5") as session:
        assert session.flat_field("phone") is None
        assert session.captures("smear")[0].cfa == ""
        assert session.verify() == []


def test_a_datasets_card_and_a_models_sources_say_so_too(folder, pairs):
    card = done(folder, "dataset", folder / "s.h5", "--out", folder / "dataset.h5")["card"]
    assert (card["pairs"]["input"], card["members"][0]["input"]) == ("jpeg", "jpeg")
    for path in (pairs, folder / "dataset.h5"):
        (told,) = [text for source in Sources.open([path]).files for text in source.describe()]
        assert told["input"] == "jpeg"
    with PairStore.open(folder / "dataset.h5") as store:
        assert store.provenance["input"] == "jpeg"


def test_what_is_enhanced_is_named_by_the_digest_of_its_jpeg(folder, pairs):
    with Session.open(folder / "s.h5") as session:
        (capture,) = session.captures("smear")
    with open_jobs(folder / "s.h5", folder / "out") as (job,):
        assert (job.digest_of, job.digest()) == ("JPEG", capture.jpeg_sha256)


def test_the_light_of_jpegs_is_refused_for_a_phone_that_gives_raw_pictures(folder, calibrated):
    (folder / "raw.toml").write_text(INSTRUMENT.format(pictures="dng+jpeg"))
    refused = run(folder, "capture", folder / "plan.toml", "--session", folder / "raw.h5", config="raw.toml")
    assert refused.exit_code == 2
    assert "light.h5 was taken with JPEGs, and the phone's captures are raw pictures" in refused.stderr
    assert not (folder / "raw.h5").exists()


@pytest.mark.parametrize("command", ["capture", "pair"])
@pytest.mark.parametrize("light", [None, b"no HDF5"])
def test_a_light_that_can_not_be_read_leaves_no_session_behind(folder, tmp_path, command, light):
    (tmp_path / "scope.toml").write_text(INSTRUMENT.format(pictures="jpeg"))
    if light is not None:
        (tmp_path / "light.h5").write_bytes(light)
    refused = run(tmp_path, command, folder / "plan.toml", "--session", tmp_path / "new.h5", "--yes")
    assert refused.exit_code == 2
    assert "light.h5" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "new.h5").exists()
