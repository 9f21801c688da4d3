"""The twin's live stream shows what a capture at that place shows, drifts over the slide, and obeys the ring."""

from __future__ import annotations

import numpy as np
import pytest
from software_instruments import SoftwareRing

from mobilescope.imaging.colour import encode_8bit
from mobilescope.imaging.raw import develop_half_size
from mobilescope.twin.live_stream import _DRIFT_UM, TwinLiveStream
from mobilescope.twin.parameters import load_parameters
from mobilescope.twin.phone import TwinPhone
from mobilescope.twin.slides import SlideRack, SlideSpec
from mobilescope.twin.truth import TruthLog

SMALL = {"bayer_rows": 192, "bayer_columns": 256}
STEADY = {"position_error_um": 0, "rotation_deg": 0, "colour_drift": 0, "exposure_drift": 0, "focus_error_um": 0}
QUIET = {"full_well_electrons": 1e12, "read_noise_electrons": 0}
FLAT = {"tilt_um_per_mm": 0, "waviness_um": 0}


def build(seed=2, **phone):
    parameters = load_parameters({"phone": SMALL | STEADY | phone, "surface": FLAT})
    rack, ring = SlideRack({"a": SlideSpec(specimen="blood", seed=3)}, parameters.surface), SoftwareRing()
    ring.set_colour(255, 255, 255)
    stream = TwinLiveStream(rack.slide("a"), parameters.phone, ring, title="a", seed=seed, frames_per_s=200)
    phone = TwinPhone(rack, parameters, seed=seed, truth=TruthLog(), illuminator=ring)
    phone.mount("a")
    return stream, phone, ring


def developed(capture):
    return encode_8bit(develop_half_size(
        capture.bayer, cfa=capture.cfa, black_level=capture.black_level, white_level=capture.white_level,
        white_balance=capture.white_balance,
    ))


def test_a_frame_is_a_developed_capture():
    stream, phone, _ = build(**QUIET)
    pixels = stream._rendered(0.0).astype(int)
    pixel_size_um = stream.read().pixel_size_um
    stream.close()
    capture = phone.capture(_DRIFT_UM[0], 0.0)  # where the drift begins
    taken = developed(capture).astype(int)
    assert np.percentile(np.abs(pixels - taken), 99.5) <= 2
    assert pixel_size_um == pytest.approx(2 * capture.bayer_pixel_um)
    # The check is sharp: the same picture half a pixel away differs by far more.
    moved = developed(phone.capture(_DRIFT_UM[0] + 0.46, 0.0)).astype(int)
    assert np.percentile(np.abs(moved - taken), 99.5) > 8


def test_each_frame_has_noise_of_its_own_as_strong_as_a_captures():
    stream, phone, _ = build()
    frames = [stream._rendered(0.0).astype(float) for _ in range(2)]
    stream.close()
    captures = [developed(phone.capture(_DRIFT_UM[0], 0.0)).astype(float) for _ in range(2)]
    noise = (frames[0] - frames[1]).std(axis=(0, 1))
    np.testing.assert_allclose(noise, (captures[0] - captures[1]).std(axis=(0, 1)), rtol=0.05)
    assert noise.min() > 1


def test_the_slide_drifts():
    stream, _, _ = build(**QUIET)
    first, soon, later = (stream._rendered(time_s).astype(int) for time_s in (0.0, 0.05, 7.5))
    stream.close()
    assert 0 < np.abs(first - soon).mean() < np.abs(first - later).mean()


def test_a_large_sensor_is_read_out_in_its_middle():
    stream, phone, _ = build(**QUIET, bayer_rows=1300, bayer_columns=1100, bayer_pixel_um=0.2)
    pixels = stream._rendered(0.0).astype(int)
    stream.close()
    assert pixels.shape == (512, 512, 3)
    whole = developed(phone.capture(_DRIFT_UM[0], 0.0)).astype(int)
    middle = whole[(1300 - 1024) // 4 :, (1100 - 1024) // 4 :][:512, :512]
    assert np.percentile(np.abs(pixels - middle), 99.5) <= 2


def test_the_picture_goes_dark_with_the_ring():
    stream, _, ring = build()
    assert stream.read().pixels.mean() > 60
    ring.off()
    while stream.read().pixels.mean() > 30:
        pass
    ring.set_colour(255, 0, 0)
    while (red := stream.read().pixels.reshape(-1, 3).mean(axis=0))[0] < 60:
        pass
    assert red[0] > 1.5 * red[2]
    stream.close()
