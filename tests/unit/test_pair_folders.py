"""Pairs in folders for other trainers: matching names, true pixel sizes, one side each, and no mixing of exports."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tifffile

from mobilescope.app.datasets.blank_patches import PatchPlan
from mobilescope.app.datasets.datasets import make_dataset
from mobilescope.app.datasets.exporting import export_session
from mobilescope.app.pictures.images import open_picture
from mobilescope.app.pictures.picture_notes import read_record
from mobilescope.core.errors import CancelledError, OutputError
from mobilescope.core.progress import StopToken
from mobilescope.core.whole_files import own_temporary
from mobilescope.data.pairs import PairStore

MEMBERS = (
    ("a", "training", {"quality": {"pearson": 0.9}}), ("a", "training", {"accepted": False, "reason": "blurred"}),
    ("b", "validation"), ("c", "blind", {"window": (4, 40, 2, 42)}),
)


@pytest.fixture
def pairs(write_pairs):
    return write_pairs(*MEMBERS, session="monday.h5", session_digest="aa" * 32)


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*.tif")}


def rows(folder):
    return list(csv.DictReader((folder / "pairs.csv").read_text(encoding="utf-8").splitlines()))


def test_accepted_pairs_stand_in_matching_folders_by_side(pairs, tmp_path):
    folder = tmp_path / "out"
    written = export_session(pairs, folder, "tiff")
    assert names(folder) == {
        f"{split}/{image}/{name}.tif" for split, name in (("train", "a-0000"), ("val", "b-0002"), ("test", "c-0003"))
        for image in ("input", "label")
    }
    assert len(written) == 9
    with PairStore.open(pairs) as store:
        np.testing.assert_array_equal(tifffile.imread(folder / "test/input/c-0003.tif"), store.input(3))
        np.testing.assert_array_equal(tifffile.imread(folder / "test/label/c-0003.tif"), store.label(3))
    first, _, last = rows(folder)
    assert (first["name"], first["split"], first["stain"], first["pearson"]) == ("a-0000.tif", "train", "blood", "0.9")
    assert [last[f"window_{edge}"] for edge in ("top", "bottom", "left", "right")] == ["4", "40", "2", "42"]
    card = json.loads((folder / "card.json").read_text())
    assert card["refused"] == {"blurred": 1}
    assert "| training |" in (folder / "card.md").read_text()


def test_pairs_of_a_pair_file_or_a_dataset_are_written_as_png_too(pairs, write_pairs, tmp_path):
    """Both sessions have a slide "a" with a capture 0, and none replaces the other's."""
    other = write_pairs(("a", "training"), name="other.pairs.h5", session="monday.h5", session_digest="bb" * 32, seed=9)
    seen = []
    assert len(export_session(pairs, tmp_path / "one", "png", on_progress=seen.append)) == 6
    assert [(each.done, each.total) for each in seen] == [(done, 6) for done in range(1, 7)]
    dataset = tmp_path / "both.h5"
    make_dataset([pairs, other], dataset, PatchPlan(patch_px=16))
    written = export_session(dataset, tmp_path / "both", "png")
    assert len(set(written)) == len(list((tmp_path / "both").iterdir())) == 8
    with PairStore.open(dataset) as store:
        np.testing.assert_array_equal(open_picture(written[0]).read(), store.input(0))


def test_each_picture_tells_its_pixel_size_and_where_it_is_from(pairs, tmp_path):
    folder = tmp_path / "out"
    export_session(pairs, folder, "tiff")
    for image, pixel_um in (("input", 0.925), ("label", 0.37)):
        path = folder / "val" / image / "b-0002.tif"
        assert open_picture(path).pixel_size_um == pytest.approx(pixel_um)
        record = read_record(path)
        assert (record["slide"], record["role"], record["session_digest"]) == ("b", "validation", "aa" * 32)
        assert record["pixel_size_um"] == pytest.approx(pixel_um)
        row = next(row for row in rows(folder) if row["name"] == "b-0002.tif")
        assert row[f"{image}_sha256"] == record["pixels_sha256"]


def test_a_stopped_export_goes_on_and_ends_as_an_undisturbed_one(pairs, tmp_path):
    folder, other, stop = tmp_path / "out", tmp_path / "other", StopToken()

    def after_three(progress):
        if progress.done == 3:
            stop.request()

    with pytest.raises(CancelledError):
        export_session(pairs, folder, "tiff", on_progress=after_three, stop=stop)
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.tif")}
    assert len(kept) == 3
    cut_short = min(kept)
    cut_short.write_bytes(b"II*\0")  # what a power cut may leave
    (folder / "val" / "input").mkdir(exist_ok=True)
    (folder / "val" / "input" / ".b-0002.tif.part").write_bytes(b"half")
    with own_temporary(folder / "val" / "input" / "b-0003.tif") as others:  # another export at this very time
        export_session(pairs, folder, "tiff")
        assert others.path.exists()
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items() if path != cut_short)
    export_session(pairs, other, "tiff")
    assert names(folder) == names(other)
    assert (folder / "pairs.csv").read_bytes() == (other / "pairs.csv").read_bytes()
    assert not list(folder.rglob("*.part"))


def test_two_exports_never_mix(pairs, write_pairs, tmp_path):
    folder = tmp_path / "out"
    export_session(pairs, folder, "tiff")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    turned = write_pairs(("a", "blind"), ("c", "training"), name="turned.h5", session="monday.h5")
    other = write_pairs(*MEMBERS, name="other.h5", session="tuesday.h5", session_digest="bb" * 32, seed=5)
    for foreign, words in ((turned, "leak into the test"), (other, "another picture")):
        with pytest.raises(OutputError, match=words):
            export_session(foreign, folder, "tiff")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_dataset_is_exported_with_its_own_split(pairs, write_pairs, tmp_path):
    tuesday = write_pairs(("a", "training"), ("d", "blind"), name="tuesday.pairs.h5", session="tuesday.h5",
                          session_digest="bb" * 32, seed=20)
    dataset = tmp_path / "all.h5"
    card = make_dataset([pairs, tuesday], dataset, PatchPlan(16), roles={"d": "training", "b": None}).card
    folder = tmp_path / "out"
    export_session(dataset, folder, "tiff")
    assert {name for name in names(folder) if "/input/" in name} == {
        "train/input/monday-a-0000.tif", "train/input/tuesday-a-0000.tif", "train/input/tuesday-d-0001.tif",
        "test/input/monday-c-0003.tif",
    }
    assert {row["session"] for row in rows(folder)} == {"monday.h5", "tuesday.h5"}
    assert json.loads((folder / "card.json").read_text()) == json.loads(json.dumps(card))
