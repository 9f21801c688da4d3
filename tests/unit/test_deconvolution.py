"""Richardson-Lucy undoes a known blur, keeps light, and leaves borders alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.colour import srgb_decode, srgb_encode
from mobilescope.imaging.deconvolution import deblur_srgb, richardson_lucy
from mobilescope.imaging.metrics import psnr_db


def scene():
    generator = np.random.default_rng(0)
    picture = np.full((120, 140, 3), 0.8, np.float32)
    for row, column, radius in generator.uniform((5, 5, 3), (115, 135, 9), (50, 3)):
        centre = (int(column), int(row))
        cv2.circle(picture, centre, int(radius), tuple(generator.uniform(0.05, 0.7, 3).tolist()), -1)
    return picture


def test_a_known_blur_is_undone():
    light = scene()
    blurred = cv2.GaussianBlur(light, (0, 0), 1.5, borderType=cv2.BORDER_REFLECT)
    restored = richardson_lucy(blurred, 1.5, 30)
    assert restored.dtype == np.float32
    assert psnr_db(restored, light) > psnr_db(blurred, light) + 2
    # The right width is better than a wrong one.
    assert psnr_db(restored, light) > max(psnr_db(richardson_lucy(blurred, s, 30), light) for s in (0.7, 2.5))


def test_light_is_neither_made_nor_lost():
    blurred = cv2.GaussianBlur(scene(), (0, 0), 1.2, borderType=cv2.BORDER_REFLECT)
    restored = richardson_lucy(blurred, 1.2, 10)
    assert restored.mean() == pytest.approx(float(blurred.mean()), rel=2e-3)
    flat = np.full((40, 40), 0.3, np.float32)
    np.testing.assert_allclose(richardson_lucy(flat, 1.2, 20), flat, atol=1e-5)


def test_an_encoded_picture_is_mended_in_its_light():
    light = scene()
    blurred = srgb_encode(cv2.GaussianBlur(light, (0, 0), 1.5, borderType=cv2.BORDER_REFLECT))
    few, many = deblur_srgb(blurred, 1.5, (5, 20))
    np.testing.assert_allclose(few, srgb_encode(richardson_lucy(srgb_decode(blurred), 1.5, 5)), atol=1e-6)
    sharp = srgb_encode(light)
    assert psnr_db(many, sharp) > psnr_db(few, sharp) > psnr_db(blurred, sharp)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputImageError, match="positive width"):
        richardson_lucy(scene(), 0.0, 3)
    for steps in ((), (0,), (5, 3)):
        with pytest.raises(ValueError, match="grow"):
            deblur_srgb(scene(), 1.0, steps)
