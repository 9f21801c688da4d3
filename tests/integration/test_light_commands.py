"""`calibrate light` and captures in several lights as a user meets them: the ring's firmware runs in a simulator."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from mobilescope.app.cli import app
from mobilescope.app.pairs.asked_development import asked_development
from mobilescope.app.pairs.pairing import plan_pairing, registered_pairs
from mobilescope.core.errors import InputFileError
from mobilescope.data.layout import pairs_path
from mobilescope.data.mosaics import MosaicWriter
from mobilescope.data.phone_light import read_phone_light
from mobilescope.data.session import Session
from mobilescope.data.variants import PairVariant
from mobilescope.imaging.quality import GateThresholds

INSTRUMENT = """\
[development]
calibration = "light.h5"
white_balance = "reference"

[twin.phone]
bayer_rows = 192
bayer_columns = 256

[twin.slides.smear]
specimen = "blood"
"""
PLAN = """\
[[slides]]
name = "smear"
role = "training"
scan = { rows = 1, columns = 1 }

[slides.capture]
rows = 1
columns = 2
overlap = -0.1
lights = [
  "red", { name = "led", pattern = "single", positions = [0, 7] }, { name = "dark", pattern = "dark", every = 2 },
]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("light")
    (folder / "scope.toml").write_text(INSTRUMENT)
    (folder / "plan.toml").write_text(PLAN)
    return folder


def run(folder, *arguments):
    return CliRunner().invoke(app, ["--config", str(folder / "scope.toml"), *map(str, arguments)])


@pytest.fixture(scope="module")
def calibrated(folder):
    done = run(folder, "calibrate", "light", "--frames", "3", "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def session(folder, calibrated):
    done = run(folder, "capture", folder / "plan.toml", "--session", folder / "s.h5", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["slides"]["smear"]["captures"] == 2
    return folder / "s.h5"


def test_darkness_and_clear_glass_are_pictured_and_told(folder, calibrated):
    assert calibrated["calibration"] == str(folder / "light.h5")
    assert (calibrated["hot_pixels"], calibrated["dead_pixels"], calibrated["frames"]) == (0, 0, 3)
    assert (calibrated["pattern"], calibrated["firmware"]) == ("bright-field", "1.0.0")
    assert calibrated["reference_gains"][2] > 1.3
    light = read_phone_light(folder / "light.h5")
    assert light.dark.mean() == pytest.approx(64, abs=2)
    assert light.clear.mean() > 200
    assert light.light.on


def test_each_capture_records_the_light_that_the_ring_acknowledged(session):
    with Session.open(session) as opened:
        found = {(each.index, each.channel): each for each in opened.captures("smear", channel=None)}
        level = {key: float(np.mean(opened.bayer(each))) - 64 for key, each in found.items()}
    assert set(found) == {
        (0, ""), (0, "red"), (0, "led-0"), (0, "led-7"), (0, "dark"), (1, ""), (1, "red"), (1, "led-0"), (1, "led-7"),
    }
    patterns = {channel: found[0, channel].light.pattern for channel in ("", "red", "led-0", "led-7", "dark")}
    assert patterns == {
        "": "bright-field", "red": "bright-field", "led-0": "single 0", "led-7": "single 7", "dark": "dark",
    }
    assert {each.light.firmware for each in found.values()} == {"1.0.0"}
    red = found[1, "red"].light
    assert (red.on, red.red, red.green, red.blue, red.brightness) == (True, 255, 0, 0, 1.0)
    assert level[0, "led-7"] == pytest.approx(level[0, ""] / 12, rel=0.3)
    assert abs(level[0, "dark"]) < 2


def test_the_session_keeps_the_calibrations_frames(folder, session):
    light = read_phone_light(folder / "light.h5")
    with Session.open(session) as opened:
        np.testing.assert_array_equal(opened.flat_field("phone"), light.clear)
        np.testing.assert_array_equal(opened.flat_field("phone", "dark"), light.dark)
        assert set(opened.flat_field_channels("phone")) == {"", "dark"}


def test_the_same_command_takes_nothing_again(folder, session):
    with Session.open(session) as opened:
        before = opened.digest()
    again = run(folder, "capture", folder / "plan.toml", "--session", session)
    assert again.exit_code == 0
    with Session.open(session) as opened:
        assert opened.digest() == before
        assert len(opened.flat_field_channels("phone")) == 2


def test_a_pixel_that_the_ring_has_not_is_told_and_leaves_no_session_that_bars_the_mended_plan(folder, calibrated):
    plan = folder / "long.toml"
    plan.write_text(PLAN.replace("[0, 7]", "[0, 40]"))
    done = run(folder, "capture", plan, "--session", folder / "long.h5")
    assert done.exit_code == 2
    assert "no position 40 on a ring of 12 pixels; positions are 0 to 11" in done.stderr
    assert not (folder / "long.h5").exists()


def test_lights_added_to_the_plan_later_are_taken_into_the_session(folder, session, tmp_path):
    begun = tmp_path / "more.h5"
    shutil.copy(session, begun)
    (folder / "more.toml").write_text(PLAN.replace('"red",', '"green", "red",'))
    done = run(folder, "capture", folder / "more.toml", "--session", begun)
    assert done.exit_code == 0, done.stderr
    with Session.open(begun) as opened:
        taken = [(each.index, each.channel) for each in opened.captures("smear", channel=None)]
    assert taken[-2:] == [(0, "green"), (1, "green")]
    assert len(taken) == 9 + 2


def test_pairs_of_another_white_balance_than_the_sessions_own_stand_in_a_file_of_their_own(session):
    with MosaicWriter(session, "smear", (64, 64), 0.37, (0, 0), {}, []) as mosaic:
        mosaic.write_band(np.zeros((64, 64, 3), np.uint8), np.ones((64, 64), bool))

    def names(development):
        plan = plan_pairing(session, PairVariant("benchtop", development=development), GateThresholds(), search=False)
        return pairs_path(session, plan.variant).name.removeprefix(session.stem)

    assert names(None) == names(asked_development(session, None, "reference", None)) == ".pairs-benchtop.h5"
    assert names(asked_development(session, None, "camera", None)) == ".pairs-benchtop-camera.h5"
    assert names(asked_development(session, None, "2,1,1.5", "square")) == ".pairs-benchtop-square-wb2-1-1.5.h5"


@pytest.mark.usefixtures("calibrated")
def test_a_session_is_known_by_the_pairs_that_its_own_settings_make(folder, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "scope.toml").write_text(INSTRUMENT.replace("[development]", '[development]\ncrops = "square"'))
    shutil.copy(folder / "light.h5", tmp_path)
    session = tmp_path / "my.h5"
    done = run(tmp_path, "capture", tmp_path / "plan.toml", "--session", session)
    assert done.exit_code == 0, done.stderr
    (tmp_path / "my.pairs-cloudy.h5").touch()
    with pytest.raises(InputFileError, match=r"my\.pairs-square\.h5.*or give one of .*: my\.pairs-cloudy\.h5"):
        registered_pairs(session)
    (tmp_path / "my.pairs-square.h5").touch()
    assert registered_pairs(session) == tmp_path / "my.pairs-square.h5"
