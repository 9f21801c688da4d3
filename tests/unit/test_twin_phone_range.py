"""The twin's phone, as frozen, lies against its benchtop where the phone of Rivenson et al. 2018 lay."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.metrics import score_image, ssim
from mobilescope.imaging.raw import develop_srgb

LABEL_UM, FACTOR, SIDE = 0.37, 2.5, 160
# Supplied by R18's Tables 2 and 3; see the head of twin/defaults.toml.
SSIM, CIE94 = (0.45, 0.70), (14, 27)
FIELDS_UM = ((0.0, 0.0), (420.0, -310.0), (-650.0, 500.0))


def pixels_at(positions_um, wanted_um):
    """Return where a smooth map of pixels to positions takes the wanted values, (..., 2) as (column, row).

    An affine fit gives the start; each round then moves by the affine's answer to what is still missing.
    """
    rows, columns = positions_um.shape[:2]
    pixels = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    design = np.column_stack([positions_um.reshape(-1, 2), np.ones(rows * columns)])
    affine, *_ = np.linalg.lstsq(design, pixels, rcond=None)
    found = wanted_um @ affine[:2] + affine[2]
    for _ in range(5):
        there = cv2.remap(positions_um, *np.moveaxis(found.astype(np.float32), -1, 0), cv2.INTER_LINEAR)
        found += (wanted_um - there) @ affine[:2]
    assert np.abs(wanted_um - there).max() < 0.05
    assert (found >= 0).all()
    assert (found <= [columns - 1, rows - 1]).all()
    return found.astype(np.float32)


def pair(twin, slide, x_um, y_um):
    """Return the phone's picture on the benchtop's lattice, and the benchtop's, both float RGB of one size."""
    twin.focus_on(slide, x_um, y_um)
    label = twin.benchtop.snap().pixels
    frame = twin.truth.tiles[-1]
    twin.phone.mount(slide)
    twin.phone.illuminator.set_colour(255, 255, 255)
    capture = twin.phone.capture(x_um, y_um)
    developed = develop_srgb(
        capture.bayer, cfa=capture.cfa, black_level=capture.black_level, white_level=capture.white_level,
        white_balance=capture.white_balance,
    )
    steps = (np.arange(SIDE) - (SIDE - 1) / 2) * FACTOR * LABEL_UM
    lattice = np.stack(np.meshgrid(steps + frame.x_um, steps + frame.y_um), axis=-1)
    at = pixels_at(twin.truth.captures[-1].positions_um, lattice)
    low = to_float(cv2.remap(developed, at[..., 0], at[..., 1], cv2.INTER_CUBIC))
    wide = round(SIDE * FACTOR)
    edge = (label.shape[0] - wide) // 2
    enlarged = cv2.resize(low, (wide, wide), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return enlarged, to_float(label[edge : edge + wide, edge : edge + wide])


@pytest.mark.parametrize("specimen", ["blood", "h&e"])
def test_the_frozen_phone_lies_where_the_papers_lay(make_twin, specimen):
    twin = make_twin({"slide": specimen})
    scores, shifted = [], []
    for x_um, y_um in FIELDS_UM:
        image, label = pair(twin, "slide", x_um, y_um)
        scores.append(score_image(image, label, LABEL_UM, 2 * 0.87))
        shifted.append(ssim(luminance(image[3:]), luminance(label[:-3])))
    similarity = [score.ssim for score in scores]
    assert SSIM[0] <= np.mean(similarity) <= SSIM[1]
    assert CIE94[0] <= np.mean([score.cie94 for score in scores]) <= CIE94[1]
    # The pictures were in register: a micrometre beside it they agree less.
    assert np.mean(shifted) < np.mean(similarity) - 0.02
