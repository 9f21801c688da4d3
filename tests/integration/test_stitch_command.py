"""`mobilescope stitch` on folders of tiles: what it reports, writes and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import zarr
from tile_scans import PIXEL_UM, TILE_PX, write_scan
from typer.testing import CliRunner

from mobilescope.app.cli import app
from mobilescope.app.mosaics.folder_stitching import stitch_folder
from mobilescope.app.mosaics.tile_folders import plan_from_table, read_tile
from mobilescope.core.errors import CancelledError


def stitch(*arguments):
    return CliRunner().invoke(app, ["stitch", *map(str, arguments)])


def report(*arguments):
    run = stitch(*arguments, "--json")
    assert run.exit_code == 0, run.output
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return write_scan(tmp_path_factory.mktemp("scan") / "tiles", blank=[5])


def table(scan):
    return "--positions", scan.table, "--pixel-size-um", PIXEL_UM


def test_the_report_names_every_tile_with_place_links_and_mark(scan):
    told = report(scan.folder, *table(scan), "--positions-only")
    tiles = told["tiles"]
    assert [tile["file"] for tile in tiles] == scan.names
    assert set(tiles[0]) == {"file", "row_px", "column_px", "links", "residual_px", "mark"}
    assert [tile["mark"] for tile in tiles] == ["blank" if k == 5 else "linked" for k in range(12)]
    assert (tiles[5]["links"], tiles[5]["residual_px"]) == (0, None)
    errors = np.delete(scan.errors_px(tiles), 5)
    assert np.median(errors) < 0.1
    assert errors.max() < 0.3
    assert told["seconds"]["positions"] > 0
    assert told["seconds"]["mosaic"] is None


def test_a_grid_in_natural_order_gives_the_same_places(scan):
    overlap = 1 - 130 / TILE_PX
    by_table = report(scan.folder, *table(scan), "--positions-only")["tiles"]
    by_grid = report(scan.folder, "--grid", "3x4", "--overlap", overlap, "--positions-only")["tiles"]
    assert [tile["file"] for tile in by_grid] == scan.names
    for one, other in zip(by_table, by_grid, strict=True):
        if one["mark"] == "linked":
            assert (one["row_px"], one["column_px"]) == pytest.approx((other["row_px"], other["column_px"]), abs=0.05)


@pytest.mark.parametrize(
    ("suffix", "channels", "deep"),
    [(".png", 1, False), (".png", 3, False), (".tif", 1, True), (".png", 3, True), (".jpg", 3, False)],
)
@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr"])
def test_the_mosaic_shows_the_field_at_the_tiles_own_depth(tmp_path, suffix, channels, deep, ending):
    scan = write_scan(tmp_path / "tiles", 2, 3, suffix=suffix, channels=channels, deep=deep)
    out = tmp_path / f"mosaic.{ending}"
    told = report(scan.folder, *table(scan), "--out", out)
    if ending == "ome.tif":
        with tifffile.TiffFile(out) as file:
            pixels = file.series[0].asarray()
            assert f'PhysicalSizeX="{PIXEL_UM}"' in file.ome_metadata
            assert len(file.series[0].levels) == (1 if max(pixels.shape[:2]) <= 512 else 2)
    else:
        group = zarr.open_group(out, mode="r")
        levels = group.attrs["ome"]["multiscales"][0]
        pixels = np.moveaxis(group[levels["datasets"][0]["path"]][:], 0, 2)
        pixels = pixels if channels == 3 else pixels[..., 0]
        assert levels["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, PIXEL_UM, PIXEL_UM]
        assert [axis.get("unit") for axis in levels["axes"]] == [None, "micrometer", "micrometer"]
    assert pixels.dtype == (np.uint16 if deep else np.uint8)
    assert pixels.ndim == (3 if channels == 3 else 2)
    first = np.rint([told["tiles"][0]["row_px"], told["tiles"][0]["column_px"]]).astype(int)
    row, column = (scan.true_px[0] - first).astype(int)
    inside = slice(20, 250), slice(20, 380)
    truth = scan.field[row:row + pixels.shape[0], column:column + pixels.shape[1]][inside] * (256 if deep else 1)
    difference = pixels[inside].reshape(truth.shape) - truth
    assert np.sqrt(np.mean(difference**2)) < (3 if suffix == ".png" else 4) * (256 if deep else 1)


def test_tiles_can_meet_along_seams(tmp_path):
    """A speck that only one of two tiles shows is there or not, never seen through."""
    def drop(index, pixels):
        # In the overlap, wherever in it the neighbour lies.
        pixels[70:78, 143:151] = 10 if index == 0 else pixels[70:78, 143:151]
        return pixels

    scan = write_scan(tmp_path / "tiles", 1, 2, spoil=drop)
    told = report(scan.folder, *table(scan), "--blend", "seam", "--out", tmp_path / "m.ome.tif")
    first = np.rint([told["tiles"][0]["row_px"], told["tiles"][0]["column_px"]]).astype(int)
    shown = tifffile.imread(tmp_path / "m.ome.tif")[first[0] + 70:first[0] + 78, first[1] + 143:first[1] + 151]
    row, column = (scan.true_px[0] + (70, 143)).astype(int)
    bare = scan.field[row:row + 8, column:column + 8, 0]
    assert np.abs(shown - 10.0).max() < 12 or np.abs(shown - bare).max() < 12


def test_a_second_mosaic_takes_the_first_ones_place_and_leaves_nothing_behind(tmp_path):
    scan = write_scan(tmp_path / "tiles", 2, 2)
    for ending in ("ome.tif", "ome.zarr"):
        for _ in range(2):
            report(scan.folder, *table(scan), "--out", tmp_path / "out" / f"m.{ending}")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["m.ome.tif", "m.ome.zarr"]


def rewrite(scan, change):
    lines = scan.table.read_text().splitlines()
    scan.table.write_text("\n".join(change(lines)) + "\n")


def truncate(scan):
    file = scan.folder / scan.names[3]
    file.write_bytes(file.read_bytes()[:2000])


def damage(scan):
    """Change bytes in the middle of the pixels, and leave the length."""
    file = scan.folder / scan.names[3]
    data = bytearray(file.read_bytes())
    data[len(data) // 2:len(data) // 2 + 8] = bytes(8)
    file.write_bytes(data)


def other_size(scan):
    tifffile.imwrite(scan.folder / "tile-3.png", np.zeros((50, 60), np.uint8))


SPOILT = {
    "missing file": (lambda s: (s.folder / "tile-3.png").unlink(), "names 1 files that are not in"),
    "duplicate": (lambda s: rewrite(s, lambda lines: [*lines, lines[3]]), "names tile-2.png twice"),
    "columns": (lambda s: rewrite(s, lambda lines: ["name,x,y", *lines[1:]]), "it needs file, x_um, y_um"),
    "not finite": (lambda s: rewrite(s, lambda lines: [*lines[:2], "tile-1.png,nan,0", *lines[3:]]), "line 3"),
    "no number": (lambda s: rewrite(s, lambda lines: [*lines[:2], "tile-1.png,,0", *lines[3:]]), "line 3"),
    "empty": (lambda s: rewrite(s, lambda lines: lines[:1]), "holds no position"),
    "truncated": (truncate, "tile-3.png can't be read"),
    "damaged": (damage, "tile-3.png can't be read"),
    "no picture": (lambda s: (s.folder / "tile-3.png").write_text("words"), "tile-3.png can't be read"),
    "mixed sizes": (other_size, "tile-3.png is 60x50 px"),
    "far apart": (
        lambda s: rewrite(s, lambda lines: [lines[0], *[f"{line}e{k}" for k, line in enumerate(lines[1:])]]),
        "no two of the 6 tiles",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_bad_tables_and_tiles_are_refused_by_name(tmp_path, case):
    scan = write_scan(tmp_path / "tiles", 2, 3)
    spoil, said = SPOILT[case]
    spoil(scan)
    out = tmp_path / "mosaic.ome.tif"
    run = stitch(scan.folder, *table(scan), "--out", out)
    assert run.exit_code == 2
    assert said in " ".join(run.output.split())
    assert "Traceback" not in run.output
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--grid", "3x5"), "holds 12 tiles and a grid of 3x5 needs 15"),
        (("--grid", "3by4"), "is not understood"),
        ((), "is not said"),
        (("--grid", "3x4", "--positions", "t.csv"), "is twice said"),
        (("--grid", "3x4", "--slide", "lung"), "--slide names a slide"),
        (("--grid", "3x4", "--out", "mosaic.bmp"), "names no known format"),
    ],
)
def test_contradicting_options_are_refused(scan, arguments, said):
    out = () if "--out" in arguments else ("--positions-only",)
    run = stitch(scan.folder, *arguments, *out)
    assert run.exit_code == 2
    assert said in " ".join(run.output.split())


@pytest.mark.parametrize(
    "options", [("--no-correct",), ("--blend", "seam"), ("--max-shift-px", "9"), ("--grid", "3x4"), ("--overlap", "0")]
)
def test_options_of_folders_are_refused_for_a_session(tmp_path, options):
    (tmp_path / "my.h5").write_bytes(b"a session")
    run = stitch(tmp_path / "my.h5", *options)
    assert run.exit_code == 2
    assert f"{options[0]} is for a folder of tiles" in " ".join(run.output.split())


def test_a_table_without_a_pixel_size_is_refused_unless_the_tiles_state_it(tmp_path):
    scan = write_scan(tmp_path / "tiles", 2, 2, suffix=".tif")
    run = stitch(scan.folder, "--positions", scan.table, "--positions-only")
    assert (run.exit_code, "--pixel-size-um" in run.output) == (2, True)
    for name in scan.names:
        pixels = read_tile(scan.folder / name)[..., 0]
        tifffile.imwrite(scan.folder / name, pixels, resolution=(20000, 20000), resolutionunit="CENTIMETER")
    told = report(scan.folder, "--positions", scan.table, "--positions-only")
    assert scan.errors_px(told["tiles"]).max() < 0.3


def test_nothing_is_written_over_a_folder_that_is_no_mosaic(tmp_path):
    scan = write_scan(tmp_path / "tiles", 1, 2)
    kept = tmp_path / "m.ome.zarr"
    kept.mkdir()
    (kept / "notes.txt").write_text("mine")
    run = stitch(scan.folder, *table(scan), "--out", kept)
    assert (run.exit_code, "is no Zarr folder" in " ".join(run.output.split())) == (2, True)
    assert (kept / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("ending", ["ome.tif", "ome.zarr"])
def test_a_stopped_mosaic_leaves_nothing_and_keeps_the_earlier_one(tmp_path, ending):
    scan = write_scan(tmp_path / "tiles", 5, 2)
    out = tmp_path / "out" / f"m.{ending}"
    plan = plan_from_table(scan.folder, scan.table, PIXEL_UM)

    def stop_while_blending(progress):
        if progress.stage == "blending":
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        stitch_folder(plan, out, on_progress=stop_while_blending)
    assert list(out.parent.iterdir()) == []
    stitch_folder(plan, out)
    kept = sorted((path.relative_to(out), path.stat().st_size) for path in (out.rglob("*") if out.is_dir() else [out]))
    with pytest.raises(CancelledError):
        stitch_folder(plan, out, on_progress=stop_while_blending)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert kept == sorted(
        (path.relative_to(out), path.stat().st_size) for path in (out.rglob("*") if out.is_dir() else [out])
    )
