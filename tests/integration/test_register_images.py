"""`mobilescope register MOVING FIXED`: the map between two plain images, or a refusal that says why."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import tifffile
from integration.ring_commands import refused, run
from phone_pairs import PhoneModel, phone_pair, read_rgb

from mobilescope.imaging.warp import invert_map, pixel_grid

FIXED_UM = 0.37
TISSUE, OTHER = "he_monuseg_train/mr_A7-A13E.tif", "he_monuseg_train/mr_18-5592.tif"


@pytest.fixture(scope="module")
def pair():
    return phone_pair(read_rgb(TISSUE), (256, 256), PhoneModel(rotation_deg=15, scale=1.08, barrel_px=5), 5)


@pytest.fixture
def files(pair, tmp_path):
    return save(tmp_path / "phone.png", pair.moving), save(tmp_path / "benchtop.png", pair.fixed)


def save(path, image):
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


def sizes(moving_um=FIXED_UM * 2.5, fixed_um=FIXED_UM):
    return "--moving-pixel-um", moving_um, "--fixed-pixel-um", fixed_um


def test_the_map_points_each_pixel_at_its_place(pair, files, tmp_path):
    told = run("register", *files, *sizes(), "--map", tmp_path / "map.npz", "--json")
    assert told.status == 0, told
    facts = told.json()
    assert facts["accepted"] is True
    assert facts["reason"] == ""
    assert facts["inliers"] >= 15
    assert 0 <= facts["residual_px"] < 0.2
    assert facts["pearson"] > 0.5
    assert facts["seconds"] > 0
    with np.load(tmp_path / "map.npz") as stored:
        map_yx, supported, record = stored["map_yx"], stored["supported"], json.loads(str(stored["record"]))
        there_and_back = invert_map(map_yx, stored["homography"], map_yx)
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(there_and_back - pixel_grid((256, 256)))[inner].max() < 0.02
    assert (map_yx.dtype, map_yx.shape) == (np.float32, (256, 256, 2))
    error_px = np.linalg.norm(map_yx - pair.truth_yx, axis=-1)[supported] / pair.factor
    assert np.median(error_px) < 0.1
    assert np.percentile(error_px, 95) < 0.5
    assert record["moving"]["pixel_um"] == pytest.approx(0.925)
    assert "accepted" in told.errors


@pytest.mark.parametrize(("change", "word"), [
    (lambda image: read_rgb(OTHER)[:256, :256], ""), (lambda image: np.full_like(image, 240), "blank"),
    (lambda image: image[:, ::-1], "mirror"), (lambda image: cv2.GaussianBlur(image, (0, 0), 6), ""),
], ids=["another field", "blank", "mirrored", "blurred"])
def test_what_does_not_match_is_refused_with_status_3_and_no_map(pair, files, tmp_path, change, word):
    save(files[0], np.ascontiguousarray(change(pair.moving)))
    (tmp_path / "map.npz").write_bytes(b"the map of a run before")
    told = run("register", *files, *sizes(), "--map", tmp_path / "map.npz", "--json")
    assert told.status == 3, told
    facts = json.loads(told.output)
    assert facts["accepted"] is False
    assert word in facts["reason"]
    assert facts["reason"]
    assert facts["map"] is None
    assert (tmp_path / "map.npz").read_bytes() == b"the map of a run before"
    assert "no map was written" in told.errors


def test_pixel_sizes_come_from_the_files_where_they_tell_them(pair, tmp_path):
    names = []
    for name, image, um in (("phone.tif", pair.moving, FIXED_UM * 2.5), ("benchtop.tif", pair.fixed, FIXED_UM)):
        names.append(tmp_path / name)
        tifffile.imwrite(
            names[-1], image, photometric="rgb", resolution=(1e4 / um, 1e4 / um), resolutionunit="CENTIMETER"
        )
    assert run("register", *names, "--json").json()["accepted"] is True
    # Far from what the pictures show, a size is not believed.
    wrong = run("register", *names, "--moving-pixel-um", FIXED_UM, "--json")
    assert (wrong.status, json.loads(wrong.output)["accepted"]) == (3, False)


def test_mistakes_are_named(files, tmp_path):
    assert "--moving-pixel-um" in refused("register", *files)
    assert "--fixed-pixel-um" in refused("register", *files, "--moving-pixel-um", "1")
    assert "ends in .npz" in refused("register", *files, *sizes(), "--map", tmp_path / "map.txt")
    assert "no image file" in refused("register", files[0], tmp_path / "nothing.png", *sizes())
    assert "second image" in refused("register", files[0], "--map", tmp_path / "map.npz")
    for options in (("--out", tmp_path / "map.npz"), ("--warp", "phone"), ("--no-search",), ("--workers", 2)):
        assert f"{options[0]} is for sessions" in refused("register", *files, *sizes(), *options)
    (tmp_path / "text.png").write_text("no picture")
    assert "text.png" in refused("register", tmp_path / "text.png", files[1], *sizes())
    small = save(tmp_path / "small.png", np.zeros((20, 20, 3), np.uint8))
    assert "at least 96" in refused("register", small, files[1], *sizes())
