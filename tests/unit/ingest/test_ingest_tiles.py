"""A benchtop's tiles beside phone pictures: they go in as if scanned, and a table may grow at its end alone."""

from __future__ import annotations

import numpy as np
import pytest
from ingested import ingest
from phone_files import pair
from tile_scans import PIXEL_UM, TILE_PX, write_scan

from mobilescope.app.acquisition.ingest_tiles import tiles_to_ingest
from mobilescope.app.mosaics.mosaicking import stitch_slide
from mobilescope.app.mosaics.tile_folders import read_tile
from mobilescope.core.errors import InputFileError, UserError
from mobilescope.data.session import Session


def test_the_pixel_size_of_benchtop_tiles_is_asked_for_by_its_own_option(folder, tmp_path):
    scan = write_scan(tmp_path / "tiles", 1, 2, channels=3)
    with pytest.raises(UserError, match=r"pixel size of .* is not known; give it as --tile-pixel-um"):
        tiles_to_ingest(scan.folder, scan.table, None)


def test_the_benchtops_tiles_go_in_beside_and_are_stitched_as_if_scanned(folder, tmp_path):
    pair(folder, "a")
    scan = write_scan(tmp_path / "tiles", 2, 3, channels=3)
    tiles = tiles_to_ingest(scan.folder, scan.table, PIXEL_UM)
    result = ingest(folder, benchtop=tiles)
    assert (result.added, result.tiles, result.skipped) == (1, 6, ())
    with Session.open(tmp_path / "s.h5") as session:
        assert session.verify() == []
        assert session.header.benchtop_shape == (TILE_PX, TILE_PX)
        assert [(tile.row, tile.column) for tile in session.tiles("s")] == [(r, c) for r in range(2) for c in range(3)]
        first = session.tiles("s")[0]
        np.testing.assert_array_equal(session.tile_pixels(first), read_tile(scan.folder / scan.names[0]))
    stitched = stitch_slide(tmp_path / "s.h5", "s", positions_only=True)
    assert scan.errors_px(list(stitched.tile_entries)).max() < 0.5
    assert ingest(folder, benchtop=tiles).tiles == 0


def test_a_slide_without_tiles_can_not_be_stitched_as_one_without_a_mosaic_can_not_be_registered(folder, tmp_path):
    pair(folder, "a")
    ingest(folder)
    with pytest.raises(InputFileError, match=r"has no tiles in .*; scan it first") as refused:
        stitch_slide(tmp_path / "s.h5", "s")
    assert refused.value.exit_status == 2


def test_a_tile_that_can_not_be_used_is_named_and_two_at_one_place_are_refused(folder, tmp_path):
    pair(folder, "a")
    scan = write_scan(tmp_path / "tiles", 2, 2, channels=3)
    (scan.folder / scan.names[3]).write_bytes(b"no picture")
    result = ingest(folder, benchtop=tiles_to_ingest(scan.folder, scan.table, PIXEL_UM))
    assert (result.tiles, [each.file for each in result.skipped]) == (3, [scan.names[3]])
    lines = scan.table.read_text().splitlines()
    scan.table.write_text("\n".join([*lines[:2], f"{scan.names[1]},{lines[1].split(',', 1)[1]}"]))
    with pytest.raises(UserError, match="at one place"):
        tiles_to_ingest(scan.folder, scan.table, PIXEL_UM)


def shorter_table(scan, name, lines):
    """Return a scan's table with some of its lines alone."""
    told = scan.table.read_text().splitlines()
    table = scan.table.with_name(name)
    table.write_text("\n".join([told[0], *(told[1 + line] for line in lines)]))
    return table


@pytest.mark.parametrize(("before", "now", "said"), [
    # A row came above: each row counts one more.
    ([2, 3], [0, 1, 2, 3], r"tile-0\.png has the place of tile-2\.png in .*row 0, column 0"),
    # One tile came beside and above the one that is there, and nothing lies at that one's old place.
    ([2], [1, 2], r"tile-2\.png is in .* already, at another place: row 0, column 0"),
])
def test_tiles_of_a_table_that_has_grown_are_not_mistaken_for_those_stored(before, now, said, folder, tmp_path):
    pair(folder, "a")
    scan = write_scan(tmp_path / "tiles", 2, 2, channels=3)
    ingest(folder, benchtop=tiles_to_ingest(scan.folder, shorter_table(scan, "before.csv", before), PIXEL_UM))
    pair(folder, "b", seed=1, after_s=9)
    with pytest.raises(UserError, match=said):
        ingest(folder, benchtop=tiles_to_ingest(scan.folder, shorter_table(scan, "now.csv", now), PIXEL_UM))
    with Session.open(tmp_path / "s.h5") as session:
        assert len(session.tiles("s")) == len(before)
        assert len(session.captures("s")) == 1


def test_a_table_that_grows_at_its_end_adds_its_new_tiles(folder, tmp_path):
    pair(folder, "a")
    scan = write_scan(tmp_path / "tiles", 2, 2, channels=3)
    ingest(folder, benchtop=tiles_to_ingest(scan.folder, shorter_table(scan, "before.csv", [0, 1]), PIXEL_UM))
    assert ingest(folder, benchtop=tiles_to_ingest(scan.folder, scan.table, PIXEL_UM)).tiles == 2


def test_tiles_of_another_size_than_the_sessions_are_refused(folder, tmp_path):
    pair(folder, "a")
    ingest(folder)
    scan = write_scan(tmp_path / "tiles", 1, 2, channels=3)
    with pytest.raises(UserError, match=r"160x160 px.*begun for 96x128"):
        ingest(folder, benchtop=tiles_to_ingest(scan.folder, scan.table, PIXEL_UM))
