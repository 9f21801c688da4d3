"""Pairs are stored once, read whole or in matching patches, and a half-written file never shows."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from mobilescope.core.errors import InputFileError, InputImageError, OutputError
from mobilescope.data.pairs import PairStore, PairWriter

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
