"""Pairs are stored once, read whole or in matching patches, and a half-written file never shows."""

from __future__ import annotations

import json
import math
import os

import h5py
import numpy as np
import pytest
from damage import flip_in_chunk

from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import InputFileError, InputImageError, OutputError, UserError
from mobilescope.data.layout import pair_files, pairs_path
from mobilescope.data.pair_writer import PairWriter
from mobilescope.data.pairs import PairStore
from mobilescope.data.variants import PairVariant
from mobilescope.learn.patches import load_fields

PROVENANCE = {"thresholds": {"residual_um": 0.5}, "version": "0.1.0", "session": "ab" * 32}


def arrays(seed, rows=128, columns=140):
    """Return an input and a label whose pixels tell where they lie."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 65536, (rows, columns, 3), dtype=np.uint16)
    label = generator.integers(0, 256, (rows * 5 // 2, columns * 5 // 2, 3), dtype=np.uint8)
    return pixels, label


def fields(**changes):
    return {
        "slide": "lung-1", "role": "training", "capture": 4, "row": 1, "column": 0, "accepted": True, "reason": "",
        "quality": {"residual_um": 0.12, "inlier_ratio": np.float32(0.5)}, "warp": "phone",
        "origin_px": (100.5, 2000.25), "window": None, **changes,
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.pairs.h5"


@pytest.fixture
def store(path):
    with PairWriter(path, PROVENANCE) as writer:
        writer.add(*arrays(0), **fields())
        writer.add(
            *arrays(1), **fields(accepted=False, reason="residual too great", quality={"residual_um": math.nan}),
            displacement_map=np.full((128, 140, 2), 0.25, np.float32),
        )
        writer.add(*arrays(2, 64, 62), **fields(slide="lung-3", role="blind", warp="benchtop", window=(4, 64, 2, 62)))
        assert writer.add(*arrays(3), **fields(role="blind", window=(10, 10, 0, 0))) == 3
    with PairStore.open(path) as opened:
        yield opened


def test_pairs_come_back_as_they_were_stored(store):
    assert store.provenance == PROVENANCE
    for index, given in enumerate([arrays(0), arrays(1), arrays(2, 64, 62)]):
        np.testing.assert_array_equal(store.input(index), given[0])
        np.testing.assert_array_equal(store.label(index), given[1])
    first, second, third, _ = store.records
    assert (first.slide, first.role, first.capture, first.row, first.column) == ("lung-1", "training", 4, 1, 0)
    assert (first.warp, first.origin_px, first.window, first.shape) == ("phone", (100.5, 2000.25), None, (128, 140))
    assert first.quality == {"residual_um": 0.12, "inlier_ratio": 0.5}
    assert (second.accepted, second.reason, second.has_map) == (False, "residual too great", True)
    assert math.isnan(second.quality["residual_um"])
    assert third.window == (4, 64, 2, 62)
    assert store.map(0) is None
    assert (store.map(1) == 0.25).all()


def test_windows_of_input_and_label_meet(store):
    pixels, label = arrays(0)
    np.testing.assert_array_equal(store.input_window(0, 7, 11, 30, 41), pixels[7:37, 11:52])
    np.testing.assert_array_equal(store.label_window(0, 4, 10, 60, 62), label[10:160, 25:180])
    with pytest.raises(InputImageError, match="even"):
        store.label_window(0, 3, 10, 60, 60)
    for row, column, height, width in ((-2, 0, 60, 60), (70, 0, 60, 60), (0, 82, 60, 60)):
        with pytest.raises(InputImageError, match="leaves pair 0"):
            store.input_window(0, row, column, height, width)
        with pytest.raises(InputImageError, match="leaves pair 0"):
            store.label_window(0, row, column, height, width)


def test_patches_are_even_inside_the_window_and_of_one_role(store):
    assert store.patches("training") == [(0, row, column) for row in (0, 36) for column in (0, 36, 72)]
    assert store.patches("validation") == []
    assert store.patches("blind") == [(2, 4, 2)]
    assert store.patches("blind", size=62) == []
    for _, row, column in store.patches("blind", size=10, stride=2):
        assert row % 2 == column % 2 == 0
        assert row >= 4
        assert row + 10 <= 64
        assert column >= 2
        assert column + 10 <= 62


def test_refused_pairs_give_patches_only_when_asked(store):
    assert {pair for pair, _, _ in store.patches("training")} == {0}
    assert {pair for pair, _, _ in store.patches("training", refused=True)} == {0, 1}


@pytest.mark.parametrize(("size", "stride"), [(61, 36), (60, 35), (60, 0)])
def test_odd_patches_are_refused(store, size, stride):
    with pytest.raises(ValueError, match="multiples of 2"):
        store.patches("training", size, stride)


def test_arrays_that_do_not_fit_are_refused(path):
    pixels, label = arrays(0)
    with PairWriter(path, PROVENANCE) as writer:
        for bad_input, bad_label, changes in (
            (pixels.astype(np.uint8), label, {}),
            (pixels[:, :, 0], label, {}),
            (pixels[:127], label, {}),
            (pixels, label[:-1], {}),
            (pixels, label.astype(np.uint16), {}),
            (pixels, label, {"window": (0, 130, 0, 10)}),
            (pixels, label, {"window": (0, 41, 0, 10)}),
            (pixels, label, {"displacement_map": np.zeros((128, 140, 2))}),
        ):
            with pytest.raises(InputImageError):
                writer.add(bad_input, bad_label, **fields(**changes))
        writer.add(pixels, label, **fields())
    with PairStore.open(path) as store:
        assert len(store.records) == 1


def test_a_failed_run_leaves_the_earlier_file(path, store):
    def fail_after_one():
        with PairWriter(path, {}) as writer:
            writer.add(*arrays(9), **fields())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_one()
    with PairStore.open(path) as again:
        assert again.provenance == PROVENANCE
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_reader_keeps_the_file_it_opened_while_a_new_one_takes_its_place(path, store):
    with PairWriter(path, {"run": 2}) as writer:
        writer.add(*arrays(9), **fields())
    np.testing.assert_array_equal(store.input(0), arrays(0)[0])
    with PairStore.open(path) as again:
        np.testing.assert_array_equal(again.input(0), arrays(9)[0])


def test_missing_and_truncated_files_are_refused(path, store):
    with pytest.raises(InputFileError, match="there is no file"):
        PairStore.open(path.with_name("other.h5"))
    with pytest.raises(OutputError, match="nowhere"), PairWriter(path.parent / "nowhere" / "x.h5", {}):
        pass
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputFileError, match="truncated"):
        PairStore.open(path)


@pytest.mark.parametrize(
    ("factor", "step", "rows", "columns"),
    [(1, 1, 61, 75), (2, 1, 61, 75), (1.5, 2, 62, 74), (3, 1, 33, 35), (4 / 3, 3, 63, 66)],
)
def test_labels_of_every_factor_meet_their_inputs(path, factor, step, rows, columns):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 65536, (rows, columns, 3), dtype=np.uint16)
    label = generator.integers(0, 256, (round(rows * factor), round(columns * factor), 3), dtype=np.uint8)
    with PairWriter(path, {"factor": factor}) as writer:
        with pytest.raises(InputImageError, match="label"):
            writer.add(pixels, label[:-1], **fields())
        writer.add(pixels, label, **fields(window=(0, rows, 0, columns)), crop_px=(4, 7))
    with PairStore.open(path) as store:
        assert (store.factor, store.step_px) == (factor, step)
        assert store.label_px(6 * step) == round(6 * step * factor)
        assert store.label_slice(step, 3 * step) == slice(round(step * factor), round(3 * step * factor))
        assert store.records[0].crop_px == (4, 7)
        listed = store.patches("training", size=6 * step, stride=2 * step)
        assert listed[-1][1:] == tuple((side - 6 * step) // (2 * step) * 2 * step for side in (rows, columns))
        for index, row, column in listed:
            top, left, side = (round(value * factor) for value in (row, column, 6 * step))
            part = store.label_window(index, row, column, 6 * step, 6 * step)
            np.testing.assert_array_equal(part, label[top : top + side, left : left + side])


def test_windows_between_label_pixels_are_refused(path):
    pixels, label = np.zeros((66, 66, 3), np.uint16), np.zeros((88, 88, 3), np.uint8)
    with PairWriter(path, {"factor": 4 / 3}) as writer:
        with pytest.raises(InputImageError, match="multiples of 3"):
            writer.add(pixels[:65], label, **fields())
        with pytest.raises(InputImageError, match="multiples of 3"):
            writer.add(pixels, label, **fields(window=(0, 64, 0, 66)))
        writer.add(pixels, label, **fields())
    with PairStore.open(path) as store:
        with pytest.raises(InputImageError, match="multiples of 3"):
            store.label_slice(0, 4)
        with pytest.raises(ValueError, match="multiples of 3"):
            store.patches("training", 60, 20)


def test_a_file_of_the_first_version_opens_with_a_factor_of_two_and_a_half(path, store):
    store.close()
    with h5py.File(path, "r+", libver="v110") as file:
        file.attrs["schema_version"] = 1
        for group in file["pairs"].values():
            record = json.loads(bytes(group["record"][()]))
            del record["crop_px"], group["record"]
            group["record"] = np.bytes_(json.dumps(record).encode())
    with PairStore.open(path) as old:
        assert "factor" not in old.provenance
        assert (old.factor, old.step_px) == (2.5, 2)
        assert [record.crop_px for record in old.records] == [None] * 4
        np.testing.assert_array_equal(old.label(0)[old.label_slice(2, 62)], arrays(0)[1][5:155])


@pytest.mark.parametrize("factor", [0, 0.4, 2.7182, 17, math.nan])
def test_a_factor_that_is_none_is_refused(path, factor):
    with pytest.raises(UserError, match="factor"):
        PairWriter(path, {"factor": factor})


def test_a_file_with_a_damaged_factor_is_refused(path):
    with PairWriter(path, {"factor": 2}):
        pass
    with h5py.File(path, "r+", libver="v110") as file:
        del file["provenance"]
        file["provenance"] = np.bytes_(b'{"factor": 2.7182}')
    with pytest.raises(InputFileError, match=r"damaged.*2\.7182"):
        PairStore.open(path)


def test_each_variant_has_a_name_of_its_own(tmp_path):
    session = tmp_path / "run.h5"
    named = {
        PairVariant(): "run.pairs.h5",
        PairVariant("benchtop"): "run.pairs-benchtop.h5",
        PairVariant(factor=2): "run.pairs-x2.h5",
        PairVariant(jpeg_ratio=21): "run.pairs-jpeg21.h5",
        PairVariant("benchtop", 1.5, 21): "run.pairs-benchtop-x1.5-jpeg21.h5",
        PairVariant(development=DevelopmentConfig(crops="square")): "run.pairs-square.h5",
        PairVariant(development=DevelopmentConfig(white_balance="cloudy")): "run.pairs-cloudy.h5",
        PairVariant(development=DevelopmentConfig(white_balance=(2.1, 1, 1.5))): "run.pairs-wb2.1-1-1.5.h5",
    }
    assert {variant: pairs_path(session, variant).name for variant in named} == named
    assert pairs_path(session) == pairs_path(session, PairVariant())
    for name in (*named.values(), "run.mosaic-a.h5", "other.pairs.h5"):
        (tmp_path / name).touch()
    assert sorted(path.name for path in pair_files(session)) == sorted(named.values())


@pytest.mark.parametrize(
    "options", [{"warp": "sideways"}, {"factor": 0.5}, {"jpeg_ratio": 1}, {"jpeg_ratio": math.inf}]
)
def test_a_variant_that_can_not_be_is_refused(options):
    with pytest.raises(UserError):
        PairVariant(**options)


@pytest.mark.parametrize("factor", [1, 1.5, 2, 2.5, 3])
def test_fields_are_cut_to_their_window_at_every_factor(write_pairs, factor):
    window = (4, 40, 10, 48)
    file = write_pairs(("a", "training", {"window": window}), factor=factor)
    (whole,), (cut,) = (load_fields(file, "training", windowed=windowed) for windowed in (False, True))
    top, bottom, left, right = (round(edge * factor) for edge in window)
    np.testing.assert_array_equal(cut.input, whole.input[4:40, 10:48])
    np.testing.assert_array_equal(cut.label, whole.label[top:bottom, left:right])


@pytest.mark.parametrize("name", ["input", "label"])
def test_one_changed_bit_is_found_and_its_pair_told(path, name):
    with PairWriter(path, PROVENANCE) as writer:
        for seed in range(2):
            writer.add(*arrays(seed), **fields())
    with PairStore.open(path) as store:
        assert store.verify() == []
    flip_in_chunk(path, f"pairs/000001/{name}")
    with PairStore.open(path) as store:
        (problem,) = store.verify()
        assert problem.startswith("pair 1 (slide lung-1, capture 4)")
        np.testing.assert_array_equal(store.input(0), arrays(0)[0])
        with pytest.raises(InputFileError, match=f"pairs/000001/{name} can't be read") as refused:
            getattr(store, name)(1)
        assert refused.value.remedy == "register the session again"


def test_a_pair_without_its_label_or_with_a_foreign_one_is_refused(path):
    with PairWriter(path, PROVENANCE) as writer:
        writer.add(*arrays(0), **fields())
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        del file["pairs/000000/label"]
    with pytest.raises(InputFileError, match="damaged: /pairs/000000/label is missing"):
        PairStore.open(path)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file["pairs/000000/label"] = np.zeros((5, 3), np.uint8)
    with pytest.raises(InputFileError, match=r"label is uint8 \(5, 3\), not uint8 \(320, 350, 3\)"):
        PairStore.open(path)


def test_a_version_that_is_no_number_is_damage(path):
    with PairWriter(path, PROVENANCE) as writer:
        writer.add(*arrays(0), **fields())
    for version in (np.zeros(3), "nonsense"):
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:
            file.attrs["schema_version"] = version
        with pytest.raises(InputFileError, match="damaged"):
            PairStore.open(path)
