"""Registration of captures whose place is not known, and of a field in an image that is far larger than it."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from phone_pairs import PhoneModel, phone_pair, read_rgb

from mobilescope.acquire.scan import scan_slide, take_flat_fields
from mobilescope.app.cli import main
from mobilescope.app.mosaics.mosaicking import stitch_slide
from mobilescope.app.pairs.pairing import register_session
from mobilescope.core.protocols import PositionUm
from mobilescope.data.landmark_file import landmarks_path
from mobilescope.data.layout import mosaic_path
from mobilescope.data.pairs import PairStore
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.writer import SessionWriter
from mobilescope.plans.job import GridPlan, JobPlan, SlidePlan

SLIDE = "smear"
PLAN = JobPlan(slides=(
    SlidePlan(
        name=SLIDE, role="training", stain="Giemsa", scan=GridPlan(rows=2, columns=3, overlap=0.1),
        capture=GridPlan(rows=1, columns=1, overlap=0), content_um=(-260, -180, 520, 360),
    ),
))
# What each capture shows, and where it says that it was taken.
AT_ITS_PLACE, NOWHERE, ELSEWHERE, TURNED, FOREIGN, BLANK = range(6)
TRUE_UM = {AT_ITS_PLACE: (0, 0), NOWHERE: (150, -70), ELSEWHERE: (-150, 70), TURNED: (140, 75)}


@pytest.fixture(scope="module")
def taken(make_twin, tmp_path_factory):
    """A stitched session of captures with and without their places, and the truth."""
    twin = make_twin({SLIDE: "blood", "other": "h&e"}, frame_px=512, phone={
        "bayer_rows": 384, "bayer_columns": 384, "rotation_deg": 0.5,
    })
    path = tmp_path_factory.mktemp("searching") / "run.h5"
    header = SessionHeader(
        slides=(SlideEntry(name=SLIDE, role="training"),),
        instrument={"instrument": {"name": "a twin"}, "plan": PLAN.model_dump(mode="json")},
        benchtop_shape=twin.benchtop.frame_shape, phone_shape=twin.phone.frame_shape,
    )
    (slide,) = PLAN.slides
    twin.phone.illuminator.set_colour(255, 255, 255)
    with SessionWriter.create_or_resume(path, header) as writer:
        take_flat_fields(twin.benchtop, writer, "blank")
        rows, columns = twin.benchtop.frame_shape
        pixel = twin.benchtop.pixel_size_um
        scan_slide(twin.benchtop, writer, SLIDE, slide.scan.grid(columns * pixel, rows * pixel))

        def add(index, where, said, slide=SLIDE, turned=False):
            twin.phone.mount(slide)
            capture = replace(twin.phone.capture(*where), nominal=PositionUm(*said, 0.0))
            if turned:  # the slide lies the other way round
                capture = replace(
                    capture, bayer=np.ascontiguousarray(capture.bayer[::-1, ::-1]), cfa=capture.cfa[::-1]
                )
            writer.add_phone_capture(SLIDE, index, 0, index, capture)

        unknown = math.nan, math.nan
        add(AT_ITS_PLACE, TRUE_UM[AT_ITS_PLACE], TRUE_UM[AT_ITS_PLACE])
        add(NOWHERE, TRUE_UM[NOWHERE], unknown)
        add(ELSEWHERE, TRUE_UM[ELSEWHERE], (160, -80))
        add(TURNED, TRUE_UM[TURNED], unknown, turned=True)
        add(FOREIGN, (0, 0), (50, 20), slide="other")
        add(BLANK, (0, 0), unknown, slide="blank")
    stitch_slide(path, SLIDE)
    return path


def records(path):
    with PairStore.open(path) as store:
        return {record.capture: record for record in store.records}, store.provenance


@pytest.fixture(scope="module")
def registered(taken):
    """What came of it, and its pairs by capture with their provenance."""
    result = register_session(taken, workers=1)
    return result, *records(result.pairs)


def test_captures_are_registered_where_the_mosaic_shows_them(registered):
    result, found, provenance = registered
    assert [index for index, record in sorted(found.items()) if record.accepted] == list(TRUE_UM), {
        index: record.reason for index, record in found.items()
    }
    assert (result.accepted, result.refused, result.searched) == (4, 2, 3)
    assert "landmarks" in provenance["places"]
    assert "place_x_um" not in found[AT_ITS_PLACE].quality
    for index in (NOWHERE, ELSEWHERE, TURNED):
        quality = found[index].quality
        off_um = math.dist((quality["place_x_um"], quality["place_y_um"]), TRUE_UM[index])
        assert off_um < 25, (index, off_um)  # the twin's stage and phone are off by some micrometres
        assert quality["residual_median_px"] < 0.3
        assert quality["place_landmarks"] >= 6
        top, bottom, left, right = found[index].bounds
        assert min(bottom - top, right - left) >= 64
    assert abs(found[TURNED].quality["place_rotation_deg"]) > 170


def test_no_place_of_the_slide_is_evaluated_twice(registered):
    """The captures without their places overlap with each other, and with the one that the plan has."""
    result, found, _ = registered
    with PairStore.open(result.pairs) as store:
        half = store.factor / 2
        seen = np.zeros((1200, 1700), np.uint8)
        for index in TRUE_UM:
            (x, y), (top, bottom, left, right) = found[index].origin_px, found[index].bounds
            edges = [round(value) for value in (
                y - half + top * store.factor, y - half + bottom * store.factor, x - half + left * store.factor,
                x - half + right * store.factor,
            )]
            seen[edges[0]:edges[1], edges[2]:edges[3]] += 1
    assert seen.max() == 1
    rows, columns = found[NOWHERE].shape
    top, bottom, left, right = found[NOWHERE].bounds
    assert (bottom - top) * (right - left) > 0.5 * rows * columns


def test_what_the_mosaic_does_not_show_is_refused_with_both_reasons(registered):
    _, found, _ = registered
    assert "was not found in the benchtop window" in found[FOREIGN].reason
    assert "in the whole mosaic: no place in the mosaic shows this field" in found[FOREIGN].reason
    assert "blank" in found[BLANK].reason
    assert not any("place_x_um" in found[index].quality for index in (FOREIGN, BLANK))


def test_without_a_search_a_capture_without_a_place_is_refused_and_no_index_made(taken, capsys, monkeypatch):
    landmarks_path(mosaic_path(taken, SLIDE)).unlink(missing_ok=True)
    monkeypatch.setattr(sys, "argv", ["mobilescope", "register", str(taken), "--no-search", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["accepted"], told["refused"], told["searched"]) == (1, 5, 0)
    found, provenance = records(taken.with_name("run.pairs.h5"))
    assert "position is not known" in found[NOWHERE].reason
    assert "in the whole mosaic" not in found[ELSEWHERE].reason
    assert provenance["places"] == "nominal"
    assert not landmarks_path(mosaic_path(taken, SLIDE)).exists()


def test_an_index_that_can_not_be_kept_is_told_once(taken, capsys, monkeypatch, tmp_path):
    in_the_way = landmarks_path(mosaic_path(taken, SLIDE))
    in_the_way.unlink(missing_ok=True)
    in_the_way.mkdir()
    out = tmp_path / "pairs.h5"
    monkeypatch.setattr(sys, "argv", ["mobilescope", "register", str(taken), "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    in_the_way.rmdir()
    said = capsys.readouterr().err
    assert ended.value.code in (0, None)
    assert "4 pairs accepted (3 found by searching the mosaic)" in said
    assert said.count("warning:") == said.count("could not be kept, each search makes it again") == 1


@pytest.fixture(scope="module")
def slide():
    return np.ascontiguousarray(read_rgb("wsi/cmu1_small_region.svs")[:2000, :2000])


def told(capsys, monkeypatch, status, *arguments):
    monkeypatch.setattr(sys, "argv", ["mobilescope", "register", *map(str, arguments), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    return json.loads(capsys.readouterr().out)


def test_a_field_is_registered_with_a_far_larger_image(slide, tmp_path, capsys, monkeypatch):
    # Its top right quarter, away from the middle.
    pair = phone_pair(np.ascontiguousarray(slide[:1000, 1000:]), (200, 200), PhoneModel(rotation_deg=160), 1)
    phone, fixed, out = tmp_path / "phone.png", tmp_path / "slide.png", tmp_path / "map.npz"
    cv2.imwrite(str(phone), pair.moving[..., ::-1])
    cv2.imwrite(str(fixed), slide[..., ::-1])
    sizes = ("--moving-pixel-um", 1.25, "--fixed-pixel-um", 0.5)
    facts = told(capsys, monkeypatch, 0, phone, fixed, *sizes, "--map", out)
    assert facts["accepted"] is True
    with np.load(out) as stored:
        off = stored["map_yx"] - pair.truth_yx - np.array((0, 1000))
        error_px = np.linalg.norm(off, axis=-1)[stored["supported"]] / 2.5
        place = json.loads(str(stored["record"]))["place"]
    assert np.median(error_px) < 0.15
    assert place["column_px"] == pytest.approx(1500, abs=20)
    assert landmarks_path(fixed).exists()

    out.unlink()
    for change, word in ((read_rgb("he_monuseg_train/mr_A7-A13E.tif")[:200, :200], "no place"),
                         (pair.moving[:, ::-1], "mirror"), (np.full_like(pair.moving, 230), "blank")):
        cv2.imwrite(str(phone), np.ascontiguousarray(change[..., ::-1]))
        facts = told(capsys, monkeypatch, 3, phone, fixed, *sizes, "--map", out)
        assert facts["accepted"] is False
        assert word in facts["reason"]
        assert not out.exists()
