"""A paired session over the twin as the command runs it, in a process of its own, for tests that kill it.

Prints "ready" once the session is open, then the number of fields told as done after each.

    python pair_program.py SESSION ROWS COLUMNS
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

from mobilescope.app.acquisition.acquiring import open_writer
from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.app.paired_sessions.pair_operator import StandIn
from mobilescope.app.paired_sessions.pair_session import PairRequest, SessionPairing
from mobilescope.core.config import InstrumentConfig
from mobilescope.plans.job import GridPlan, JobPlan, SlidePlan
from mobilescope.plans.scan_plans import FocusPlan, GridScan

SLIDE, FRAME_PX, BAYER_PX = "s", 256, 256
CONFIG = InstrumentConfig.model_validate({
    "benchtop": {"frame_rows": FRAME_PX, "frame_columns": FRAME_PX},
    "twin": {
        "seed": 4, "phone": {"bayer_rows": BAYER_PX, "bayer_columns": BAYER_PX, "position_error_um": 3.0},
        "slides": {SLIDE: {"specimen": "blood", "seed": 5}},
    },
})
# Threads don't survive a fork.
cv2.setNumThreads(0)


def plan(rows: int, columns: int) -> JobPlan:
    """Return a plan of fields side by side, with a scan that reaches around them."""
    scan = GridScan(rows=rows + 3, columns=columns + 3, focus=FocusPlan(every=4))
    return JobPlan(slides=(SlidePlan(
        name=SLIDE, role="training", scan=scan, capture=GridPlan(rows=rows, columns=columns, overlap=0.0)
    ),))


def pair(session: Path, rows: int, columns: int) -> None:
    """Pair what the session lacks."""
    job = plan(rows, columns)
    with build_instruments(CONFIG, source="the test") as instruments, open_writer(session, job, instruments) as writer:
        print("ready", flush=True)
        SessionPairing(
            writer, job, instruments, StandIn(), PairRequest(), lambda *_: None,
            on_progress=lambda progress: print(progress.done, flush=True),
        ).pair()


if __name__ == "__main__":
    pair(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
