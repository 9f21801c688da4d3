"""A field is found in a whole mosaic without a position, and what is not there is not found, with the reason."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
from phone_pairs import PhoneModel, phone_pair, read_rgb

from mobilescope.app.paired_sessions.pair_opening import MosaicPlaces
from mobilescope.app.pairs import finding
from mobilescope.app.pairs.finding import MosaicFinder
from mobilescope.app.pairs.placing import Search, searched_placement
from mobilescope.core.errors import (
    CancelledError,
    InputFileError,
    InputImageError,
    RegistrationError,
    SessionLockedError,
    UserError,
)
from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import PositionUm
from mobilescope.data.landmark_file import landmarks_path
from mobilescope.data.layout import mosaic_path
from mobilescope.data.lock import WriterLock
from mobilescope.data.mosaics import Mosaic, MosaicWriter
from mobilescope.imaging.colour import encode_8bit
from mobilescope.twin.specimens.blood import BloodSmear
from mobilescope.twin.specimens.tissue import StainedTissue

PIXEL_UM = 0.5
PHONE_UM = 1.25
ORIGIN_UM = (-300.0, 120.0)
SLIDE, OTHER = "wsi/cmu1_small_region.svs", "he_monuseg_train/mr_18-5592.tif"
FIELD = (192, 192)
# Phones differ in colour, sharpness and noise; a slide may lie turned by anything.
PHONE = PhoneModel(blur_px=0.9, noise=0.03, barrel_px=2, gamma=1.2)


@pytest.fixture(scope="module")
def slide(data_folder):
    return read_rgb(SLIDE)


@pytest.fixture(scope="module")
def data_folder():
    from phone_pairs import DATA

    if not DATA.is_dir():
        pytest.skip(f"no folder {DATA}")
    return DATA


@pytest.fixture(scope="module")
def smear():
    """A made-up blood smear of 0.8 mm."""
    light = BloodSmear(3).transmittance(PixelGrid(0, 0, 0.5, 1600, 1600))
    return encode_8bit(light * np.float32(0.9))


def write(folder, picture, covered=None, name="slide"):
    covered = np.ones(picture.shape[:2], bool) if covered is None else covered
    with MosaicWriter(folder / "run.h5", name, picture.shape[:2], PIXEL_UM, ORIGIN_UM, {}, []) as writer:
        for top in range(0, len(picture), 512):
            writer.write_band(picture[top:top + 512], covered[top:top + 512])
    return mosaic_path(folder / "run.h5", name)


@pytest.fixture(scope="module")
def tissue(slide, tmp_path_factory):
    return write(tmp_path_factory.mktemp("tissue"), slide)


@pytest.fixture(scope="module")
def blood(smear, tmp_path_factory):
    return write(tmp_path_factory.mktemp("blood"), smear)


def field(picture, row, column, seed=0, shape=FIELD, **changes):
    """Return a phone field of a picture around a place, and the place of its middle in µm."""
    half = round(PHONE_UM / PIXEL_UM * max(shape) * 0.8)
    part = picture[row - half:row + half, column - half:column + half]
    model = PhoneModel(**{**vars(PHONE), "factor": PHONE_UM / PIXEL_UM, **changes})
    pair = phone_pair(np.ascontiguousarray(part), shape, model, seed)
    y, x = pair.truth_yx[shape[0] // 2, shape[1] // 2] + (row - half, column - half)
    return pair.moving, np.array(ORIGIN_UM) + np.array((x, y)) * PIXEL_UM


def assert_at(place, true_um, shape=FIELD):
    assert place.verdict == "found", place.reason
    off_um = np.linalg.norm(place.to_mosaic_um.apply((shape[1] // 2, shape[0] // 2)) - true_um)
    assert off_um < 3, off_um
    assert np.linalg.norm(np.array(place.centre_um) - true_um) < 4


@pytest.mark.parametrize("turn", [0, 37, 90, 180, -128])
@pytest.mark.parametrize("kind", ["tissue", "smear"])
def test_a_field_is_found_however_the_slide_lies(request, turn, kind):
    picture = request.getfixturevalue({"tissue": "slide", "smear": "smear"}[kind])
    mosaic = request.getfixturevalue({"tissue": "tissue", "smear": "blood"}[kind])
    picture, true_um = field(picture, 1100, 1050, seed=turn % 7, rotation_deg=turn)
    with MosaicFinder.open(mosaic) as finder:
        place = finder.find(picture, PHONE_UM)
    assert_at(place, true_um)
    assert (place.rotation_deg - turn + 180) % 360 - 180 == pytest.approx(0, abs=2)
    assert place.scale == pytest.approx(1.015, abs=0.02)
    assert 0.35 < place.score <= 1
    assert place.evidence.agreeing >= 6


def test_a_search_after_another_mosaic_took_the_place_of_one_looks_through_the_new_one(smear, tmp_path):
    capture = SimpleNamespace(position=PositionUm(math.nan, math.nan, 0.0))
    picture, true_um = field(smear, 1000, 900, rotation_deg=20)
    search = Search(write(tmp_path, np.full_like(smear, 230)), None)
    with pytest.raises(RegistrationError):
        searched_placement(capture, picture, PHONE_UM, search)
    write(tmp_path, smear)
    found = searched_placement(capture, picture, PHONE_UM, search).figures
    assert (found["place_x_um"], found["place_y_um"]) == pytest.approx(true_um, abs=4)


@pytest.mark.parametrize("turn", [90, 25])
def test_all_of_a_field_that_lies_turned_may_be_evaluated_within_the_content(blood, smear, turn):
    capture = SimpleNamespace(position=PositionUm(math.nan, math.nan, 0.0))
    picture, true_um = field(smear, 820, 780, rotation_deg=turn, shape=(144, 256), barrel_px=0)
    whole = searched_placement(capture, picture, PHONE_UM, Search(blood, None))
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    size_um = 1.015 * PHONE_UM * np.array((256 * cos + 144 * sin, 256 * sin + 144 * cos))
    assert (whole.cell.width_um, whole.cell.height_um) == pytest.approx(size_um, rel=0.03)
    assert whole.cell.centre_um == pytest.approx(true_um, abs=4)
    content = RegionUm(*true_um, 500.0, 500.0)
    cut = searched_placement(capture, picture, PHONE_UM, Search(blood, content))
    assert cut.cell == content.intersection(whole.cell)


@pytest.mark.parametrize("told", [0.8, 1.25])
def test_a_pixel_size_may_be_wrong_by_a_quarter(blood, smear, told):
    picture, true_um = field(smear, 800, 1100, rotation_deg=200)
    with MosaicFinder.open(blood) as finder:
        place = finder.find(picture, PHONE_UM * told)
    assert_at(place, true_um)
    assert place.scale * told == pytest.approx(1.015, abs=0.02)


@pytest.mark.parametrize("change", [
    lambda image: cv2.GaussianBlur(image, (0, 0), 2.5),
    lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 35])[1], cv2.IMREAD_COLOR),
    lambda image: np.ascontiguousarray(image[..., ::-1] * [0.5, 0.6, 0.9]).astype(np.uint8),
    lambda image: image[..., 1].astype(np.float32) / 255,
    lambda image: image.astype(np.uint16) * 257,
], ids=["out of focus", "a poor JPEG", "other colours", "grey floats", "16 bit"])
def test_a_field_is_found_through_what_a_phone_makes_of_it(blood, smear, change):
    picture, true_um = field(smear, 1000, 900, rotation_deg=-70)
    with MosaicFinder.open(blood) as finder:
        assert_at(finder.find(change(picture), PHONE_UM), true_um)


def test_a_field_at_the_edge_and_over_a_gap_is_found(smear, tmp_path):
    covered = np.ones(smear.shape[:2], bool)
    covered[900:1000, :] = False
    mosaic = write(tmp_path, smear * covered[..., None], covered)
    with MosaicFinder.open(mosaic) as finder:
        picture, true_um = field(smear, 950, 900, rotation_deg=45)
        gap = finder.find(picture, PHONE_UM)
        assert_at(gap, true_um)
        assert gap.evidence.covered < 0.9
    cut = write(tmp_path, np.ascontiguousarray(smear[:, 900:]), name="cut")
    with MosaicFinder.open(cut) as finder:
        edge = finder.find(picture, PHONE_UM)
        assert_at(edge, true_um - (900 * PIXEL_UM, 0))
        assert edge.evidence.covered < 0.7


def glass():
    return np.clip(np.random.default_rng(2).normal(225, 4, (*FIELD, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("make", "verdict", "word"), [
    (lambda _: glass(), "blank", "blank"),
    (lambda _: np.full((*FIELD, 3), 240, np.uint8), "blank", "blank"),
    (lambda _: np.zeros((*FIELD, 3), np.uint8), "blank", "blank"),
    (lambda smear: field(encode_8bit(BloodSmear(9).transmittance(PixelGrid(0, 0, 0.5, 1000, 1000))), 500, 500)[0],
     "not_found", "no place"),
    (lambda smear: field(encode_8bit(StainedTissue(1).transmittance(PixelGrid(0, 0, 0.5, 1000, 1000))), 500, 500)[0],
     "not_found", "no place"),
    (lambda smear: np.ascontiguousarray(field(smear, 900, 900, rotation_deg=30)[0][:, ::-1]), "not_found", "mirror"),
    (lambda smear: np.random.default_rng(0).integers(0, 256, (*FIELD, 3), dtype=np.uint8), "not_found", ""),
    (lambda smear: cv2.GaussianBlur(field(smear, 900, 900)[0], (0, 0), 12), "blank", "out of focus"),
], ids=["noisy glass", "white", "dark", "another smear", "tissue", "mirrored", "noise", "far out of focus"])
def test_what_is_not_in_the_mosaic_is_not_found_and_the_reason_said(blood, smear, make, verdict, word):
    with MosaicFinder.open(blood) as finder:
        place = finder.find(make(smear), PHONE_UM)
    assert place.verdict == verdict
    assert not place.found
    assert place.reason
    assert word in place.reason
    assert place.to_mosaic_um is None
    assert place.centre_um is None


@pytest.fixture(scope="module")
def twice(smear, tmp_path_factory):
    """A mosaic that shows one part at two places, and that part."""
    picture = smear.copy()
    picture[880:1540, 880:1540] = picture[60:720, 60:720]
    return write(tmp_path_factory.mktemp("twice"), picture), picture


def test_two_places_that_look_alike_are_no_answer_unless_one_is_expected(twice):
    mosaic, picture = twice
    asked, true_um = field(picture, 400, 400, rotation_deg=15)
    with MosaicFinder.open(mosaic) as finder:
        place = finder.find(asked, PHONE_UM)
        assert (place.verdict, place.found) == ("ambiguous", False)
        assert "2 places" in place.reason
        assert place.evidence.rival > 0.9 * place.evidence.correlation
        assert_at(finder.find(asked, PHONE_UM, near_um=tuple(true_um + 60)), true_um)
        assert_at(finder.find(asked, PHONE_UM, near_um=tuple(true_um + 410 + 60)), true_um + 410)
        assert finder.find(asked, PHONE_UM, near_um=tuple(true_um + 5000)).verdict == "ambiguous"


@pytest.mark.parametrize("pitch_px", [40, 90])
def test_texture_that_repeats_is_no_place(tmp_path, pitch_px):
    y, x = np.mgrid[:1200, :1200]
    dots = (np.cos(2 * np.pi * x / pitch_px) * np.cos(2 * np.pi * y / pitch_px) > 0.3).astype(np.float32)
    picture = np.repeat((230 - 120 * cv2.GaussianBlur(dots, (0, 0), 3))[..., None], 3, axis=2).astype(np.uint8)
    asked, _ = field(picture, 600, 600)
    with MosaicFinder.open(write(tmp_path, picture)) as finder:
        place = finder.find(asked, PHONE_UM)
    assert not place.found
    assert place.verdict in ("ambiguous", "not_found")


def test_pictures_that_are_none_are_refused(blood):
    with MosaicFinder.open(blood) as finder:
        with pytest.raises(InputImageError, match="at least 96"):
            finder.find(np.zeros((64, 200, 3), np.uint8), PHONE_UM)
        with pytest.raises(InputImageError, match="shape"):
            finder.find(np.zeros((200, 200, 4), np.uint8), PHONE_UM)


def test_the_index_is_made_once_and_kept_beside_the_mosaic(smear, tmp_path):
    mosaic = write(tmp_path, smear)
    steps = []
    with MosaicFinder.open(mosaic, on_progress=steps.append) as first:
        assert first.built_s > 0
        assert first.unsaved == ""
    assert (steps[-1].stage, steps[-1].done) == ("index", steps[-1].total)
    kept = landmarks_path(mosaic).read_bytes()
    with MosaicFinder.open(mosaic) as second:
        assert second.built_s == 0
        np.testing.assert_array_equal(second.index.landmarks.descriptors, first.index.landmarks.descriptors)
    assert landmarks_path(mosaic).read_bytes() == kept


def test_two_that_search_a_mosaic_at_once_make_one_index(smear, tmp_path, monkeypatch):
    mosaic = write(tmp_path, smear)
    made, at_work, met = [], Event(), Event()
    build, acquire = finding.build_index, WriterLock.acquire

    def counted(*given, **options):
        made.append(at_work.set())
        assert met.wait(60)  # until the other one has come to the lock
        return build(*given, **options)

    def meeting(path):
        try:
            return acquire(path)
        except SessionLockedError:
            met.set()
            raise

    monkeypatch.setattr(finding, "build_index", counted)
    monkeypatch.setattr(finding.WriterLock, "acquire", meeting)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(MosaicFinder.open, mosaic)
        assert at_work.wait(60)
        second = pool.submit(MosaicFinder.open, mosaic)
        with first.result() as one, second.result() as other:
            np.testing.assert_array_equal(one.index.landmarks.descriptors, other.index.landmarks.descriptors)
            assert (len(made), one.unsaved, other.unsaved) == (1, "", "")


def test_an_index_of_another_mosaic_is_made_anew(smear, tmp_path):
    MosaicFinder.open(write(tmp_path, smear)).close()
    asked, true_um = field(smear, 900, 1100)
    with MosaicFinder.open(write(tmp_path, np.ascontiguousarray(smear[::-1, ::-1]))) as finder:
        assert finder.built_s > 0
        place = finder.find(asked, PHONE_UM)
    far = np.array(ORIGIN_UM) * 2 + 1599 * PIXEL_UM - true_um
    assert_at(place, far)


@pytest.mark.parametrize("damage", [
    lambda data: data[:len(data) // 2], lambda _data: b"", lambda _data: b"no index" * 100,
    lambda data: data[:-5000] + bytes(byte ^ 0x55 for byte in data[-5000:-4000]) + data[-4000:],
], ids=["truncated", "empty", "foreign", "flipped"])
def test_a_damaged_index_is_made_anew(blood, smear, damage):
    MosaicFinder.open(blood).close()
    target = landmarks_path(blood)
    target.write_bytes(damage(target.read_bytes()))
    asked, true_um = field(smear, 900, 1100)
    with MosaicFinder.open(blood) as finder:
        assert finder.built_s > 0
        assert_at(finder.find(asked, PHONE_UM), true_um)
    with MosaicFinder.open(blood) as finder:
        assert finder.built_s == 0


def test_an_index_that_cannot_be_kept_serves_all_the_same(smear, tmp_path):
    mosaic = write(tmp_path, smear)
    landmarks_path(mosaic).mkdir()
    asked, true_um = field(smear, 900, 1100)
    with MosaicFinder.open(mosaic) as finder:
        assert "can't be written" in finder.unsaved
        assert_at(finder.find(asked, PHONE_UM), true_um)


def test_pairing_tells_once_of_an_index_that_cannot_be_kept(smear, tmp_path, capsys):
    mosaic = write(tmp_path, smear)
    landmarks_path(mosaic).mkdir()
    asked, true_um = field(smear, 900, 1100)
    places = MosaicPlaces(mosaic)
    assert places.place(asked, PHONE_UM) == places.place(asked, PHONE_UM) == pytest.approx(true_um, abs=4)
    assert capsys.readouterr().err.count("the index could not be kept, the next run makes it again") == 1


def test_a_stop_leaves_no_half_index(smear, tmp_path):
    mosaic = write(tmp_path, smear)
    stop = StopToken()
    stop.request()
    with pytest.raises(CancelledError, match="indexing"):
        MosaicFinder.open(mosaic, stop=stop)
    assert [path.name for path in tmp_path.iterdir()] == [mosaic.name]


def test_an_image_file_is_searched_as_a_mosaic_is(smear, tmp_path):
    picture = tmp_path / "slide.ome.tif"
    tifffile.imwrite(picture, smear, tile=(256, 256), photometric="rgb", compression="zlib")
    asked, true_um = field(smear, 700, 1150, rotation_deg=120)
    with pytest.raises(UserError, match="how large its pixels are"):
        MosaicFinder.open(picture)
    with MosaicFinder.open(picture, pixel_size_um=PIXEL_UM) as finder:
        assert_at(finder.find(asked, PHONE_UM), true_um - ORIGIN_UM)
    assert landmarks_path(picture).exists()


def test_a_mosaic_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputFileError):
        MosaicFinder.open(tmp_path / "run.mosaic-slide.h5")
    (tmp_path / "other.h5").write_bytes(b"nothing")
    with pytest.raises(InputFileError):
        MosaicFinder.open(tmp_path / "other.h5")


def test_a_mosaic_opens_by_its_own_path(blood):
    with Mosaic.open_file(blood) as mosaic:
        assert mosaic.slide == "slide"
        assert mosaic.origin_um == ORIGIN_UM
        assert mosaic.digest(0) != mosaic.digest(1)
