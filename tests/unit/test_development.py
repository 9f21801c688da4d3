"""A session's captures are developed alike, without the sensor's defects and in even light; what is stored stays."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mobilescope.acquire.phone_light import take_light_frames
from mobilescope.app.instruments.light_calibrating import found_in
from mobilescope.app.pairs.asked_development import asked_development
from mobilescope.app.pictures.developing import develop_capture
from mobilescope.app.pictures.development import recipe_of
from mobilescope.app.pictures.light_keeping import keep_light
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import ConfigError, DeviceError, InputFileError, InputImageError, UserError
from mobilescope.data.phone_light import PhoneLight, read_phone_light, write_phone_light
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.colour import srgb_decode, to_float

SHAPE = (192, 256)
HOT = ((10, 20), (11, 21), (90, 131), (191, 255))
DEAD = ((50, 60), (51, 60), (120, 7))


class WornPhone:
    """The twin's phone with pixels that are broken."""

    def __init__(self, phone):
        self._phone = phone

    def __getattr__(self, name):
        return getattr(self._phone, name)

    def capture(self, x_um, y_um):
        sound = self._phone.capture(x_um, y_um)
        bayer = sound.bayer.copy()
        bayer[tuple(zip(*DEAD, strict=True))] = sound.black_level
        hot = tuple(zip(*HOT, strict=True))
        bayer[hot] = np.minimum(bayer[hot].astype(int) + 300, sound.white_level)
        return replace(sound, bayer=bayer)


@pytest.fixture(scope="module")
def twin(make_twin):
    rows, columns = SHAPE
    return make_twin({"slide": "blood"}, phone={"bayer_rows": rows, "bayer_columns": columns, "colour_drift": 0.0})


@pytest.fixture(scope="module")
def light(twin):
    taken = take_light_frames(WornPhone(twin.phone), "blank", frames=6)
    return PhoneLight.of(taken.dark, taken.clear, taken.last, 6)


@pytest.fixture(scope="module")
def captures(twin):
    """Two captures of the worn phone; its own gains differ."""
    twin.phone.mount("slide")
    twin.phone.illuminator.set_colour(255, 255, 255)
    phone = WornPhone(twin.phone)
    first, second = (phone.capture(x_um, 0.0) for x_um in (0.0, 120.0))
    twin.phone.illuminator.off()
    return [first, replace(second, white_balance=(1.5, 0.8, 1.0))]


@pytest.fixture
def make_session(tmp_path, captures):
    """Write a session of the captures, changed as asked, with a calibration's frames or none."""

    def make(calibration=None, change=lambda capture: capture, **development):
        path = tmp_path / "run.h5"
        settings = DevelopmentConfig(**development).model_dump(mode="json")
        header = SessionHeader(
            slides=(SlideEntry(name="slide", role="training"),), benchtop_shape=(64, 64), phone_shape=SHAPE,
            instrument={"instrument": {"name": "a twin", "development": settings}},
        )
        with SessionWriter.create_or_resume(path, header, margin_bytes=0) as writer:
            keep_light(writer, calibration)
            for index, capture in enumerate(captures):
                writer.add_phone_capture("slide", index, 0, index, change(capture))
        return path

    return make


@pytest.fixture
def calibration(tmp_path, light):
    write_phone_light(tmp_path / "light.h5", light)
    return tmp_path / "light.h5"


def developed(path, index=0, **changes):
    """Return a capture in linear light, and the recipe, with the session's own settings changed."""
    with Session.open(path) as session:
        settings = DevelopmentConfig(**changes) if changes else None
        picture = develop_capture(session, session.captures("slide")[index], settings)
        recipe = recipe_of(session, settings or DevelopmentConfig())
    return srgb_decode(to_float(picture)), recipe


def test_the_calibration_finds_the_defects_and_nothing_else(light):
    found = found_in(light)
    assert (found.hot_pixels, found.dead_pixels) == (len(HOT), len(DEAD))
    assert found.corner == pytest.approx(1 - 0.22, abs=0.03)  # the twin's vignetting
    # Clear glass through the twin's exposure of each channel.
    assert found.gains == pytest.approx((0.48 / 0.54, 1, 0.48 / 0.26), rel=0.02)


def test_defects_are_replaced_before_anything_is_compared(make_session, calibration):
    path = make_session(calibration)
    corrected, recipe = developed(path, flat_field=False)
    raw, _ = developed(path, flat_field=False, defects=False)
    assert {tuple(map(int, place)) for place in recipe.defects} == {*HOT, *DEAD}
    broken = [(row // 2, column // 2) for row, column in (*HOT, *DEAD)]
    smooth = cv2.medianBlur(corrected, 3)
    for place in broken:
        assert np.abs(corrected[place] - smooth[place]).max() < 0.1
    assert max(np.abs(raw[place] - smooth[place]).max() for place in broken) > 0.25
    untouched = np.ones(corrected.shape[:2], bool)
    untouched[tuple(zip(*broken, strict=True))] = False
    np.testing.assert_array_equal(corrected[untouched], raw[untouched])


def test_the_field_is_evened_out(make_session, calibration):
    path = make_session(calibration)
    even, recipe = developed(path)
    raw, _ = developed(path, flat_field=False)
    gain = even / np.maximum(raw, 1e-3)
    assert recipe.provenance["flat_field"] is True
    assert np.median(gain[:8, :8]) == pytest.approx(1.24, abs=0.05)
    assert np.median(gain[40:56, 56:72]) == pytest.approx(1, abs=0.02)


def test_without_a_calibration_nothing_is_done(make_session):
    path = make_session()
    picture, recipe = developed(path)
    assert recipe.shading is None
    assert len(recipe.defects) == 0
    assert recipe.provenance["light"] == {}
    np.testing.assert_array_equal(picture, developed(path, defects=False, flat_field=False)[0])


def test_a_calibration_also_serves_a_session_that_has_none(make_session, calibration):
    path = make_session()
    with Session.open(path) as session:
        before = session.digest()
    picture, recipe = developed(path, calibration=calibration)
    assert recipe.provenance["light"]["file"] == "light.h5"
    with Session.open(path) as session:
        assert session.digest() == before
        assert session.flat_field("phone") is None
    path.unlink()
    np.testing.assert_array_equal(picture, developed(make_session(calibration))[0])


def test_a_calibration_that_was_taken_again_is_the_one_that_holds(make_session, calibration, twin):
    path = make_session()
    assert len(developed(path, calibration=calibration)[1].defects) == len(HOT) + len(DEAD)
    taken = take_light_frames(twin.phone, "blank", frames=6)  # with a sound sensor
    write_phone_light(calibration, PhoneLight.of(taken.dark, taken.clear, taken.last, 6))
    assert len(developed(path, calibration=calibration)[1].defects) == 0
    calibration.unlink()
    with pytest.raises(InputFileError, match=r"light\.h5"):
        developed(path, calibration=calibration)


def test_the_white_balance_is_one_for_the_session_and_another_needs_no_new_capture(make_session):
    path = make_session()
    first, recipe = developed(path)
    second, _ = developed(path, 1)
    assert recipe.gains == (1.10, 0.80, 1.35)
    numbers, _ = developed(path, 1, white_balance=(1.10, 0.80, 1.35))
    np.testing.assert_array_equal(second, numbers)
    other, _ = developed(path, white_balance=(0.55, 0.80, 1.35))
    dim = (first.max(axis=-1) < 0.9) & (first.min(axis=-1) > 0.05)
    assert np.median(other[dim] / first[dim], axis=0) == pytest.approx((0.5, 1, 1), abs=0.01)


def test_the_reference_makes_clear_glass_neutral(make_session, calibration, light):
    recipe = developed(make_session(calibration), white_balance="reference")[1]
    assert recipe.gains == pytest.approx(found_in(light).gains)


def test_a_preset_takes_the_phones_own_gains(make_session):
    # The twin's phone is set to cloudy, and a DNG tells daylight by its matrices.
    path = make_session(
        change=lambda capture: replace(capture, settings=capture.settings | {"gains_daylight": "2.5,1,1.25"})
    )
    assert developed(path, white_balance="cloudy")[1].gains == (1.10, 0.80, 1.35)
    assert developed(path, white_balance="daylight")[1].gains == (2.5, 1, 1.25)


def jpeg_alone(capture):
    ok, data = cv2.imencode(".jpg", np.full((*SHAPE, 3), 100, np.uint8))
    assert ok
    return replace(capture, bayer=None, cfa="", black_level=0, white_level=255, jpeg=bytes(data.tobytes()))


def test_a_jpeg_before_the_raw_captures_does_not_decide_how_they_are_developed(make_session, calibration, captures):
    first, second = captures
    path = make_session(
        calibration, change=lambda capture: jpeg_alone(capture) if capture is first else capture
    )
    mixed, recipe = developed(path, 1)
    grey, _ = developed(path, 0)
    assert recipe.gains == second.white_balance
    assert (len(recipe.defects), recipe.provenance["flat_field"]) == (len(HOT) + len(DEAD), True)
    np.testing.assert_allclose(grey, float(srgb_decode(np.array(100 / 255))), rtol=0.01)
    path.unlink()
    np.testing.assert_array_equal(mixed, developed(make_session(calibration, change=lambda _: second))[0])


def test_a_phone_without_raw_pictures_has_its_own_white_balance(make_session):
    path = make_session(change=jpeg_alone)
    grey = float(srgb_decode(np.array(100 / 255)))
    np.testing.assert_allclose(developed(path)[0], grey, rtol=0.01)
    changed = developed(path, white_balance=(2, 1, 0.5))[0]
    np.testing.assert_allclose(changed[0, 0], [2 * grey, grey, grey / 2], rtol=0.01)
    with pytest.raises(UserError, match="no raw pictures"):
        developed(path, white_balance="daylight")


@pytest.mark.parametrize(("wanted", "said"), [("daylight", "does not tell its gains"), ("reference", "no clear field")])
def test_a_white_balance_that_is_not_known_is_refused(make_session, wanted, said):
    with pytest.raises(UserError, match=said):
        developed(make_session(), white_balance=wanted)


def test_settings_come_from_the_command_the_instrument_file_or_the_session(make_session, tmp_path):
    path = make_session(white_balance=(2, 1, 1.5), crops="square")
    assert asked_development(path, None, None, None).white_balance == (2, 1, 1.5)
    assert asked_development(path, None, "1.5,1,2", None).white_balance == (1.5, 1, 2)
    instrument = tmp_path / "scope.toml"
    instrument.write_text('[development]\nwhite_balance = "cloudy"\ncalibration = "light.h5"\n')
    told = asked_development(path, instrument, None, "r18")
    assert (told.white_balance, told.crops, told.calibration) == ("cloudy", "r18", tmp_path / "light.h5")
    for written in ("golden", "1,2", "1,x,2"):
        with pytest.raises(UserError, match="no white balance"):
            asked_development(path, None, written, None)
    with pytest.raises(ConfigError, match="white_balance"):
        asked_development(path, None, "0,1,1", None)


def test_a_sensor_that_looks_broken_all_over_is_refused(make_session, light, tmp_path):
    dark = light.dark.copy()
    dark[::4, ::4] += 500
    write_phone_light(tmp_path / "light.h5", replace(light, dark=dark))
    with pytest.raises(InputImageError, match="look defective"):
        developed(make_session(tmp_path / "light.h5"))


def test_a_calibration_of_another_phone_is_refused(make_session, light, tmp_path):
    path = make_session()
    write_phone_light(tmp_path / "light.h5", replace(light, cfa="BGGR"))
    with pytest.raises(InputFileError, match="another camera"):
        developed(path, calibration=tmp_path / "light.h5")
    small = replace(light, dark=light.dark[:64], clear=light.clear[:64])
    write_phone_light(tmp_path / "light.h5", small)
    path.unlink()
    with pytest.raises(InputFileError, match="with frames of"):
        make_session(tmp_path / "light.h5")


@pytest.mark.parametrize("spoil", [
    lambda path: path.unlink(), lambda path: path.write_bytes(b"nothing"),
    lambda path: path.write_bytes(path.read_bytes()[:-40_000]),
], ids=["missing", "foreign", "truncated"])
def test_a_calibration_that_can_not_be_read_is_named(make_session, calibration, spoil):
    path = make_session()
    spoil(calibration)
    with pytest.raises(InputFileError, match=r"light\.h5"):
        developed(path, calibration=calibration)


def test_a_calibration_comes_back_as_it_was_written(calibration, light):
    read = read_phone_light(calibration)
    np.testing.assert_array_equal(read.dark, light.dark)
    np.testing.assert_array_equal(read.clear, light.clear)
    assert read.facts == light.facts


def test_light_in_the_dark_frames_ends_the_calibration(twin, monkeypatch):
    taken = twin.phone.capture
    monkeypatch.setattr(
        twin.phone, "capture", lambda *at: replace(one := taken(*at), bayer=one.bayer + np.uint16(50))
    )
    with pytest.raises(DeviceError, match="not dark"):
        take_light_frames(twin.phone, "blank", frames=2)
    assert not twin.phone.illuminator.state().on
