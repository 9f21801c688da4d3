from __future__ import annotations

import pytest
from pair_bench import copy_of, scanned, small_twin


@pytest.fixture(scope="session")
def scan(make_twin, tmp_path_factory):
    """A session with the tiles of a small slide; tests take copies."""
    return scanned(small_twin(make_twin), tmp_path_factory.mktemp("scan"))


@pytest.fixture
def session(scan, tmp_path):
    return copy_of(scan, tmp_path)


@pytest.fixture
def twin(make_twin):
    return small_twin(make_twin)
