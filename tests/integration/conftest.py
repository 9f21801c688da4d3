from __future__ import annotations

import pytest
from integration.small_job import SmallJob, build


@pytest.fixture(scope="session")
def small_job(tmp_path_factory) -> SmallJob:
    """A finished job; tests leave its files as they are."""
    return build(tmp_path_factory.mktemp("job"))
