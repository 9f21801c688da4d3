"""Files of any kind and size are enhanced with a record of how, once, and what can't be is named."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from small_models import save_small_model

from mobilescope.app.enhancement.enhancing import EnhanceOptions, enhance_path
from mobilescope.app.inspection.inspecting import describe
from mobilescope.app.pictures.images import read_rgb, write_rgb
from mobilescope.core.errors import CancelledError, DiskSpaceError, InputImageError, OutputError, UserError
from mobilescope.core.progress import StopToken
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.provenance import LABEL
from mobilescope.enhance.quantising import Agreement
from mobilescope.enhance.refeeding import enhance_twice
from mobilescope.enhance.torch_engine import TorchEngine
from mobilescope.learn.checkpoint import load_model
from mobilescope.learn.refeed import refeed

PLAIN = EnhanceOptions(device="cpu", precision="fp32", engine="torch")
PITCH_UM = 0.925
LASER = Path(__file__).resolve().parents[3] / "shared" / "data" / "raw" / "laser_test.dng"


@pytest.fixture
def model(tmp_path):
    return save_small_model(tmp_path / "model.pt")


def picture(rows=70, columns=90, seed=0):
    """Return a smooth picture with something to see everywhere."""
    down, across = np.mgrid[:rows, :columns] / 9
    waves = [0.5 + 0.3 * np.sin(down + seed) * np.cos(across * (1 + channel / 5)) for channel in range(3)]
    return np.round(255 * np.stack(waves, axis=-1)).astype(np.uint8)


def save(path, image=None, **options):
    image = picture() if image is None else image
    if path.suffix == ".tif":
        tifffile.imwrite(path, image, photometric="rgb" if image.ndim == 3 else "minisblack", **options)
    else:
        write_rgb(path, image)
    return path


def resolution(pitch_um):
    return {"resolution": (1e4 / pitch_um, 1e4 / pitch_um), "resolutionunit": "CENTIMETER"}


def enhance(model, source, target, options=PLAIN, **changes):
    return enhance_path(model, source, target, EnhanceOptions(**(vars(options) | changes)))


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.tif", "out.ome.tif"])
def test_every_output_says_what_made_it(model, tmp_path, name):
    source = save(tmp_path / "in.png")
    (done,) = enhance(model, source, tmp_path / name).done
    facts = describe(tmp_path / name)
    record = facts["provenance"]
    assert record["label"] == LABEL == "computed image, not for diagnosis"
    assert record["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert record["input_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert record["settings"]["input_sha256_of"] == "file"
    assert record["settings"]["engine"] == done.engine
    assert (record["trust"]["state"], record["trust"]["reasons"]) == (done.state, list(done.reasons))
    assert (facts["rows"], facts["columns"]) == (175, 225)
    assert facts["pixel_size_um"] == pytest.approx(0.37)


def test_a_pyramid_is_the_picture_written_whole(model, tmp_path):
    source = save(tmp_path / "in.png", picture(150, 211))
    enhance(model, source, tmp_path / "whole.tif")
    enhance(model, source, tmp_path / "parts.ome.tif", tile_px=32)
    whole, parts = read_rgb(tmp_path / "whole.tif"), read_rgb(tmp_path / "parts.ome.tif")
    assert np.abs(whole.astype(int) - parts).max() <= 1  # one in 1e5 values may round the other way
    assert np.mean(whole == parts) > 0.999


@pytest.mark.parametrize("options", [
    {"tile": (64, 64)}, {"tile": (64, 64), "compression": "zlib"}, {"rowsperstrip": 10}, {"planarconfig": "separate"},
])
def test_slides_of_any_layout_give_the_same(model, tmp_path, options):
    image = picture(150, 211)
    planar = options.get("planarconfig") == "separate"
    source = save(tmp_path / "in.tif", np.moveaxis(image, 2, 0) if planar else image, **options)
    enhance(model, save(tmp_path / "in.png", image), tmp_path / "one.ome.tif", tile_px=32)
    enhance(model, source, tmp_path / "other.ome.tif", tile_px=32)
    np.testing.assert_array_equal(read_rgb(tmp_path / "one.ome.tif"), read_rgb(tmp_path / "other.ome.tif"))


def test_memory_does_not_grow_with_the_rows_of_a_slide(model, tmp_path):
    """Held whole, the output of the longer slide would take 81 MB more."""
    for name, rows in (("short", 6000), ("long", 24_000)):
        band = picture(240, 240)
        tifffile.imwrite(
            tmp_path / f"{name}.tif", (band for _ in range(-(-rows // 240))), shape=(rows, 240, 3), dtype=np.uint8,
            tile=(240, 240), photometric="rgb",
        )
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from mobilescope.app.enhancement.enhancing import EnhanceOptions, enhance_path\n"
        "options = EnhanceOptions(device='cpu', precision='fp32', engine='torch', tile_px=256)\n"
        "folder = Path(sys.argv[1])\n"
        "for name in ('short', 'long'):\n"
        "    enhance_path(folder / 'model.pt', folder / f'{name}.tif', folder / f'{name}.ome.tif', options)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    run = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    short, long = map(int, run.stdout.split())
    assert long - short < 30_000
    assert read_rgb(tmp_path / "short.ome.tif").shape == (15_000, 600, 3)
    with tifffile.TiffFile(tmp_path / "long.ome.tif") as tiff:
        assert tiff.series[0].shape == (60_000, 600, 3)


def test_a_slide_stopped_half_way_leaves_nothing(model, tmp_path):
    source, stop = save(tmp_path / "in.tif", picture(300, 300), tile=(64, 64)), StopToken()

    def listen(progress):
        if progress.done > progress.total / 2:
            stop.request()

    with pytest.raises(CancelledError):
        enhance_path(
            model, source, tmp_path / "out" / "slide.ome.tif", EnhanceOptions(**(vars(PLAIN) | {"tile_px": 32})),
            on_progress=listen, stop=stop,
        )
    assert list((tmp_path / "out").iterdir()) == []


# Pixel sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pitch_um", "state"), [(0.925, "trusted"), (1.05, "caution"), (1.8, "not for use")])
def test_what_a_file_says_of_its_pixels_is_judged(model, tmp_path, pitch_um, state):
    source = save(tmp_path / "in.tif", **resolution(pitch_um))
    (done,) = enhance(model, source, tmp_path / "out.tif").done
    about_pixels = [reason for reason in done.reasons if "sampled at" in reason]
    assert bool(about_pixels) == (state != "trusted")
    record = describe(tmp_path / "out.tif")["provenance"]
    assert record["settings"]["pixel_size_from"] == "input"
    assert record["settings"]["output_pixel_size_um"] == pytest.approx(pitch_um / 2.5)
    if state == "not for use":
        assert done.state == state


@pytest.mark.parametrize("pitch_um", [0.25, 2.0])
def test_pixels_far_from_the_models_are_refused_unless_forced(model, tmp_path, pitch_um):
    source = save(tmp_path / "in.tif", **resolution(pitch_um))
    with pytest.raises(InputImageError, match=rf"in\.tif.*{pitch_um:g} µm.*0\.925 µm"):
        enhance(model, source, tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()
    (done,) = enhance(model, source, tmp_path / "out.tif", force=True).done
    assert done.state == "not for use"
    assert describe(tmp_path / "out.tif")["provenance"]["settings"]["forced"] is True


def test_the_option_stands_above_the_file(model, tmp_path):
    source = save(tmp_path / "in.tif", **resolution(0.25))
    enhance(model, source, tmp_path / "out.tif", pixel_size_um=PITCH_UM)
    settings = describe(tmp_path / "out.tif")["provenance"]["settings"]
    assert (settings["pixel_size_um"], settings["pixel_size_from"]) == (PITCH_UM, "option")
    with pytest.raises(InputImageError, match="5 µm"):
        enhance(model, save(tmp_path / "plain.png"), tmp_path / "out.png", pixel_size_um=5.0)


# Once is enough ---------------------------------------------------------------------------------------------------


def test_what_was_done_before_is_not_done_again(model, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(3):
        save(source / f"{number}.png", picture(seed=number))
    assert [each.skipped for each in enhance(model, source, target).done] == [False] * 3
    before = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    save(source / "1.png", picture(seed=7))
    (target / "2.png").write_bytes(b"half a picture")
    again = enhance(model, source, target).done
    assert [each.skipped for each in again] == [True, False, False]
    assert again[0].state == describe(target / "0.png")["provenance"]["trust"]["state"]
    assert (target / "0.png").stat().st_mtime_ns == before["0.png"]
    assert [each.skipped for each in enhance(model, source, target, again=True).done] == [False] * 3


@pytest.mark.parametrize("change", ["model", "engine", "pixel size"])
def test_another_model_engine_or_pixel_size_is_another_result(model, tmp_path, change):
    source, target = save(tmp_path / "in.png"), tmp_path / "out.png"
    enhance(model, source, target)
    assert enhance(model, source, target).done[0].skipped
    options = {}
    if change == "model":
        save_small_model(model, seed=4)
    else:
        options = {"engine": {"engine": "openvino"}, "pixel size": {"pixel_size_um": 1.0}}[change]
    assert not enhance(model, source, target, **options).done[0].skipped
    assert enhance(model, source, target, **options).done[0].skipped


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.tif"])
def test_a_picture_that_is_no_earlier_result_is_not_replaced(model, tmp_path, name):
    """`enhance model.pt *.png` names the second of two captures as the output of the first."""
    first, second = save(tmp_path / "a.png"), save(tmp_path / name, picture(seed=5))
    before = second.read_bytes()
    with pytest.raises(OutputError, match="not made by enhance"):
        enhance(model, first, second, again=True)
    assert second.read_bytes() == before


# Folders ----------------------------------------------------------------------------------------------------------


def test_bad_files_among_others_are_listed_and_the_others_done(model, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    save(source / "a.png")
    (source / "b.png").write_bytes(b"")
    (source / "c.jpg").write_bytes((save(tmp_path / "whole.jpg")).read_bytes()[:900])
    save(source / "d.tif", np.full((20, 20, 3), np.nan, np.float32))
    save(source / "e.tif", **resolution(0.2))
    save(source / "f.tif", **resolution(PITCH_UM))
    result = enhance(model, source, target)
    assert [Path(each.source).name for each in result.done] == ["a.png", "f.tif"]
    assert [Path(each.source).name for each in result.failed] == ["b.png", "c.jpg", "d.tif", "e.tif"]
    for failure, word in zip(result.failed, ("empty", "truncated", "NaN", "0.2 µm"), strict=True):
        assert word in str(failure.error)
        assert failure.source in str(failure.error)
    assert sorted(path.name for path in target.iterdir()) == ["a.png", "f.png"]


def test_a_picture_that_goes_while_others_are_done_does_not_end_the_folder(model, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in "abc":
        save(source / f"{name}.png")
    result = enhance_path(
        model, source, target, EnhanceOptions(engine="torch"),
        on_progress=lambda _progress: (source / "b.png").unlink(missing_ok=True),
    )
    assert [Path(each.source).name for each in result.done] == ["a.png", "c.png"]
    assert "b.png can't be read" in str(result.failed[0].error)


def test_slides_in_a_folder_become_pyramids(model, tmp_path, monkeypatch):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    tifffile.imwrite(source / "slide.ome.tif", picture(), photometric="rgb", ome=True, metadata={"axes": "YXS"})
    save(source / "large.png", picture(200, 200))
    save(source / "small.png")
    monkeypatch.setattr("mobilescope.app.pictures.images.MOST_PIXELS_AT_ONCE", 100_000)
    result = enhance(model, source, target)
    assert [each.target.name for each in result.done] == ["large.ome.tif", "slide.ome.tif", "small.png"]
    assert all(each.skipped for each in enhance(model, source, target).done)
    with pytest.raises(OutputError, match=r"500×500 px.*\.ome\.tif"):
        enhance(model, source / "large.png", tmp_path / "large.png")


def test_a_slide_among_others_has_progress_of_its_own(model, tmp_path):
    source, seen = tmp_path / "in", []
    source.mkdir()
    save(source / "small.png")
    tifffile.imwrite(source / "slide.ome.tif", picture(300, 300), photometric="rgb", ome=True, metadata={"axes": "YXS"})
    options = EnhanceOptions(**(vars(PLAIN) | {"tile_px": 32}))
    enhance_path(model, source, tmp_path / "out", options, on_progress=seen.append)
    assert [(each.done, each.total) for each in seen if each.stage == "enhance"] == [(1, 2), (2, 2)]
    tiles = [each for each in seen if each.stage != "enhance"]
    assert {each.stage for each in tiles} == {"slide.ome.tif"}
    assert tiles[-1].done == tiles[-1].total == len(tiles)


# Precision --------------------------------------------------------------------------------------------------------


def test_int8_measures_on_what_is_given_or_else_on_the_input(model, tmp_path, monkeypatch, write_pairs):
    pytest.importorskip("openvino")
    seen = []

    def engine(network, calibration, dtype):
        seen.append(calibration)
        return TorchEngine(network, torch.device("cpu"), dtype), Agreement(1.0, 99.0)

    monkeypatch.setattr("mobilescope.enhance.quantising.int8_engine", engine)
    source = save(tmp_path / "in.png")
    int8 = {"precision": "int8", "engine": "auto", "again": True}
    enhance(model, source, tmp_path / "out.png", **int8)
    np.testing.assert_array_equal(seen[-1][0], picture())
    other = save(tmp_path / "other.png", picture(seed=5))
    enhance(model, source, tmp_path / "out.png", calibration=other, **int8)
    np.testing.assert_array_equal(seen[-1][0], picture(seed=5))
    pairs = write_pairs(("a", "training"), ("b", "validation"), ("c", "training"), size=96)
    enhance(model, source, tmp_path / "out.png", calibration=pairs, **int8)
    assert [each.dtype for each in seen[-1]] == [np.uint16] * 2
    (tmp_path / "many").mkdir()
    (tmp_path / "many" / "a.png").write_bytes(b"no picture")
    save(tmp_path / "many" / "b.png", picture(seed=6))
    assert len(enhance(model, tmp_path / "many", tmp_path / "out", **int8).done) == 1
    np.testing.assert_array_equal(seen[-1][0], picture(seed=6))


def test_int8_holds_or_says_why_not(tmp_path):
    pytest.importorskip("openvino")
    model, source = save_small_model(tmp_path / "model.pt"), save(tmp_path / "in.png", picture(200, 200))
    int8 = {"precision": "int8", "engine": "auto"}
    try:
        (done,) = enhance(model, source, tmp_path / "out.png", **int8).done
    except UserError as error:
        assert "int8 does not hold" in str(error)  # noqa: PT017 - which of the two depends on the processor
    else:
        assert done.engine.endswith("int8")
    with pytest.raises(UserError, match="int8 needs pictures"):
        enhance(model, save(tmp_path / "small.png", picture(20, 20)), tmp_path / "out.png", **int8)
    with pytest.raises(UserError, match="int8 alone"):
        enhance(model, source, tmp_path / "out.png", calibration=source)


# Disks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.ome.tif", "out.tif", "out.png"])
def test_a_full_disk_leaves_no_half_picture(model, tmp_path, small_disk, name):
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    source = save(tmp_path / "in.png", noise)
    with pytest.raises(DiskSpaceError, match=r"full|free"):
        enhance(model, source, small_disk / name)
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_ends_a_folder(model, tmp_path, small_disk):
    source = tmp_path / "in"
    source.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    for name in ("a", "b"):
        save(source / f"{name}.png", noise)
    with pytest.raises(DiskSpaceError):
        enhance(model, source, small_disk / "out")


def test_a_record_is_one_line_of_json_in_a_tiff(model, tmp_path):
    """Any program that shows a TIFF's description shows the record."""
    enhance(model, save(tmp_path / "in.png"), tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        name, _, text = tiff.pages[0].description.partition(":")
    assert name == "mobilescope"
    assert json.loads(text)["label"] == LABEL


def test_a_result_is_fed_again_and_its_record_says_so(model, tmp_path):
    source = save(tmp_path / "in.png")
    once = enhance(model, source, tmp_path / "once.png")
    smaller = enhance(model, source, tmp_path / "again.png", refeed="downsampled")
    finer = enhance(model, source, tmp_path / "finer.tif", refeed="finer")
    shapes = [read_rgb(each.done[0].target).shape for each in (once, smaller, finer)]
    assert shapes == [(175, 225, 3), (175, 225, 3), (438, 563, 3)]
    first, second = (read_rgb(tmp_path / name).astype(int) for name in ("once.png", "again.png"))
    assert 0.1 < np.abs(first - second).mean() < 40
    settings = describe(tmp_path / "finer.tif")["provenance"]["settings"]
    assert settings["refeed"] == "finer"
    assert settings["output_pixel_size_um"] == pytest.approx(PITCH_UM / 2.5**2)


def test_the_second_pass_is_what_training_feeds(model):
    network, _, _ = load_model(model)
    shown = picture().astype(np.float32) / 255
    enhancer = Enhancer.from_checkpoint(model, "cpu", "fp32", engine="torch", whole=True)
    with torch.inference_mode():
        for grid in ("downsampled", "finer"):
            wanted = refeed(network, torch.from_numpy(shown).permute(2, 0, 1)[None], grid)[0].permute(1, 2, 0).numpy()
            # The first result is clipped to 0-1 on its way, as every picture is.
            assert np.abs(enhance_twice(enhancer, shown, grid) - np.clip(wanted, 0, 1)).mean() < 0.01


def test_one_fed_again_is_not_taken_for_one_that_was_not(model, tmp_path):
    source, target = save(tmp_path / "in.png"), tmp_path / "out.png"
    assert not enhance(model, source, target).done[0].skipped
    assert enhance(model, source, target).done[0].skipped
    assert not enhance(model, source, target, refeed="downsampled").done[0].skipped
    assert enhance(model, source, target, refeed="downsampled").done[0].skipped


@pytest.mark.parametrize(("target", "refeed_word", "message"), [
    ("out.png", "twice", "there is no way 'twice'"), ("out.ome.tif", "finer", "written in parts"),
])
def test_feeding_again_where_it_can_not_be_is_refused(model, tmp_path, target, refeed_word, message):
    with pytest.raises(UserError, match=message):
        enhance(model, save(tmp_path / "in.png"), tmp_path / target, refeed=refeed_word)


def test_raw_files_are_developed_and_the_jpegs_beside_them_left_alone(model, tmp_path):
    folder = tmp_path / "phone"
    folder.mkdir()
    shutil.copy(LASER, folder / "IMG_1.dng")
    save(folder / "IMG_1.jpg")
    save(folder / "IMG_2.jpg")
    result = enhance(model, folder, tmp_path / "out", pixel_size_um=PITCH_UM)
    assert [Path(each.source).name for each in result.done] == ["IMG_1.dng", "IMG_2.jpg"]
    assert read_rgb(tmp_path / "out" / "IMG_1.png").shape == (600, 800, 3)
