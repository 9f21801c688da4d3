from __future__ import annotations

import pytest


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "DCIM"
    folder.mkdir()
    return folder
