"""A job's acquisition: every slide of a plan on both instruments, into one session that can be resumed."""

from __future__ import annotations

from pathlib import Path

from mobilescope.acquire.capture import capture_fields
from mobilescope.acquire.scan import scan_slide, take_flat_field
from mobilescope.app.instrument import Instruments
from mobilescope.core.config import PhoneConfig, validate
from mobilescope.core.geometry import RegionUm
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.job import JobPlan, SlidePlan


def scan_grid(slide: SlidePlan, instruments: Instruments) -> FieldGrid:
    """Return the benchtop tiles of a slide."""
    rows, columns = instruments.benchtop.frame_shape
    pixel = instruments.benchtop.pixel_size_um
    return slide.scan.grid(columns * pixel, rows * pixel, slide.centre_um)


def capture_grid(slide: SlidePlan, instruments: Instruments) -> FieldGrid:
    """Return the phone fields of a slide."""
    return slide.capture.grid(*instruments.phone.field_of_view_um, slide.centre_um)


def open_writer(session: Path, plan: JobPlan, instruments: Instruments) -> SessionWriter:
    """Create the session of a plan, or open it to go on; a plan that can't be carried out leaves no session behind."""
    for slide in plan.slides:
        instruments.check_slide(slide.name)
    header = SessionHeader(
        slides=tuple(SlideEntry(name=slide.name, role=slide.role) for slide in plan.slides),
        instrument={"instrument": instruments.description, "plan": plan.model_dump(mode="json")},
        benchtop_shape=instruments.benchtop.frame_shape,
        phone_shape=instruments.phone.frame_shape,
    )
    return SessionWriter.create_or_resume(session, header)


def plan_of(session: Session) -> JobPlan:
    """Return the plan that a session was taken by."""
    return validate(JobPlan, session.header.instrument.get("plan"), source=str(session.path), prefix="plan")


def instrument_name(session: Session) -> str:
    """Return the name of the instrument that a session was taken with."""
    described = session.header.instrument.get("instrument")
    return str(described["name"]) if isinstance(described, dict) and "name" in described else "unknown instrument"


def phone_half_pitch_um(session: Session) -> float:
    """Return the finest line and space that a session's phone scope resolves; R18's where the session doesn't say."""
    described = session.header.instrument.get("instrument")
    phone = described.get("phone") if isinstance(described, dict) else None
    known = phone.get("half_pitch_um") if isinstance(phone, dict) else None
    return float(known) if isinstance(known, int | float) else PhoneConfig().half_pitch_um


def scan_job(
    writer: SessionWriter,
    plan: JobPlan,
    instruments: Instruments,
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> None:
    """Take the flat field and scan every slide on the benchtop; what the session has is not taken again."""
    take_flat_field(instruments.benchtop, writer, instruments.blank_slide)
    for slide in plan.slides:
        grid = scan_grid(slide, instruments)
        scan_slide(instruments.benchtop, writer, slide.name, grid, on_progress=on_progress, stop=stop)


def capture_job(
    writer: SessionWriter,
    plan: JobPlan,
    instruments: Instruments,
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> None:
    """Capture every slide with the phone; what the session has is not taken again."""
    for slide in plan.slides:
        grid = capture_grid(slide, instruments)
        capture_fields(instruments.phone, writer, slide.name, grid, on_progress=on_progress, stop=stop)


def evaluation_cell(slide: SlidePlan, grid: FieldGrid, x_um: float, y_um: float) -> RegionUm | None:
    """Return what may be evaluated of the field at a nominal position: its own cell of the grid within the content.

    Cells of neighbouring fields do not overlap, so that no part of a slide is counted twice.
    """
    cell = RegionUm.centred(x_um, y_um, *grid.pitch_um)
    return cell if slide.content is None else cell.intersection(slide.content)
