"""Raw files: real ones are read and developed as LibRaw does it, and what only looks like one is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile

from mobilescope.app.pictures.images import open_picture
from mobilescope.core.errors import InputFileError
from mobilescope.imaging.capture_files import read_capture_files
from mobilescope.imaging.colour import srgb_decode, to_float
from mobilescope.imaging.dng import read_dng

RAW = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw"
CAMERA, LASER, TAGS_ALONE = RAW / "Blackmagic.dng", RAW / "laser_test.dng", RAW / "exiftool_DNG.dng"


def test_a_cameras_file_is_read_with_what_develops_it():
    frame = read_dng(CAMERA)
    assert (frame.bayer.dtype, frame.bayer.shape, frame.cfa) == (np.uint16, (2176, 4128), "RGGB")
    assert (frame.black_level, frame.white_level) == (512, 65535)
    assert frame.white_balance == pytest.approx((2.206, 1, 1.887), abs=1e-3)
    assert frame.camera == "Blackmagic Pocket Cinema Camera 4K"


def test_it_is_developed_as_libraw_develops_it():
    frame = read_dng(CAMERA)
    ours = srgb_decode(to_float(frame.develop()))
    with rawpy.imread(str(CAMERA)) as raw:
        theirs = raw.postprocess(
            half_size=True, gamma=(1, 1), no_auto_bright=True, use_camera_wb=True, output_bps=16, user_flip=0,
            output_color=rawpy.ColorSpace.raw,
        ) / 65535
    assert ours.shape == theirs.shape
    unclipped = (theirs.max(axis=-1) < 0.9) & (ours.max(axis=-1) < 0.9) & (theirs.min(axis=-1) > 0.02)
    assert unclipped.mean() > 0.1
    ratio = ours[unclipped] / theirs[unclipped]
    assert np.median(ratio, axis=0) == pytest.approx([1, 1, 1], abs=0.02)
    assert np.percentile(np.abs(ratio - 1), 95) < 0.03


def test_a_sensor_that_begins_with_blue_and_records_no_white_balance_is_read():
    frame = read_dng(LASER)
    assert (frame.cfa, frame.white_balance, frame.black_level, frame.white_level) == ("GBRG", (1, 1, 1), 0, 1023)
    assert frame.develop().shape == (240, 320, 3)
    assert open_picture(LASER).shape == (240, 320, 3)


def test_exposure_and_time_are_those_of_its_tags(tmp_path):
    path = synthetic(tmp_path / "phone.dng", extra=[
        (271, "s", 0, "Maker", True), (272, "s", 0, "Phone 1", True), (306, "s", 0, "2026:11:29 10:00:00", True),
        (34855, "H", 1, 100, True), (33434, "2I", 1, (1, 50), True),
    ])
    frame = read_dng(path)
    assert (frame.camera, frame.iso, frame.captured) == ("Maker Phone 1", 100, "2026:11:29 10:00:00")
    assert frame.exposure_ms == pytest.approx(20)


def test_cloudy_gains_are_those_that_libraw_makes_of_the_matrix_for_d65():
    frame = read_dng(CAMERA)
    with rawpy.imread(str(CAMERA)) as raw:
        red, green, blue = raw.daylight_whitebalance[:3]
    assert frame.presets["cloudy"] == pytest.approx((red / green, 1, blue / green), rel=2e-3)
    daylight = frame.presets["daylight"]
    assert daylight[0] < frame.presets["cloudy"][0]
    assert daylight[2] > frame.presets["cloudy"][2]
    assert read_dng(LASER).presets == {}


def test_other_gains_change_the_colours_alone():
    frame = read_dng(CAMERA)
    plain, cloudy = (srgb_decode(to_float(frame.develop(gains))) for gains in (None, frame.presets["cloudy"]))
    dim = (plain.max(axis=-1) < 0.5) & (cloudy.max(axis=-1) < 0.9) & (plain.min(axis=-1) > 0.02)
    ratio = np.median(cloudy[dim] / plain[dim], axis=0)
    expected = np.array(frame.presets["cloudy"]) / frame.white_balance
    np.testing.assert_allclose(ratio, expected, rtol=0.01)


def test_a_session_keeps_the_files_digest_and_its_gains():
    settings = read_dng(CAMERA).settings
    assert settings["dng_sha256"] == hashlib.sha256(CAMERA.read_bytes()).hexdigest()
    assert [float(gain) for gain in settings["gains_cloudy"].split(",")] == pytest.approx((2.831, 1, 1.336), abs=1e-3)


def test_a_file_that_becomes_a_capture_brings_its_gains_along():
    facts = read_capture_files(CAMERA, None).facts
    assert facts["dng_sha256"] == hashlib.sha256(CAMERA.read_bytes()).hexdigest()
    assert facts["gains_cloudy"] == read_dng(CAMERA).settings["gains_cloudy"]


def synthetic(path, *, extra=(), shape=(64, 96)):
    """Write a small DNG whose four sites differ."""
    mosaic = np.random.default_rng(0).integers(1000, 3000, shape, dtype=np.uint16)
    tags = [
        (33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes((0, 1, 1, 2)), True),
        (50706, "B", 4, bytes((1, 4, 0, 0)), True),
        (50708, "s", 0, "synthetic", True), (50714, "H", 1, 64, True), (50717, "H", 1, 4095, True), *extra,
    ]
    tifffile.imwrite(path, mosaic, photometric=32803, extratags=tags)
    return path


@pytest.mark.parametrize("make", [
    lambda path: path.write_bytes(b"II*\x00 and then nothing of the kind"),
    lambda path: path.write_text("no picture"),
    lambda path: path.write_bytes(CAMERA.read_bytes()[:1_500_000]),
    lambda path: path.write_bytes(TAGS_ALONE.read_bytes()),
    lambda path: tifffile.imwrite(path, np.zeros((32, 32, 3), np.uint8), photometric="rgb"),
    lambda path: path.touch(),
], ids=["header alone", "text", "truncated", "no data", "plain TIFF", "empty"])
def test_what_only_looks_like_a_raw_file_is_refused(tmp_path, make):
    make(tmp_path / "a.dng")
    with pytest.raises(InputFileError, match=r"a\.dng"):
        read_dng(tmp_path / "a.dng")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputFileError, match="no raw file"):
        read_dng(tmp_path / "nothing.dng")
