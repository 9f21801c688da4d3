"""A phone that gives JPEGs alone is developed as one with raw pictures is: in even light, without strong defects."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from mobilescope.acquire.phone_light import take_light_frames
from mobilescope.app.instruments.light_calibrating import found_in
from mobilescope.app.pictures.developing import develop_capture
from mobilescope.app.pictures.development import recipe_of
from mobilescope.app.pictures.light_keeping import keep_light, told_pictures
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import DeviceError, InputFileError, InputImageError, UserError
from mobilescope.data.phone_light import PhoneLight, from_quadrants, in_quadrants, read_phone_light, write_phone_light
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.colour import encode_8bit, srgb_decode, to_float
from mobilescope.imaging.halving import halve_srgb, halved_light
from mobilescope.imaging.jpeg import compress, decompress

SHAPE = (256, 320)
HALF = (128, 160)
HOT = ((40, 60), (121, 201), (200, 30))
DEAD = ((70, 250), (180, 171))


class UnevenPhone:
    """The twin's phone, lit from one side and with broken pixels, of which only the JPEG comes."""

    def __init__(self, phone, *, worn=True, exposed=1.0, pictures="jpeg"):
        self._phone, self._worn, self._exposed, self._pictures = phone, worn, exposed, pictures
        self.frame_shape = phone.frame_shape

    def __getattr__(self, name):
        return getattr(self._phone, name)

    def capture(self, x_um, y_um):
        taken = self._phone.capture(x_um, y_um)
        side = np.linspace(1.0, 0.7, SHAPE[1]) * self._exposed
        light = (taken.bayer.astype(np.float64) - taken.black_level) * side
        if self._worn:
            light[tuple(zip(*DEAD, strict=True))] = 0
            light[tuple(zip(*HOT, strict=True))] += 500
        bayer = np.clip(np.round(light + taken.black_level), 0, taken.white_level).astype(np.uint16)
        if self._pictures == "raw":
            return replace(taken, bayer=bayer)
        return replace(
            taken, bayer=None, jpeg=self._phone._jpeg(bayer, np.ones(3)), cfa="", black_level=0, white_level=255,
            white_balance=(1.0, 1.0, 1.0),
        )


@pytest.fixture(scope="module")
def twin(make_twin):
    rows, columns = SHAPE
    return make_twin({"slide": "blood"}, phone={
        "bayer_rows": rows, "bayer_columns": columns, "vignetting": 0.5, "colour_drift": 0.0, "exposure_drift": 0.0,
    })


def light_of(phone, frames=8):
    taken = take_light_frames(phone, "blank", frames=frames)
    return PhoneLight.of(taken.dark, taken.clear, taken.last, frames)


@pytest.fixture(scope="module")
def light(twin):
    return light_of(UnevenPhone(twin.phone))


def lit_captures(phone, slide, count=1):
    phone.mount(slide)
    phone.illuminator.set_colour(255, 255, 255)
    taken = [phone.capture(60.0 * number, 0.0) for number in range(count)]
    phone.illuminator.off()
    return taken


@pytest.fixture(scope="module")
def captures(twin):
    """Clear glass and a smear."""
    phone = UnevenPhone(twin.phone)
    return [*lit_captures(phone, "blank"), *lit_captures(phone, "slide")]


@pytest.fixture
def calibration(tmp_path, light):
    write_phone_light(tmp_path / "light.h5", light)
    return tmp_path / "light.h5"


@pytest.fixture
def make_session(tmp_path, captures):
    def make(calibration=None, name="run.h5", given=captures, shape=SHAPE):
        header = SessionHeader(
            slides=(SlideEntry(name="slide", role="training"),), benchtop_shape=(64, 64), phone_shape=shape,
            instrument={"instrument": {"name": "a twin"}},
        )
        with SessionWriter.create_or_resume(tmp_path / name, header, margin_bytes=0) as writer:
            keep_light(writer, calibration)
            for index, capture in enumerate(given):
                writer.add_phone_capture("slide", index, 0, index, capture)
        return tmp_path / name

    return make


def developed(path, index=0, **changes):
    """Return a capture in linear light, and the recipe."""
    settings = DevelopmentConfig(**changes)
    with Session.open(path) as session:
        picture = develop_capture(session, session.captures("slide")[index], settings)
        return srgb_decode(to_float(picture)), recipe_of(session, settings)


def unevenness(light):
    """Return by how much the darkest of 8×8 parts of clear glass lies below the brightest, green."""
    parts = np.median(light[..., 1].reshape(8, HALF[0] // 8, 8, HALF[1] // 8), axis=(1, 3))
    return 1 - parts.min() / parts.max()


def test_clear_glass_comes_out_even(make_session, calibration):
    path = make_session(calibration)
    before, _ = developed(path, flat_field=False)
    after, recipe = developed(path)
    assert unevenness(before) > 0.45
    assert unevenness(after) < 0.02
    assert (after >= before - 1e-4)[4:-4, 4:-4].mean() == 1  # nothing became darker
    assert recipe.provenance["flat_field"] is True
    assert set(recipe.provenance["light"]["session"]) == {"dark", "clear"}


def test_a_specimen_is_evened_out_as_its_light_is(make_session, calibration, light):
    path = make_session(calibration)
    before, after = (developed(path, 1, flat_field=even)[0] for even in (False, True))
    shading = light.clear[..., 1].max() / light.clear[..., 1]
    plain = (before[..., 1] > 0.05) & (after[..., 1] < 0.9)
    plain[:, :4] = plain[:, -4:] = False
    ratio = (after[..., 1] / np.maximum(before[..., 1], 1e-3))[plain] / shading[plain]
    assert np.median(ratio) == pytest.approx(1, abs=0.06)
    assert np.std(ratio) < 0.05


def test_what_strong_defects_spoil_is_replaced(make_session, calibration, twin, light):
    assert 0 < found_in(light).hot_pixels < 12 * len(HOT)
    assert 0 < found_in(light).dead_pixels < 12 * len(DEAD)
    path = make_session(calibration)
    smeared, _ = developed(path, 0, flat_field=False, defects=False)
    mended, recipe = developed(path, 0, flat_field=False)
    sound = np.ones(HALF, bool)
    sound[recipe.defects[:, 0], recipe.defects[:, 1]] = False
    np.testing.assert_array_equal(mended[sound], smeared[sound])
    for row, column in (*HOT, *DEAD):
        at = slice(row // 2 - 2, row // 2 + 3), slice(column // 2 - 2, column // 2 + 3)
        level = np.median(mended[at], axis=(0, 1))
        spoilt, left = (np.abs(picture[at] / level - 1).max() for picture in (smeared, mended))
        assert left < 0.5 * spoilt
    sound_phone = light_of(UnevenPhone(twin.phone, worn=False), 2)
    assert (found_in(sound_phone).hot_pixels, found_in(sound_phone).dead_pixels) == (0, 0)


def test_the_reference_makes_clear_glass_neutral(make_session, calibration):
    picture, recipe = developed(make_session(calibration), white_balance="reference")
    middle = np.median(picture[40:88, 50:110], axis=(0, 1))
    np.testing.assert_allclose(middle / middle[1], 1, atol=0.01)
    assert recipe.gains[1] == 1
    with pytest.raises(UserError, match="no clear field"):
        developed(make_session(name="bare.h5"), white_balance="reference")


def test_without_a_calibration_a_jpeg_is_halved_and_nothing_else(make_session, captures):
    path = make_session()
    with Session.open(path) as session:
        picture = develop_capture(session, session.captures("slide")[0])
        recipe = recipe_of(session, DevelopmentConfig())
        jpeg = session.jpeg(session.captures("slide")[0])
    assert jpeg == captures[0].jpeg
    assert (len(recipe.defects), recipe.shading, recipe.provenance["light"]) == (0, None, {})
    np.testing.assert_array_equal(picture, halve_srgb(decompress(jpeg)))


def test_a_calibration_file_does_what_the_sessions_own_frames_do(make_session, calibration):
    own, first = developed(make_session(calibration), 1)
    other, second = developed(make_session(name="bare.h5"), 1, calibration=calibration)
    np.testing.assert_array_equal(own, other)
    assert second.provenance["light"]["file"] == "light.h5"
    assert first.provenance.keys() == second.provenance.keys()


def test_the_session_keeps_the_light_bit_for_bit_also_of_odd_pictures(tmp_path, light):
    write_phone_light(tmp_path / "light.h5", light)
    shape = (SHAPE[0] + 1, SHAPE[1] + 1)
    header = SessionHeader(
        slides=(SlideEntry(name="slide", role="training"),), instrument={}, benchtop_shape=(64, 64), phone_shape=shape,
    )
    with SessionWriter.create_or_resume(tmp_path / "s.h5", header, margin_bytes=0) as writer:
        for _ in range(2):
            keep_light(writer, tmp_path / "light.h5", "jpeg")
    with Session.open(tmp_path / "s.h5") as session:
        assert len(session.flat_field_channels("phone")) == session.count("flat_field/phone") == 2
        np.testing.assert_array_equal(from_quadrants(session.flat_field("phone", "clear, jpeg")), light.clear)
        np.testing.assert_array_equal(from_quadrants(session.flat_field("phone", "dark, jpeg")), light.dark)
        assert session.flat_field("phone") is None  # no mosaic's clear field
        assert session.verify() == []
    np.testing.assert_array_equal(from_quadrants(in_quadrants(light.clear, shape)), light.clear)


def test_a_light_of_raw_pictures_is_refused_for_jpegs_and_the_other_way_round(
    make_session, calibration, twin, captures, tmp_path
):
    raw_light = tmp_path / "raw.h5"
    write_phone_light(raw_light, light_of(UnevenPhone(twin.phone, pictures="raw"), 2))
    jpegs = make_session()
    with pytest.raises(InputFileError, match=r"raw\.h5 was taken with raw pictures.*captures are JPEGs.*flat_field ="):
        developed(jpegs, calibration=raw_light)
    developed(jpegs, calibration=raw_light, flat_field=False, defects=False)  # the way out that it names
    raw = make_session(name="raw-run.h5", given=lit_captures(UnevenPhone(twin.phone, pictures="raw"), "slide"))
    with pytest.raises(InputFileError, match=r"light\.h5 was taken with JPEGs.*captures are raw pictures"):
        developed(raw, calibration=calibration)
    kept = make_session(raw_light, name="kept.h5")
    with pytest.raises(InputFileError, match=r"kept\.h5 keeps was taken with raw pictures"):
        developed(kept)
    assert unevenness(developed(kept, calibration=calibration)[0]) < 0.02


def test_a_phone_whose_pictures_are_known_is_refused_the_wrong_light_before_anything_is_taken(calibration, tmp_path):
    header = SessionHeader(
        slides=(SlideEntry(name="slide", role="training"),), instrument={}, benchtop_shape=(64, 64), phone_shape=SHAPE,
    )
    with SessionWriter.create_or_resume(tmp_path / "s.h5", header, margin_bytes=0) as writer:
        with pytest.raises(InputFileError, match="captures are raw pictures"):
            keep_light(writer, calibration, told_pictures({"kind": "folder", "pictures": "dng"}))
        assert not writer.has_flat_field("phone", "clear, jpeg")
        keep_light(writer, calibration, told_pictures({"kind": "webcam"}))
        assert writer.has_flat_field("phone", "clear, jpeg")
    assert told_pictures({"kind": "folder", "pictures": "jpeg"}) == "jpeg"
    assert (told_pictures({"kind": "browser"}), told_pictures({})) == (None, None)


def test_a_light_of_another_resolution_is_refused(make_session, light, tmp_path):
    small = tmp_path / "small.h5"
    write_phone_light(small, replace(light, dark=light.dark[:64], clear=light.clear[:64]))
    with pytest.raises(InputFileError, match=r"frames of \(128, 320\), this one has \(256, 320\)"):
        make_session(small)
    with pytest.raises(InputFileError, match="another camera"):
        developed(make_session(name="bare.h5"), calibration=small)


@pytest.mark.parametrize(("exposed", "said"), [(4.0, "saturated in R"), (0.03, "dark in ")])
def test_a_clear_field_that_can_not_serve_is_refused(twin, exposed, said):
    with pytest.raises(InputImageError, match=f"the clear field is {said}"):
        found_in(light_of(UnevenPhone(twin.phone, exposed=exposed, worn=False), 2))


def test_the_noise_of_a_dark_jpeg_is_dark_and_light_in_it_is_not(twin, monkeypatch):
    def grey(code):
        return lambda *at: replace(
            twin_taken(*at), bayer=None, cfa="", black_level=0, white_level=255,
            jpeg=compress(np.full((*SHAPE, 3), code if not twin.phone.illuminator.state().on else 120, np.uint8), 95),
        )

    twin_taken = twin.phone.capture
    monkeypatch.setattr(twin.phone, "capture", grey(8))  # the eighth count of a JPEG is 0.2 % of the light
    assert take_light_frames(twin.phone, "blank", frames=2).dark.max() < 0.01
    monkeypatch.setattr(twin.phone, "capture", grey(40))
    with pytest.raises(DeviceError, match="not dark"):
        take_light_frames(twin.phone, "blank", frames=2)


def test_a_phone_that_gives_both_kinds_in_turn_is_refused(twin):
    turns = iter([UnevenPhone(twin.phone, pictures=kind) for kind in ("raw", "jpeg")])

    class Fickle(UnevenPhone):
        def capture(self, x_um, y_um):
            return next(turns).capture(x_um, y_um)

    with pytest.raises(DeviceError, match="raw pictures and JPEGs in turn"):
        take_light_frames(Fickle(twin.phone), "blank", frames=2)
    assert not twin.phone.illuminator.state().on


def test_a_calibration_comes_back_as_it_was_written(calibration, light):
    read = read_phone_light(calibration)
    assert (read.pictures, read.clear.shape, read.cfa) == ("jpeg", (*HALF, 3), "")
    np.testing.assert_array_equal(read.dark, light.dark)
    np.testing.assert_array_equal(read.clear, light.clear)
    assert read.facts == light.facts


def test_a_file_of_version_1_is_one_of_raw_pictures(tmp_path, twin):
    path = tmp_path / "old.h5"
    light = light_of(UnevenPhone(twin.phone, pictures="raw"), 2)
    write_phone_light(path, light)
    with h5py.File(path, "r+") as file:
        facts = json.loads(bytes(file["facts"][()]))
        del facts["pictures"], file["facts"]
        file["facts"] = np.bytes_(json.dumps(facts).encode())
        file.attrs["schema_version"] = 1
    read = read_phone_light(path)
    assert (read.pictures, read.frame_shape) == ("raw", SHAPE)
    np.testing.assert_array_equal(read.clear, light.clear)


def test_a_file_whose_frames_are_not_what_it_says_is_damaged(tmp_path, light):
    path = tmp_path / "light.h5"
    write_phone_light(path, light)
    with h5py.File(path, "r+") as file:
        facts = json.loads(bytes(file["facts"][()])) | {"pictures": "raw"}
        del file["facts"]
        file["facts"] = np.bytes_(json.dumps(facts).encode())
    with pytest.raises(InputFileError, match=r"light\.h5 is damaged"):
        read_phone_light(path)


@pytest.mark.parametrize("side", [(200, 150), (137, 77)])
def test_bands_defects_and_shading_equal_the_whole_picture_at_once(side):
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (*side, 3), dtype=np.uint8)
    rows, columns = side[0] // 2, side[1] // 2
    shading = rng.uniform(1, 1.5, (rows, columns, 3)).astype(np.float32)
    light = halved_light(picture)
    places = np.array([(0, 0), (rows - 1, columns - 1), (63, 5), (64, 5)])
    halved = halve_srgb(picture, (1.2, 1.0, 0.8), defects=places, shading=shading)
    expected = light * np.array([1.2, 1.0, 0.8], np.float32) * shading
    found = srgb_decode(to_float(halved))
    sound = np.ones((rows, columns), bool)
    sound[tuple(places.T)] = False
    np.testing.assert_allclose(found[sound], np.clip(expected, 0, 1)[sound], atol=1e-4)
    row, column = places[2]
    around = [
        (light[row + down, column + right], np.exp(-(down**2 + right**2) / 1.28))
        for down in range(-2, 3) for right in range(-2, 3) if (down, right) not in ((0, 0), (1, 0))
    ]
    mean = sum(value * weight for value, weight in around) / sum(weight for _, weight in around)
    np.testing.assert_allclose(found[row, column], mean * [1.2, 1.0, 0.8] * shading[row, column], atol=1e-3)


def test_a_flat_field_of_another_size_is_refused():
    with pytest.raises(InputImageError, match="a flat field of 10x10 pixels for a picture of 32x32"):
        halve_srgb(np.zeros((64, 64, 3), np.uint8), shading=np.ones((10, 10, 3), np.float32))


def test_a_picture_that_is_all_defects_stays_as_it_is():
    picture = encode_8bit(np.linspace(0, 1, 4 * 4 * 3).reshape(4, 4, 3))
    everywhere = np.argwhere(np.ones((2, 2)))
    np.testing.assert_array_equal(halve_srgb(picture, defects=everywhere), halve_srgb(picture))
