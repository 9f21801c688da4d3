from __future__ import annotations

import pytest
from phone_page_parts import serving


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as server:
        yield server
