"""What a session of pictures taken elsewhere is told of them: slide, positions, frame, plan, the phone's light."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from ingested import CONFIG, captures, ingest
from phone_files import SHAPE, jpeg_bytes, pair

from mobilescope.app.pictures.development import recipe_of
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import ConfigError, InputFileError, UserError
from mobilescope.core.protocols import LightState, PhoneCapture, PositionUm
from mobilescope.data.phone_light import PhoneLight, write_phone_light
from mobilescope.data.session import Session
from mobilescope.imaging.capture_files import jpeg_picture
from mobilescope.plans.job import JobPlan


def test_positions_are_those_of_the_table(folder):
    pair(folder, "a")
    jpeg_only = pair(folder, "b", seed=1, after_s=5)[1]
    pair(folder, "c", seed=2, after_s=9)
    table = folder.parent / "places.csv"
    table.write_text(f"file,x_um,y_um\na.dng,100,-50.5\n{jpeg_only.name},200,0\n")
    result = ingest(folder, positions=table)
    assert (result.added, result.unplaced) == (3, 1)
    places = [(record.position.x_um, record.position.y_um) for record in captures(folder)]
    assert places[:2] == [(100, -50.5), (200, 0)]
    assert math.isnan(places[2][0])


@pytest.mark.parametrize(("text", "said"), [
    ("file,x_um,y_um\nnone.dng,1,2\n", "names 1 files that are not in"),
    ("file,x_um,y_um\n../a.dng,1,2\n", "names 1 files that are not in"),
    ("file,x_um\na.dng,1\n", "it needs file, x_um, y_um"),
    ("file,x_um,y_um\na.dng,nan,2\n", "line 2"),
])
def test_a_table_that_is_not_right_leaves_no_session(text, said, folder):
    pair(folder, "a")
    (folder.parent / "a.dng").touch()
    table = folder.parent / "places.csv"
    table.write_text(text)
    with pytest.raises(InputFileError, match=said):
        ingest(folder, positions=table)
    assert not (folder.parent / "s.h5").exists()


@pytest.mark.parametrize(("options", "kind", "said"), [
    ({"slide": None}, UserError, "give --slide"), ({"pixel_um": None}, UserError, "give --pixel-um"),
])
def test_what_a_new_session_needs_is_asked_for(options, kind, said, folder):
    pair(folder, "a")
    with pytest.raises(kind, match=said):
        ingest(folder, **options)
    assert not (folder.parent / "s.h5").exists()


def test_the_slides_of_a_plan_are_those_of_the_session(folder):
    pair(folder, "a")
    plan = JobPlan.model_validate({"slides": [
        {"name": name, "role": role, "stain": "h&e", "scan": {"rows": 1, "columns": 1, "overlap": 0.1}}
        for name, role in (("one", "training"), ("two", "blind"))
    ]})
    with pytest.raises(UserError, match="one, two"):
        ingest(folder, slide=None, plan=plan)
    with pytest.raises(UserError, match=r"no slide 's'.*one, two"):
        ingest(folder, plan=plan)
    assert ingest(folder, slide="two", plan=plan).added == 1
    assert len(captures(folder, "two")) == 1
    with pytest.raises(UserError, match="has the role blind, not training"):
        ingest(folder, slide="two", role="training")


@pytest.mark.parametrize("name", ["lung 3", "", "-a", "a/b", "a" * 65])
def test_a_name_that_no_slide_can_have_is_refused_before_anything_is_written(folder, name):
    pair(folder, "a")
    with pytest.raises(UserError, match="is no name for a slide; letters, digits"):
        ingest(folder, slide=name)
    assert not (folder.parent / "s.h5").exists()


def test_a_real_benchtop_whose_frame_is_not_known_is_asked_for(folder):
    pair(folder, "a")
    config = InstrumentConfig.model_validate({"benchtop": {"kind": "micromanager", "backend": "java"}})
    with pytest.raises(ConfigError, match=r"scope\.toml: the frame of the benchtop"):
        ingest(folder, config=config)


def test_a_light_of_another_sensor_begins_no_session(folder):
    shot = PhoneCapture(
        None, b"", "RGGB", 64, 1023, 0.5, (1.0, 1.0, 1.0), PositionUm(0, 0, 0), 1.0, 4.0, 100,
        LightState(True, 255, 255, 255, 1.0, "ring"), "phone",
    )
    frame = np.full((16, 24), 500, np.float32)
    light = folder.parent / "light.h5"
    write_phone_light(light, PhoneLight.of(frame, frame, shot, 8))
    pair(folder, "IMG_1")
    config = CONFIG.model_copy(update={"development": DevelopmentConfig(calibration=light)})
    with pytest.raises(InputFileError, match=r"of a phone with frames of \(16, 24\)"):
        ingest(folder, config=config)
    assert not (folder.parent / "s.h5").exists()


def test_a_folder_of_jpegs_takes_a_light_of_jpegs_and_no_other(folder):
    (folder / "a.jpg").write_bytes(jpeg_bytes())
    lit = LightState(True, 255, 255, 255, 1.0, "ring")
    shot = jpeg_picture(jpeg_bytes(), "a.jpg").capture(
        PositionUm(0, 0, 0), pixel_um=0.5, time_s=1.0, light=lit, device="phone"
    )
    half = np.full((SHAPE[0] // 2, SHAPE[1] // 2, 3), 0.5, np.float32)
    light = folder.parent / "light.h5"
    config = CONFIG.model_copy(update={"development": DevelopmentConfig(calibration=light)})
    write_phone_light(light, PhoneLight.of(
        np.full(SHAPE, 64, np.float32), np.full(SHAPE, 500, np.float32), replace(shot, cfa="RGGB"), 8
    ))
    with pytest.raises(InputFileError, match="was taken with raw pictures, and the phone's captures are JPEGs"):
        ingest(folder, config=config)
    assert not (folder.parent / "s.h5").exists()
    write_phone_light(light, PhoneLight.of(0 * half, half, shot, 8))
    ingest(folder, config=config)
    with Session.open(folder.parent / "s.h5") as session:
        assert set(session.flat_field_channels("phone")) == {"clear, jpeg", "dark, jpeg"}
        assert recipe_of(session, DevelopmentConfig()).provenance["flat_field"] is True


def test_what_was_ingested_is_no_field_of_a_plan(folder):
    pair(folder, "IMG_1")
    ingest(folder)
    assert captures(folder)[0].row < -1
