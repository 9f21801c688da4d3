"""However patches reach the network, a step sees the same ones, to the bit."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch

from mobilescope.core.errors import InputFileError
from mobilescope.data.pairs import PairStore
from mobilescope.learn.feed import DataOptions, MemoryFeed, Order, ResidentFeed, WorkerFeed
from mobilescope.learn.patches import PatchSet, StoredPatches, load_fields

CPU = torch.device("cpu")
MEMBERS = (("a", "training"), ("a", "training"), ("b", "training"))


def of_file(path, factor, part=None):
    """Return the memory's patches, the disk's, and an order over them."""
    patches = PatchSet(load_fields(path, "training", windowed=False), 16, 10, factor)
    with PairStore.open(path) as store:
        places = [(path, number) for number in range(len(store.records))]
    stored = StoredPatches(places, patches.index)
    return patches, stored, Order(len(patches), 4, seed=3, augment=True, part=part)


def batches(feed, first=0, end=12):
    return [feed.decode(one, two) for one, two in feed.batches(first, end)]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for (inputs, labels), (wanted_inputs, wanted_labels) in zip(found, expected, strict=True):
        assert torch.equal(inputs, wanted_inputs)
        assert torch.equal(labels, wanted_labels)


@pytest.fixture(params=[2.5, 1.0, 1.5, 2.0, 3.0])
def file(request, write_pairs):
    return write_pairs(*MEMBERS, factor=request.param), Fraction(request.param)


def test_the_disk_gives_what_memory_gives(file):
    patches, stored, order = of_file(*file)
    assert_same(batches(MemoryFeed(stored, order, CPU)), batches(MemoryFeed(patches, order, CPU)))


def test_a_device_that_holds_the_fields_gives_what_memory_gives(file):
    patches, _, order = of_file(*file)
    resident = ResidentFeed(patches.fields, patches.index, order, CPU)
    assert_same(batches(resident), batches(MemoryFeed(patches, order, CPU)))


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_give_what_memory_gives_from_any_step_on(write_pairs, workers):
    patches, stored, order = of_file(write_pairs(*MEMBERS), Fraction(5, 2))
    stored.read(np.arange(2), np.zeros(2, np.int64))  # a file that is open here is opened anew there
    found = batches(WorkerFeed(stored, order, CPU, workers), 5, 12)
    assert_same(found, batches(MemoryFeed(patches, order, CPU))[5:])


def test_a_file_that_vanished_is_told_by_the_workers(write_pairs):
    path = write_pairs(*MEMBERS)
    _, stored, order = of_file(path, Fraction(5, 2))
    path.unlink()
    with pytest.raises(InputFileError, match=r"job\.pairs\.h5"):
        batches(WorkerFeed(stored, order, CPU, 1))


def test_stored_patches_survive_pickling(write_pairs):
    _, stored, _ = of_file(write_pairs(*MEMBERS), Fraction(5, 2))
    numbers, turns = np.arange(3), np.array([0, 3, 5])
    before = stored.read(numbers, turns)
    again = pickle.loads(pickle.dumps(stored)).read(numbers, turns)
    for one, two in zip(before, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_parts_of_an_order_make_up_the_whole(write_pairs):
    path = write_pairs(*MEMBERS)
    _, _, whole = of_file(path, Fraction(5, 2))
    parts = [of_file(path, Fraction(5, 2), slice(2 * rank, 2 * rank + 2))[2] for rank in (0, 1)]
    for step in range(9):
        for drawn, shares in zip(whole.draw(step), zip(*(part.draw(step) for part in parts), strict=True), strict=True):
            np.testing.assert_array_equal(drawn, np.concatenate(shares))


def test_an_epoch_shows_each_patch_once():
    order = Order(24, 4, seed=1, augment=False)
    first, second = (np.concatenate([order.draw(6 * epoch + step)[0] for step in range(6)]) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(24))
    assert not np.array_equal(first, second)


def test_where_data_are_kept_follows_their_size():
    options = DataOptions(cache_bytes=100)
    assert options.is_cached(99)
    assert not options.is_cached(100)
    assert not DataOptions(workers=2).is_cached(1)
    assert not options.is_resident(1, CPU)
    assert DataOptions(resident="on").is_resident(10**12, CPU)
