"""A folder of phone pictures put into a session, as tests of it do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobilescope.app.acquisition.ingesting import IngestOptions, IngestResult, ingest_folder
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.progress import StopToken
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session

CONFIG = InstrumentConfig.model_validate({"benchtop": {"frame_rows": 128, "frame_columns": 96}})


def ingest(
    folder: Path, *, config: InstrumentConfig = CONFIG, stop: StopToken | None = None, **options: Any
) -> IngestResult:
    """Put a folder's pictures into s.h5 beside it."""
    options = {"slide": "s", "pixel_um": 0.5} | options
    return ingest_folder(
        folder, folder.parent / "s.h5", config, IngestOptions(**options), source="scope.toml", stop=stop
    )


def captures(folder: Path, slide: str = "s") -> list[CaptureRecord]:
    """Return the captures of that session, which must be whole."""
    with Session.open(folder.parent / "s.h5") as session:
        assert session.verify() == []
        return session.captures(slide)
