from __future__ import annotations

import numpy as np
import pytest
from session_samples import FOCUS, capture, tile, writer

from mobilescope.core.protocols import TileKey


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


@pytest.fixture
def filled(path):
    with writer(path) as session:
        for index in range(3):
            session.add_benchtop_tile(TileKey("lung-1", index // 2, index % 2), index, tile(index), FOCUS)
            session.add_phone_capture("lung-2", index, 0, index, capture(index))
        session.add_flat_field("benchtop", np.full((64, 80, 3), 230, np.uint8))
        session.add_flat_field("phone", np.full((48, 60), 500.5))
        session.add_flat_field("phone", np.full((48, 60), 700.5))
        session.add_event("warning", "tile 2 was dim")
    return path
