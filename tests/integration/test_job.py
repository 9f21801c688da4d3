"""The whole job through the real commands: what each prints and writes, and that nothing is done twice."""

from __future__ import annotations

import base64
import csv
import json
import re

import cv2
import numpy as np
import pytest
import tifffile
import torch
from integration.small_job import SLIDES, STEPS, acquisition, digests, mobilescope

from mobilescope.data.layout import pairs_path
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.learn.evaluate import METHODS

TILES, CAPTURES = 9, 4


def test_scan_and_capture_count_what_the_session_holds(small_job):
    scanned, captured = (small_job.runs[name].json() for name in ("scan", "capture"))
    assert scanned["slides"] == {name: {"tiles": TILES, "captures": 0} for name in SLIDES}
    assert scanned["session"] == "session.h5"
    assert set(scanned["marks"]) == set(SLIDES)
    assert captured["slides"] == {name: {"tiles": TILES, "captures": CAPTURES} for name in SLIDES}


def test_the_twin_is_named_on_every_acquisition(small_job):
    for command in ("scan", "capture"):
        assert "instrument: small twin" in small_job.runs[command].errors


def test_every_capture_records_the_ring_that_lit_it(small_job):
    with Session.open(small_job.folder / "session.h5") as session:
        lights = [capture.light for slide in session.slides for capture in session.captures(slide.name)]
    assert len(lights) == CAPTURES * len(SLIDES)
    for light in lights:
        assert (light.on, light.red, light.green, light.blue, light.brightness) == (True, 255, 255, 255, 1.0)
        assert light.source == "ring of 12 pixels, Arduino Uno or Nano (ATmega328P), firmware 1.0.0"


def test_stitch_reports_every_tile_with_its_mark(small_job):
    told = small_job.runs["stitch"].json()
    assert [tile["slide"] for tile in told["tiles"]] == [slide for slide in SLIDES for _ in range(TILES)]
    assert {tile["mark"] for tile in told["tiles"]} == {"linked"}
    assert all(tile["links"] >= 2 and tile["residual_px"] < 1 for tile in told["tiles"])
    assert set(told["seconds"]) == {"positions", "mosaic"}


def test_stitch_reports_every_slide_with_its_residual(small_job):
    mosaics = small_job.runs["stitch"].json()["mosaics"]
    assert [entry["slide"] for entry in mosaics] == list(SLIDES)
    for entry in mosaics:
        assert entry["tiles"] == TILES
        assert entry["isolated"] == []
        assert 0 <= entry["residual_median_px"] <= entry["residual_max_px"] < 1
        with Mosaic.open(small_job.session, entry["slide"]) as mosaic:
            assert list(mosaic.shape) == entry["shape_px"]


def test_register_accepts_what_it_counts(small_job):
    counted = small_job.runs["register"].json()
    assert counted["accepted"] + counted["refused"] == len(SLIDES) * CAPTURES
    assert counted["accepted"] >= len(SLIDES) * CAPTURES - 2
    with PairStore.open(small_job.folder / counted["pairs"]) as store:
        assert sum(record.accepted for record in store.records) == counted["accepted"]


def test_train_reports_steps_and_validation(small_job):
    trained = small_job.runs["train"].json()
    assert trained["steps"] == trained["best_step"] == STEPS
    assert -1 <= trained["validation_ssim"] <= 1
    assert small_job.model.is_file()


def test_evaluate_scores_every_method_on_the_blind_slide(small_job):
    evaluated = small_job.runs["evaluate"].json()
    assert evaluated["trained_on"] == []
    assert evaluated["fields"] >= CAPTURES - 1
    assert evaluated["methods"] == list(METHODS)
    for method in METHODS:
        for metric, interval in evaluated[method].items():
            if metric == "noise" and interval["count"] < 2:
                continue  # a field may be flat nowhere
            assert interval["low"] <= interval["mean"] <= interval["high"]
            assert interval["count"] == evaluated["fields"] or metric == "noise"
    assert evaluated["raw"]["ssim"]["mean"] < evaluated["bicubic"]["ssim"]["mean"] < evaluated["rl"]["ssim"]["mean"]
    gain = evaluated["network"]["ssim"]["mean"] - evaluated["rl"]["ssim"]["mean"]
    assert evaluated["gain"]["rl"]["ssim"]["mean"] == pytest.approx(gain)
    assert evaluated["colour"]["cie94"]["mean"] < evaluated["bicubic"]["cie94"]["mean"]


def test_the_report_stands_alone_and_says_what_the_json_says(small_job):
    page = (small_job.folder / "report.html").read_text(encoding="utf-8").replace("\u00a0", " ")
    assert not re.search(r"https?://|<link|<script|url\(|@import", page)
    sources = re.findall(r'src="([^"]{0,30})', page)
    # Three fields by six pictures, three mosaics and the training curve.
    assert len(sources) == 3 * 6 + len(SLIDES) + 1
    assert "Computed, not for diagnosis" in page
    assert all(source.startswith("data:image/") for source in sources)
    evaluated = small_job.runs["evaluate"].json()
    for metric, digits in (("ssim", 4), ("ssim_rgb", 4), ("cie94", 3), ("psnr_db", 2), ("detail", 3)):
        for method in METHODS:
            mean, low, high = (f"{evaluated[method][metric][key]:.{digits}f}" for key in ("mean", "low", "high"))
            assert f"<td>{mean} [{low}, {high}]</td>" in page


def test_every_crop_and_mosaic_of_the_report_has_a_scale_bar_as_long_as_it_says(small_job):
    page = (small_job.folder / "report.html").read_text(encoding="utf-8")
    shown = re.findall(r'src="data:image/[a-z]+;base64,([^"]+)" alt="[^"]*"><span class="bar" style="width: ([\d.]+)%">'
                       r"<span>([\d.]+) µm<", page)
    assert len(shown) == 3 * 6 + len(SLIDES)
    with PairStore.open(small_job.folder / "session.pairs.h5") as store:
        pixel_um = store.provenance["label_pixel_um"]
    for picture, percent, length_um in shown[: 3 * 6]:
        columns = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR).shape[1]
        assert float(percent) / 100 * columns * pixel_um == pytest.approx(float(length_um), rel=0.01)
    spans = [float(length_um) / (float(percent) / 100) for _, percent, length_um in shown[3 * 6 :]]
    with Session.open(small_job.folder / "session.h5") as session:
        for slide, span_um in zip(session.slides, spans, strict=True):
            with Mosaic.open(small_job.folder / "session.h5", slide.name) as mosaic:
                assert span_um == pytest.approx(mosaic.shape[1] * mosaic.pixel_size_um, rel=0.02)


def test_the_scores_stand_beside_the_report_as_csv(small_job):
    evaluated = small_job.runs["evaluate"].json()
    with (small_job.folder / "report.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == evaluated["fields"] * len(METHODS)
    for method in METHODS:
        ssim = [float(row["ssim"]) for row in rows if row["method"] == method]
        assert np.mean(ssim) == pytest.approx(evaluated[method]["ssim"]["mean"], abs=1e-5)


def test_scanning_and_capturing_again_take_no_images(small_job, copied_job):
    def contents():
        with Session.open(copied_job / "session.h5") as session:
            return session.digest(), [
                [image.time_s for image in (*session.tiles(name), *session.captures(name))] for name in SLIDES
            ]

    before = contents()
    for command in ("scan", "capture"):
        told = mobilescope(*acquisition(command), folder=copied_job).json()
        assert told["slides"] == small_job.runs["capture"].json()["slides"]
    assert contents() == before


def test_training_again_changes_nothing_and_other_settings_are_refused(small_job, copied_job):
    before = digests(copied_job)
    again = ("train", "session.h5", "--out", "model.pt", "--json", "--steps")
    first, second = small_job.runs["train"].json(), mobilescope(*again, STEPS, folder=copied_job).json()
    assert second | {"seconds": 0} == first | {"seconds": 0}
    after = digests(copied_job)
    assert {name: after[name] for name in ("model.pt", "model.csv")} == {
        name: before[name] for name in ("model.pt", "model.csv")
    }
    other = mobilescope(*again, STEPS + 1, folder=copied_job)
    assert other.status == 2
    assert "other settings" in other.errors
    assert digests(copied_job) == after


def test_a_slide_that_was_trained_on_is_no_blind_slide(small_job, copied_job):
    content = torch.load(small_job.model, weights_only=True)
    card = json.loads(content["card"])
    card["training"]["slides"]["training"].append("third")
    torch.save(content | {"card": json.dumps(card)}, copied_job / "peeked.pt")
    command = ("evaluate", "peeked.pt", "session.h5", "--report", "peeked.html", "--json")
    refused = mobilescope(*command, folder=copied_job)
    assert refused.status == 2
    assert "error: the model was trained on third" in refused.errors
    assert not (copied_job / "peeked.html").exists()
    assert mobilescope(*command, "--force", folder=copied_job).json()["trained_on"] == ["third"]
    assert "Not blind" in (copied_job / "peeked.html").read_text(encoding="utf-8")
    with (copied_job / "peeked.csv").open(newline="", encoding="utf-8") as file:
        assert {row["blind"] for row in csv.DictReader(file)} == {"no"}


def test_enhance_takes_a_picture_a_folder_or_a_session(small_job, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    generator = np.random.default_rng(0)
    cv2.imwrite(str(pictures / "a.png"), generator.integers(0, 256, (61, 90, 3), dtype=np.uint8))
    cv2.imwrite(str(pictures / "b.png"), generator.integers(0, 65536, (64, 64, 3), dtype=np.uint16))
    before = digests(pictures)

    def enhance(source, target):
        return mobilescope("enhance", small_job.model, source, target, "--json", folder=tmp_path)

    assert enhance("pictures/a.png", "one.png").json()["written"] == ["one.png"]
    assert enhance("pictures", "many").json()["written"] == ["many/a.png", "many/b.png"]
    written = enhance(small_job.session, "session").json()["written"]
    one, many, deep = (cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
                       for name in ("one.png", "many/a.png", "many/b.png"))
    assert (one.shape, one.dtype) == ((153, 225, 3), np.uint8)
    np.testing.assert_array_equal(one, many)
    assert (deep.shape, deep.dtype) == ((160, 160, 3), np.uint16)
    assert written == [f"session/{slide}-{index:04d}.png" for slide in SLIDES for index in range(CAPTURES)]
    record = mobilescope("inspect", written[0], "--json", folder=tmp_path).json()["provenance"]
    assert record["settings"]["input_sha256_of"] == "raw frame"
    assert record["settings"]["pixel_size_um"] == pytest.approx(0.925)
    assert enhance(small_job.session, "session").json()["written"] == []
    for name in written:
        assert cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED).shape == (400, 400, 3)
    assert digests(pictures) == before


def test_mosaics_export_as_pyramids_that_other_programs_read(small_job, tmp_path):
    written = mobilescope("export", small_job.session, "--out", "tiffs", "--json", folder=tmp_path).json()["written"]
    assert written == [f"tiffs/{slide}.ome.tif" for slide in SLIDES]
    assert sorted(path.name for path in (tmp_path / "tiffs").iterdir()) == sorted(f"{s}.ome.tif" for s in SLIDES)
    for slide, name in zip(SLIDES, written, strict=True):
        with tifffile.TiffFile(tmp_path / name) as tiff, Mosaic.open(small_job.session, slide) as mosaic:
            assert tiff.is_ome
            levels = tiff.series[0].levels
            assert len(levels) == mosaic.levels > 1
            for number, level in enumerate(levels):
                grid = mosaic.grid(number)
                pixels = mosaic.read(0, 0, grid.rows, grid.columns, number)
                np.testing.assert_array_equal(level.asarray(), pixels)
            image = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
            assert image["Name"] == slide
            assert image["Pixels"]["PhysicalSizeX"] == image["Pixels"]["PhysicalSizeY"] == 0.37
            assert image["Pixels"]["PhysicalSizeXUnit"] == "µm"
            assert image["Pixels"]["Plane"]["PositionX"] == pytest.approx(mosaic.origin_um[0])


def test_pairs_export_as_pictures(small_job, tmp_path):
    run = mobilescope("export", small_job.session, "--kind", "png", "--out", "pairs", "--json", folder=tmp_path)
    written = run.json()["written"]
    with PairStore.open(pairs_path(small_job.session)) as store:
        accepted = [(index, record) for index, record in enumerate(store.records) if record.accepted]
        assert len(written) == 2 * len(accepted)
        for index, record in accepted:
            stem = f"{record.slide}-{record.capture:04d}"
            for name, stored in (("phone", store.input(index)), ("benchtop", store.label(index))):
                picture = cv2.imread(str(tmp_path / "pairs" / f"{stem}-{name}.png"), cv2.IMREAD_UNCHANGED)
                np.testing.assert_array_equal(picture[..., ::-1], stored)
