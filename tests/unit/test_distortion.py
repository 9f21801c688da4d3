"""A phone's distortion, averaged over pairs: found again, inverted, used, and kept in a file."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from phone_pairs import PhoneModel, phone_pair, read_rgb

from mobilescope.app.pairs.distortion import StraightenedFrames, load_distortion, straightened
from mobilescope.app.pictures.images import Picture
from mobilescope.core.errors import InputFileError, InputImageError, UserError
from mobilescope.core.protocols import Frame
from mobilescope.imaging.distortion import DistortionMap, grid_points, mean_distortion
from mobilescope.imaging.pixel_sources import ArraySource
from mobilescope.imaging.registration import register
from mobilescope.imaging.warp import pixel_grid, sample_map

SHAPE = (200, 240)


def barrel(points, shape=SHAPE, amount_px=4.0):
    """By how much a lens moves points, (row, column)."""
    middle = (np.array(shape) - 1) / 2
    off = points - middle
    return off * (amount_px / np.linalg.norm(middle)) * (np.linalg.norm(off, axis=-1, keepdims=True) / 156) ** 2


def without_similarity(displacement):
    """Take position, rotation and scale out of a displacement."""
    points = pixel_grid(displacement.shape[:2]).astype(float)
    z, w = (each[..., 0] + 1j * each[..., 1] for each in (points, points + displacement))
    arm = z - z.mean()
    fitted = w.mean() + np.vdot(arm, w - w.mean()) / np.vdot(arm, arm) * arm
    return np.stack([(w - fitted).real, (w - fitted).imag], axis=-1)


def made_up_pairs(count, rng, noise_px=0.1, seen=1.0):
    """Places of the grid's points on mosaics of any position, turn and scale, with noise, known in parts only."""
    points = grid_points(SHAPE)
    places, counted = [], []
    for _ in range(count):
        straight = points + barrel(points)
        angle, scale = rng.uniform(-0.3, 0.3), rng.uniform(2.2, 2.7)
        turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        places.append(straight @ turn + rng.uniform(0, 20000, 2) + scale * noise_px * rng.standard_normal(points.shape))
        where = np.zeros(points.shape[:2], dtype=bool)
        rows = max(4, round(seen * where.shape[0]))
        top = rng.integers(0, where.shape[0] - rows + 1)
        where[top : top + rows] = True
        counted.append(where)
    return places, counted


@pytest.fixture(scope="module")
def lens() -> DistortionMap:
    rng = np.random.default_rng(0)
    return mean_distortion(*made_up_pairs(10, rng), SHAPE, 0.925)


def test_what_pairs_have_in_common_is_found_and_their_own_places_are_not_in_it(lens):
    truth = without_similarity(barrel(pixel_grid(SHAPE).astype(float)))
    error = np.linalg.norm(lens.displacement_yx - truth, axis=-1)
    assert np.linalg.norm(truth, axis=-1).max() > 1
    assert np.median(error) < 0.05
    assert np.percentile(error, 95) < 0.15
    assert lens.pairs == 10
    assert 0.05 < np.median(lens.spread_px) < 0.2


def test_pairs_that_each_show_a_part_do_not_disagree_about_scale():
    found = mean_distortion(*made_up_pairs(16, np.random.default_rng(1), 0.02, seen=0.6), SHAPE, 0.925)
    truth = without_similarity(barrel(pixel_grid(SHAPE).astype(float)))
    assert np.median(np.linalg.norm(found.displacement_yx - truth, axis=-1)) < 0.1


def test_too_few_pairs_are_no_calibration():
    with pytest.raises(UserError, match="too few"):
        mean_distortion(*made_up_pairs(2, np.random.default_rng(0)), SHAPE, 0.925)


def test_there_and_back_is_the_same_place(lens):
    assert lens.inverse_error_px < 0.02
    inside = lens.inverse_yx[10:-10, 10:-10]
    back = inside + sample_map(lens.displacement_yx, inside)
    assert np.abs(back - pixel_grid(SHAPE)[10:-10, 10:-10]).max() < 0.02


def test_a_picture_is_straightened_by_one_resampling(lens):
    grid = pixel_grid(SHAPE)
    pattern = 120 + 60 * np.sin(grid[..., 0] / 6) * np.cos(grid[..., 1] / 7)
    bent_at = grid + lens.displacement_yx
    bent = 120 + 60 * np.sin(bent_at[..., 0] / 6) * np.cos(bent_at[..., 1] / 7)
    picture = np.repeat(bent[..., None], 3, axis=-1).round().astype(np.uint8)
    straight = lens.straighten(picture)
    assert (straight.dtype, straight.shape) == (picture.dtype, picture.shape)
    inner = np.s_[12:-12, 12:-12]
    assert np.abs(straight[..., 1].astype(float) - pattern)[inner].max() < 3
    assert np.abs(bent - pattern)[inner].max() > 5
    # The same lens in twice as many pixels.
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    small_again = cv2.resize(lens.straighten(large), SHAPE[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small_again[..., 1].astype(float) - pattern)[inner].max() < 6


def test_pictures_of_other_proportions_or_pixels_are_refused(lens):
    with pytest.raises(InputImageError, match="200x240"):
        lens.straighten(np.zeros((200, 200, 3), np.uint8))
    other = Picture(ArraySource(np.zeros((*SHAPE, 3), np.uint8)), pixel_size_um=0.5)
    with pytest.raises(InputImageError, match=r"0\.5 µm"):
        straightened(other, lens)


def test_live_frames_are_straightened_and_keep_their_number(lens):
    class Source:
        name, on_demand = "folder", True

        def __init__(self):
            self.frames = [Frame(np.full((*SHAPE, 3), 90, np.uint8), 7, 1.5, 0.925)]

        def read(self):
            return self.frames.pop() if self.frames else None

        def close(self):
            self.frames = None

    source = Source()
    straight = StraightenedFrames(source, lens)
    frame = straight.read()
    assert (frame.index, frame.captured_s, frame.pixels.shape) == (7, 1.5, (*SHAPE, 3))
    assert straight.read() is None
    straight.close()
    assert source.frames is None


def test_the_map_is_brought_to_another_size_once_for_all_frames_of_a_stream(lens, monkeypatch):
    class Source:
        name, on_demand = "camera", False

        def read(self):
            return Frame(np.full((2 * SHAPE[0], 2 * SHAPE[1], 3), 90, np.uint8), 0, 0.0, 0.925 / 2)

    resampled, scaled = [], DistortionMap.scaled

    def counted(self, shape):
        resampled.append(shape)
        return scaled(self, shape)

    monkeypatch.setattr(DistortionMap, "scaled", counted)
    straight = StraightenedFrames(Source(), lens)
    for _ in range(3):
        straight.read()
    assert resampled == [(400, 480)]


def test_a_known_distortion_tells_of_bare_glass_what_pixels_cannot():
    image = read_rgb("he_monuseg_train/mr_A7-A13E.tif").copy()
    image[:, image.shape[1] // 2 :] = 235
    model = PhoneModel(barrel_px=8, wobble_px=0, scale=1, lateral_colour_px=0)
    pair = phone_pair(image, (224, 224), model, 5)
    points = pixel_grid((224, 224)).astype(float)
    corner = np.hypot(112, 112)
    off = points - 111.5
    known = (off * 8 / corner * (np.linalg.norm(off, axis=-1, keepdims=True) / corner) ** 2).astype(np.float32)
    errors = {}
    for name, distortion in (("without", None), ("with", known)):
        found = register(
            pair.moving, pair.fixed, moving_pixel_um=0.925, fixed_pixel_um=0.37, distortion_yx=distortion
        )
        errors[name] = np.linalg.norm(found.map_yx - pair.truth_yx, axis=-1) / pair.factor
    specimen = np.s_[:, :100]
    assert np.median(errors["with"][specimen]) < 0.1
    assert np.percentile(errors["with"], 95) < 0.5 * np.percentile(errors["without"], 95)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_what_is_no_distortion_map_is_named(tmp_path, content):
    path = tmp_path / "map.npz"
    if content is None:
        np.savez(path, displacement_yx=np.zeros((4, 4, 2), np.float32), record=np.array("{}"))
    else:
        path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"map\.npz"):
        load_distortion(path)
    with pytest.raises(InputFileError, match="no distortion map"):
        load_distortion(tmp_path / "nothing.npz")
