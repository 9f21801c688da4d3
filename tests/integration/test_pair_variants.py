"""Pairs of either warp, factor and input: what is untouched, what meets what, and what the files say of themselves.

The instruments are the twin's over a stage in software, in this process, so that the truth is at hand.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pair_truth import places_px, registration_errors_px
from twin_sessions import stitched_session

from mobilescope.app.evaluation.origins import developed_captures
from mobilescope.app.pairs import aligning
from mobilescope.app.pairs.aligning import align_capture
from mobilescope.app.pairs.pairing import plan_pairing, register_session, registered_pairs
from mobilescope.app.pictures.developing import develop_capture
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import InputFileError, InputImageError, RegistrationError, UserError
from mobilescope.core.pair_link import PairLink
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.data.variants import PairVariant
from mobilescope.data.writer import SessionWriter
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.jpeg import compress, decompress
from mobilescope.imaging.quality import GateThresholds
from mobilescope.plans.job import GridPlan, JobPlan, SlidePlan

SLIDE = "smear"
FIELDS = 2
PLAN = JobPlan(slides=(
    SlidePlan(
        name=SLIDE, role="training", stain="Giemsa", scan=GridPlan(rows=2, columns=3, overlap=0.1),
        # Fields overlap by a quarter, so that their cells are smaller than what each one shows.
        capture=GridPlan(rows=1, columns=FIELDS, overlap=0.25),
    ),
))


@pytest.fixture(scope="module")
def truth(make_twin):
    """The twin that the session is taken with; its truth stays readable."""
    return make_twin(
        {SLIDE: "blood"}, frame_px=512, phone={"bayer_rows": 384, "bayer_columns": 384, "rotation_deg": 5.0},
    )


@pytest.fixture(scope="module")
def session(truth, tmp_path_factory):
    """A stitched session of two overlapping fields of one slide."""
    return stitched_session(tmp_path_factory.mktemp("variants") / "run.h5", truth, PLAN)


@pytest.fixture(scope="module")
def pair_files(session):
    """The pair files of the session by variant."""
    variants = (PairVariant(), PairVariant("benchtop"), PairVariant("benchtop", jpeg_ratio=21))
    files = {}
    for variant in variants:
        result = register_session(
            session, warp=variant.warp, factor=variant.factor, jpeg_ratio=variant.jpeg_ratio, workers=1
        )
        assert (result.accepted, result.refused) == (FIELDS, 0)
        files[variant] = result.pairs
    return files


def captures_of(session):
    with Session.open(session) as opened:
        return opened.captures(SLIDE)


def grey_pair(pixels, label):
    """Return the luminance of an input, and that of its label as soft and as coarse."""
    low, high = (luminance(to_float(image)) for image in (pixels, label))
    factor = high.shape[0] / low.shape[0]
    soft = cv2.GaussianBlur(high, (0, 0), 0.7 * factor)
    return low, cv2.resize(soft, low.shape[::-1], interpolation=cv2.INTER_AREA)


def correlation(pixels, label):
    low, high = grey_pair(pixels, label)
    inner = np.s_[12:-12, 12:-12]
    return np.corrcoef(low[inner].ravel(), high[inner].ravel())[0, 1]


def test_the_benchtop_warp_leaves_the_phones_pixels_as_they_are(session, pair_files):
    with Session.open(session) as opened, PairStore.open(pair_files[PairVariant("benchtop")]) as store:
        for index, (record, capture) in enumerate(zip(store.records, opened.captures(SLIDE), strict=True)):
            top, left = record.crop_px
            rows, columns = record.shape
            assert rows % 2 == columns % 2 == 0
            # Turned by several degrees, a lattice of the benchtop's could not cover as much.
            assert rows * columns > 0.95 * 192**2
            developed = develop_capture(opened, capture)
            np.testing.assert_array_equal(store.input(index), developed[top : top + rows, left : left + columns])


def test_the_phone_warp_leaves_the_benchtops_pixels_as_they_are(session, pair_files):
    with Mosaic.open(session, SLIDE) as mosaic, PairStore.open(pair_files[PairVariant()]) as store:
        for index, record in enumerate(store.records):
            assert record.crop_px is None
            label = store.label(index)
            left, top = (round(place - 0.75) for place in record.origin_px)
            np.testing.assert_array_equal(label, mosaic.read(top, left, *label.shape[:2]))


@pytest.mark.parametrize("variant", [PairVariant(), PairVariant("benchtop")], ids=lambda variant: variant.warp)
def test_either_map_tells_where_the_phone_truly_looked(session, truth, pair_files, variant):
    with Session.open(session) as opened:
        errors = registration_errors_px(opened, session, truth.truth, SLIDE, pairs=pair_files[variant])
    assert np.median(errors) < 0.1
    assert np.percentile(errors, 95) < 0.3


def test_labels_of_either_warp_show_what_their_input_shows(pair_files):
    found = {}
    for warp in ("phone", "benchtop"):
        with PairStore.open(pair_files[PairVariant(warp)]) as store:
            found[warp] = [correlation(store.input(index), store.label(index)) for index in range(FIELDS)]
            for index in range(FIELDS):
                shift, _ = cv2.phaseCorrelate(*grey_pair(store.input(index), store.label(index)))
                assert np.hypot(*shift) < 0.3
    assert min(found["benchtop"]) > 0.94
    # An input that was resampled has less noise, and so agrees a little better.
    assert min(found["benchtop"]) > min(found["phone"]) - 0.02


@pytest.mark.parametrize("warp", ["phone", "benchtop"])
def test_what_is_evaluated_of_a_field_lies_in_its_own_cell(session, pair_files, warp):
    grid = PLAN.slides[0].capture.grid(384 * 0.4625, 384 * 0.4625)
    with Mosaic.open(session, SLIDE) as mosaic, PairStore.open(pair_files[PairVariant(warp)]) as store:
        for index, (record, position) in enumerate(zip(store.records, grid, strict=True)):
            _, places = places_px(store, index)
            top, bottom, left, right = record.bounds
            stands_um = np.array(mosaic.origin_um) + places[top:bottom, left:right] * mosaic.pixel_size_um
            away_um = np.abs(stands_um - [position.x_um, position.y_um]).max(axis=(0, 1))
            half_cell_um = np.array(grid.pitch_um) / 2
            # The outermost pixels' outer edges lie half a pixel further out, a little more where they are askew.
            assert (away_um + 0.5 * 0.925 <= half_cell_um + 0.01).all()
            # And hardly more than what the field's rotation costs is given away.
            assert (bottom - top) * (right - left) * 0.925**2 > 0.8 * np.prod(grid.pitch_um)


def test_an_input_through_jpeg_is_what_the_decoder_gives(session, pair_files):
    raw, lossy = PairVariant("benchtop"), PairVariant("benchtop", jpeg_ratio=21)
    with (
        Session.open(session) as opened, PairStore.open(pair_files[raw]) as before,
        PairStore.open(pair_files[lossy]) as store,
    ):
        for index, (record, capture) in enumerate(zip(store.records, opened.captures(SLIDE), strict=True)):
            quality = record.quality
            assert quality["jpeg_ratio"] == pytest.approx(21, rel=0.05)
            assert quality["jpeg_bytes"] == pytest.approx(3 * 192 * 192 / quality["jpeg_ratio"])
            eight_bits = np.round(develop_capture(opened, capture) / 257).astype(np.uint8)
            decoded = decompress(compress(eight_bits, int(quality["jpeg_quality"])))
            (top, left), (rows, columns) = record.crop_px, record.shape
            seen = decoded[top : top + rows, left : left + columns] * np.uint16(257)
            np.testing.assert_array_equal(store.input(index), seen)
            assert correlation(store.input(index), store.label(index)) > 0.94
            assert "jpeg_bytes" not in before.records[index].quality


def test_the_file_says_how_its_pairs_were_made_and_from_what(session, pair_files):
    with Session.open(session) as opened:
        digest = opened.digest()
    made = {
        PairVariant(): {"warp": "phone", "input": "raw", "jpeg_ratio": None, "input_pixel_um": 0.925},
        PairVariant("benchtop"): {"warp": "benchtop", "input": "raw", "jpeg_ratio": None, "input_pixel_um": 0.925},
        PairVariant("benchtop", jpeg_ratio=21): {"warp": "benchtop", "input": "jpeg", "jpeg_ratio": 21},
    }
    for variant, expected in made.items():
        with PairStore.open(pair_files[variant]) as store:
            assert store.provenance.items() >= (expected | {
                "factor": 2.5, "session": "run.h5", "session_digest": digest, "stains": {SLIDE: "Giemsa"},
                "phone_half_pitch_um": 0.9, "instrument": "a twin",
            }).items()
            assert store.provenance["label_pixel_um"] == pytest.approx(0.37)
            assert {record.warp for record in store.records} == {variant.warp}


@pytest.mark.parametrize("warp", ["phone", "benchtop"])
@pytest.mark.parametrize("factor", [1, 1.5, 2, 3])
def test_pairs_of_every_factor_meet(session, warp, factor):
    variant = PairVariant(warp, factor)
    pair = align_capture(session, captures_of(session)[0], None, variant, GateThresholds())
    assert pair.accepted
    rows, columns = pair.input.shape[:2]
    assert rows % 2 == columns % 2 == 0
    assert pair.label.shape == (rows * factor, columns * factor, 3)
    assert correlation(pair.input, pair.label) > 0.94


def test_pixel_sizes_follow_the_factor(session, tmp_path):
    for warp, sizes_um in (("phone", (0.37, 0.555)), ("benchtop", (0.925 / 1.5, 0.925))):
        result = register_session(session, warp=warp, factor=1.5, out=tmp_path / f"{warp}.h5", workers=1)
        with PairStore.open(result.pairs) as store:
            provenance = store.provenance
            assert (store.factor, store.step_px) == (1.5, 2)
            assert len(store.patches("training", 48, 24)) > 0
        assert (provenance["label_pixel_um"], provenance["input_pixel_um"]) == pytest.approx(sizes_um)


@pytest.mark.parametrize("variant", [PairVariant(), PairVariant("benchtop"), PairVariant("phone", 2, 21)])
def test_a_capture_that_is_not_found_is_kept_with_its_reason(session, variant):
    capture = captures_of(session)[0]
    astray = replace(capture, position=replace(capture.position, x_um=5000.0))
    pair = align_capture(session, astray, None, variant, GateThresholds())
    assert not pair.accepted
    assert "outside the mosaic" in pair.reason
    assert pair.input.shape == (192, 192, 3)
    assert pair.label.shape == (192 * variant.factor, 192 * variant.factor, 3)
    assert pair.window == (0, 0, 0, 0)
    assert ("jpeg_bytes" in pair.quality) == (variant.jpeg_ratio is not None)


@pytest.mark.parametrize("warp", ["phone", "benchtop"])
def test_a_field_that_can_not_be_registered_is_kept_beside_what_nominally_lies_there(session, monkeypatch, warp):
    def fail(*_, **__):
        raise RegistrationError("nothing agrees")

    monkeypatch.setattr(aligning, "register", fail)
    capture = captures_of(session)[0]
    pair = align_capture(session, capture, None, PairVariant(warp), GateThresholds())
    assert (pair.accepted, pair.reason) == (False, "nothing agrees")
    with Mosaic.open(session, SLIDE) as mosaic:
        middle_um = np.array(pair.origin_px) * mosaic.pixel_size_um + mosaic.origin_um + 95.5 * 0.925
        np.testing.assert_allclose(middle_um, [capture.position.x_um, capture.position.y_um], atol=0.2)
        left, top = (round(place - 0.75) for place in pair.origin_px)
        np.testing.assert_array_equal(pair.label, mosaic.read(top, left, 480, 480))


def test_training_and_evaluation_take_a_session_or_a_pair_file(session, pair_files):
    benchtop = pair_files[PairVariant("benchtop")]
    assert registered_pairs(session) == pair_files[PairVariant()] == session.with_name("run.pairs.h5")
    assert registered_pairs(benchtop) == benchtop == session.with_name("run.pairs-benchtop.h5")
    with pytest.raises(InputFileError, match="mobilescope-mosaic"):
        registered_pairs(session.with_name(f"run.mosaic-{SLIDE}.h5"))


def test_the_command_makes_a_variant_and_inspect_tells_of_it(session, command, tmp_path):
    target = tmp_path / "new" / "mine.h5"
    options = ("--warp", "benchtop", "--factor", "2", "--jpeg-ratio", "10", "--out", target, "--json")
    options += ("--white-balance", "1.2,0.8,1.4")
    status, output, _ = command("register", session, *options)
    assert status == 0
    assert json.loads(output) == {
        "pairs": str(target), "accepted": FIELDS, "refused": 0, "searched": 0, "warp": "benchtop", "factor": 2.0,
        "jpeg_ratio": 10.0,
        "development": {"white_balance": [1.2, 0.8, 1.4], "crops": "whole", "defects": True, "flat_field": True},
    }
    status, output, said = command("inspect", target, "--json")
    facts = json.loads(output)
    assert status == 0
    assert facts["provenance"]["factor"] == 2.0
    assert facts["provenance"]["development"]["gains"] == [1.2, 0.8, 1.4]
    assert facts["provenance"]["stains"] == {SLIDE: "Giemsa"}
    assert facts["jpeg"]["mean_ratio"] == pytest.approx(10, rel=0.1)
    assert "warp: benchtop" in said


def test_inspect_names_the_pair_files_beside_a_session(session, pair_files, command):
    status, output, _ = command("inspect", session, "--json")
    assert status == 0
    assert json.loads(output)["pair_files"] == sorted(path.name for path in pair_files.values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--factor", "2.7182"), "small whole numbers"),
        (("--factor", "0.5"), "from 1 to 16"),
        (("--jpeg-ratio", "1"), "above 1"),
        (("--jpeg-ratio", "nan"), "above 1"),
        (("--out", "SESSION"), "no file of pairs"),
    ],
)
def test_what_can_not_be_made_is_refused_and_nothing_is_lost(session, command, options, words):
    before = session.read_bytes()
    arguments = [session if part == "SESSION" else part for part in options]
    status, output, said = command("register", session, *arguments)
    assert (status, output) == (2, "")
    (line,) = said.splitlines()
    assert words in line
    assert session.read_bytes() == before


def test_a_session_without_captures_can_not_be_registered(session, tmp_path):
    with Session.open(session) as opened:
        header = opened.header
    empty = tmp_path / "empty.h5"
    with SessionWriter.create_or_resume(empty, header):
        pass
    with pytest.raises(UserError, match="no phone captures"):
        register_session(empty)


def test_crops_are_compared_apart_and_know_where_they_lie(session, truth, tmp_path):
    result = register_session(
        session, warp="benchtop", development=DevelopmentConfig(crops="square"), out=tmp_path / "crops.h5", workers=1
    )
    assert (result.accepted, result.refused) == (4 * FIELDS, 0)
    with Session.open(session) as opened, PairStore.open(result.pairs) as store:
        assert store.provenance["development"]["crops"] == "square"
        assert [(record.capture, record.row, record.column) for record in store.records] == [
            (field, row, 2 * field + column) for field in range(FIELDS) for row in (0, 1) for column in (0, 1)
        ]
        errors = registration_errors_px(opened, session, truth.truth, SLIDE, pairs=result.pairs)
        assert np.median(errors) < 0.3
        assert np.percentile(errors, 95) < 0.6
        evaluated = np.zeros((3000, 3000), np.uint8)
        for index, record in enumerate(store.records):
            (top, left), (rows, columns) = record.crop_px, record.shape
            developed = develop_capture(opened, captures_of(session)[record.capture])
            np.testing.assert_array_equal(store.input(index), developed[top : top + rows, left : left + columns])
            _, places = places_px(store, index)
            top, bottom, left, right = record.bounds
            x, y = np.round(places[top:bottom, left:right]).astype(int).reshape(-1, 2).T
            evaluated[y, x] += 1
        # No place of the slide is evaluated twice; the cells of fields that overlap leave some crops too little.
        assert evaluated.max() == 1
        assert evaluated.sum() > FIELDS * 2 * 64**2


def test_the_map_of_a_crop_leads_into_the_whole_capture(session):
    variant = PairVariant(development=DevelopmentConfig(crops="square"))
    last = align_capture(session, replace(captures_of(session)[0], part=3), None, variant, GateThresholds())
    assert last.accepted
    places = last.map_xy.reshape(-1, 2)
    assert (places.min(axis=0) >= 96).all()
    assert (places.max(axis=0) <= 191).all()
    assert last.capture.position.x_um == captures_of(session)[0].position.x_um + 48 * 0.925


@pytest.mark.parametrize("x_um", [5000.0, np.nan], ids=["astray", "nowhere"])
def test_a_crop_that_is_not_found_tells_where_it_was_cut(session, x_um):
    capture = captures_of(session)[0]
    astray = replace(capture, part=3, position=replace(capture.position, x_um=x_um))
    variant = PairVariant("benchtop", development=DevelopmentConfig(crops="square"))
    pair = align_capture(session, astray, None, variant, GateThresholds())
    assert (pair.accepted, pair.crop_px) == (False, (96, 96))
    with Session.open(session) as opened:
        np.testing.assert_array_equal(pair.input, develop_capture(opened, capture)[96:, 96:])


def test_a_session_of_which_only_some_captures_are_raw_is_told(session, truth, tmp_path):
    mixed = tmp_path / "mixed.h5"
    with Session.open(session) as opened, SessionWriter.create_or_resume(mixed, opened.header) as writer:
        for index, capture in enumerate(opened.captures(SLIDE)):
            taken = truth.phone.capture(capture.position.x_um, capture.position.y_um)
            if index == 0:
                taken = replace(taken, bayer=None, cfa="", black_level=0, white_level=255)
            writer.add_phone_capture(SLIDE, index, 0, index, taken)
    shutil.copy(session.with_name(f"run.mosaic-{SLIDE}.h5"), tmp_path / f"mixed.mosaic-{SLIDE}.h5")
    with pytest.warns(RuntimeWarning, match="1 of 2 captures of .* have no raw picture"):
        plan = plan_pairing(mixed, PairVariant(), GateThresholds())
    assert plan.provenance["input"] == "raw + jpeg"


def test_a_capture_of_a_paired_session_is_looked_for_as_it_lies_turned(make_twin, tmp_path):
    # The camera stands across the stage, and its field is much longer than wide.
    phone = {"bayer_rows": 320, "bayer_columns": 648, "frame_turn_deg": 90.0, "rotation_deg": 0.5}
    plan = JobPlan(slides=(PLAN.slides[0].model_copy(update={"capture": GridPlan(rows=1, columns=1, overlap=0)}),))
    path = stitched_session(tmp_path / "run.h5", make_twin({SLIDE: "blood"}, frame_px=512, phone=phone), plan)
    link = PairLink(
        slide=SLIDE, index=0, row=0, column=0, time_s=0.0, phone_um=(0.0, 0.0), planned_um=(0.0, 0.0),
        found_um=(0.0, 0.0), picture_to_um=(0.0, -0.925, 74.0, 0.925, 0.0, -150.0), link=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        link_residual_um=1.0, link_points=3, verdict="accepted", reason="", quality={}, source="mosaic",
        tiles=((0, 0),), attempts=1, seconds=1.0, run=0,
    )
    with Session.open(path) as opened:
        header = opened.header
    with SessionWriter.create_or_resume(path, header) as writer:
        writer.add_pair_link(link)
    result = register_session(path, warp="benchtop", search=False, workers=1)
    assert result.accepted == 1
    with PairStore.open(result.pairs) as store:
        rows, columns = store.records[0].shape
    assert rows * columns > 0.95 * 160 * 324
    variant = PairVariant(development=DevelopmentConfig(crops="square"))
    _, capture = plan_pairing(path, variant, GateThresholds()).jobs[3]
    place = align_capture(path, capture, None, variant, GateThresholds(), turn_deg=90).capture.position
    assert (place.x_um, place.y_um) == pytest.approx((-40 * 0.925, 40 * 0.925))


def test_another_white_balance_needs_no_new_capture_and_stands_in_the_file(session, pair_files, tmp_path):
    with Session.open(session) as opened:
        before = opened.digest()
    gains = (0.55, 0.8, 1.35)
    result = register_session(
        session, development=DevelopmentConfig(white_balance=gains), out=tmp_path / "numbers.h5", workers=1
    )
    assert result.accepted == FIELDS
    means = {}
    for path in (pair_files[PairVariant()], result.pairs):
        with PairStore.open(path) as store:
            means[path] = to_float(store.input(0)).mean(axis=(0, 1))
            development, record = store.provenance["development"], store.records[0]
    camera, numbers = means.values()
    assert numbers[0] < 0.8 * camera[0]
    np.testing.assert_allclose(numbers[1:], camera[1:], atol=0.01)
    assert (development["settings"]["white_balance"], development["gains"]) == (list(gains), list(gains))
    with developed_captures(session, result.pairs) as develop, Session.open(session) as opened:
        expected = develop_capture(opened, captures_of(session)[0], DevelopmentConfig(white_balance=gains))
        np.testing.assert_array_equal(develop(record), expected)
        assert opened.digest() == before


def test_crops_that_the_picture_is_too_small_for_are_refused(session):
    with pytest.raises(InputImageError, match="192x192 has no central 2048x2048"):
        register_session(session, development=DevelopmentConfig(crops="r18"), workers=1)
