"""A scan over ready pictures in a process of its own, for tests that kill it; prints each tile that it tells as stored.

    python scan_program.py SESSION ROWS COLUMNS SETTLE_S
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
from ready_microscope import PIXEL_UM, ReadyMicroscope, ReadyStage, textured

from mobilescope.acquire.runner import ScanRunner
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.writer import SessionWriter
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.tile_areas import TileArea

FRAME_PX = 96
SLIDE = "s"
# Made at import, so that a forked process begins to scan at once; in one thread, since threads don't survive a fork.
cv2.setNumThreads(0)
PICTURE = textured(768)
ReadyMicroscope(PICTURE, FRAME_PX)


def area(rows: int, columns: int) -> TileArea:
    """Return the tiles of the scan."""
    return TileArea(FieldGrid(rows, columns, FRAME_PX * PIXEL_UM, FRAME_PX * PIXEL_UM, overlap=0.2))


def header() -> SessionHeader:
    """Return what the session is begun with."""
    return SessionHeader(
        slides=(SlideEntry(name=SLIDE, role="training"),), instrument={"instrument": {"name": "ready"}},
        benchtop_shape=(FRAME_PX, FRAME_PX), phone_shape=(4, 4),
    )


def scan(session: Path, rows: int, columns: int, settle_s: float) -> None:
    """Scan what the session lacks."""
    device = ReadyMicroscope(PICTURE, FRAME_PX, stage=ReadyStage(settle_s=settle_s))

    def told(progress) -> None:
        print(progress.done, flush=True)

    with SessionWriter.create_or_resume(session, header(), margin_bytes=0) as writer:
        print("ready", flush=True)
        ScanRunner(device, writer, [SlideRun(SLIDE, area(rows, columns))], on_progress=told).run()


if __name__ == "__main__":
    scan(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
