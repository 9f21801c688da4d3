"""A job's acquisition: every slide of a plan on both instruments, into one session that can be resumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobilescope.acquire.capture import capture_fields, try_lights
from mobilescope.acquire.disk_guard import DiskGuard
from mobilescope.acquire.plan_checks import check_runs
from mobilescope.acquire.runner import RunSnapshot, ScanRunner
from mobilescope.acquire.scan import take_flat_fields
from mobilescope.acquire.slide_run import SlideRun
from mobilescope.acquire.stored_links import is_linking, link_from
from mobilescope.app.instruments.channels import channel_switch
from mobilescope.app.instruments.instrument import Instruments
from mobilescope.app.pictures.light_keeping import fitting_light, keep_light, told_pictures
from mobilescope.core.config import PhoneConfig, validate
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import PlanError
from mobilescope.core.geometry import RegionUm
from mobilescope.core.phone_picture import AttendedPhone
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import BoundedStage
from mobilescope.data.phone_light import LightPictures
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.session import Session
from mobilescope.data.writer import DISK_MARGIN_BYTES, SessionWriter
from mobilescope.devices.phones.real_phone import RealPhone
from mobilescope.imaging.frame_link import FrameLink
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.job import JobPlan, SlidePlan


def slide_run(slide: SlidePlan, instruments: Instruments) -> SlideRun:
    """Return what is to be scanned of a slide, laid out for the benchtop's field; PlanError where nothing is."""
    if slide.scan is None:
        raise PlanError(f"the plan has no scan for slide {slide.name!r}", "add the table scan to it")
    scan, (rows, columns), pixel = slide.scan, instruments.benchtop.frame_shape, instruments.benchtop.pixel_size_um
    area = scan.area((columns * pixel, rows * pixel), slide.centre_um, slide.content or _reach(instruments))
    return SlideRun(
        slide.name, area, mounted=slide.mounted, channels=scan.channels, z=scan.z, focus=scan.focus,
        saturated=scan.saturated, approach_um=instruments.focus_approach_um,
    )


def _reach(instruments: Instruments) -> RegionUm | None:
    """Return what the benchtop's stage can reach, None where it doesn't say."""
    stage = instruments.benchtop.stage
    if not isinstance(stage, BoundedStage):
        return None
    (left, right), (top, bottom) = stage.xy_range_um()
    region = RegionUm(left, top, right - left, bottom - top)
    return region if math.isfinite(region.width_um) and math.isfinite(region.height_um) else None


def capture_grid(slide: SlidePlan, instruments: Instruments) -> FieldGrid:
    """Return the phone fields of a slide."""
    return slide.fields(*instruments.phone.field_of_view_um)


def field_grid(slide: SlidePlan, width_um: float, height_um: float) -> FieldGrid:
    """Return a slide's phone fields of a size; of one that is planned without, a single one at its centre."""
    if slide.capture is None:
        return FieldGrid(1, 1, width_um, height_um, *slide.centre_um, overlap=0.0)
    return slide.fields(width_um, height_um)


def run_of_tiles(
    writer: SessionWriter, instruments: Instruments, run: SlideRun, *, stop: StopToken | None = None
) -> ScanRunner:
    """Return the scan of some tiles of a slide."""
    rows, columns = instruments.benchtop.frame_shape
    return ScanRunner(
        instruments.benchtop, writer, [run], switch=channel_switch(instruments), stop=stop,
        disk=DiskGuard(writer.path.absolute().parent, 3 * rows * columns, DISK_MARGIN_BYTES),
    )


def open_writer(
    session: Path, plan: JobPlan, instruments: Instruments, *, captures: bool = False,
    on_progress: ProgressListener = ignore_progress,
) -> SessionWriter:
    """Create the session of a plan, or open it to go on; a plan that can't be carried out leaves no session behind.

    Nor does, where there will be ``captures``, a calibration of the phone's light that does not fit.
    """
    for slide in plan.slides:
        instruments.check_slide(slide.mounted)
    if isinstance(instruments.phone, RealPhone) and session.exists():
        # A phone that is not at hand is not asked for what the session knows.
        with Session.open(session) as begun:
            instruments.phone.expect(begun.header.phone_shape)
    header = session_header(
        plan, instruments.description, instruments.benchtop.frame_shape, instruments.phone.frame_shape
    )
    calibration, pictures = _phone_light(instruments)
    if captures and calibration is not None and not session.exists():
        fitting_light(calibration, header.phone_shape, pictures)
    return SessionWriter.create_or_resume(session, header, on_progress=on_progress)


def session_header(
    plan: JobPlan, description: dict[str, Any], benchtop_shape: tuple[int, int], phone_shape: tuple[int, int]
) -> SessionHeader:
    """Return the header of a plan's session."""
    return SessionHeader(
        slides=tuple(_entry(slide) for slide in plan.slides),
        instrument={"instrument": description, "plan": plan.model_dump(mode="json")},
        benchtop_shape=benchtop_shape,
        phone_shape=phone_shape,
    )


def _entry(slide: SlidePlan) -> SlideEntry:
    return SlideEntry(name=slide.name, role=slide.role, stain="" if slide.stain == "unknown" else slide.stain)


def plan_of(session: Session) -> JobPlan:
    """Return the plan that a session was taken by; one of its slides alone for pictures that were taken elsewhere."""
    if "plan" not in session.header.instrument:
        return JobPlan(slides=tuple(
            SlidePlan(name=slide.name, role=slide.role, stain=slide.stain or "unknown") for slide in session.slides
        ))
    return validate(JobPlan, session.header.instrument.get("plan"), source=str(session.path), prefix="plan")


def phone_half_pitch_um(session: Session) -> float:
    """Return the finest line and space that a session's phone scope resolves; R18's where the session doesn't say."""
    described = session.header.instrument.get("instrument")
    phone = described.get("phone") if isinstance(described, dict) else None
    known = phone.get("half_pitch_um") if isinstance(phone, dict) else None
    return float(known) if isinstance(known, int | float) else PhoneConfig().half_pitch_um


def scan_runner(
    writer: SessionWriter,
    plan: JobPlan,
    instruments: Instruments,
    *,
    slides: Sequence[str] = (),
    wait_for_room: bool = False,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> ScanRunner:
    """Return the scan of a plan, or of some of its slides, as something to run, pause and cancel.

    Raises
    ------
    LimitError, PlanError
        The plan can't be carried out with these instruments; nothing was moved.
    """
    chosen = _scanned(plan, slides)
    rows, columns = instruments.benchtop.frame_shape
    return ScanRunner(
        instruments.benchtop, writer, [slide_run(slide, instruments) for slide in chosen],
        switch=channel_switch(instruments), on_progress=on_progress, stop=stop, wait_for_room=wait_for_room,
        disk=DiskGuard(writer.path.absolute().parent, 3 * rows * columns, DISK_MARGIN_BYTES),
    )


def scan_job(
    writer: SessionWriter,
    plan: JobPlan,
    instruments: Instruments,
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> None:
    """Take the flat fields and scan every slide on the benchtop; what the session has is not taken again."""
    run_scan(scan_runner(writer, plan, instruments, on_progress=on_progress, stop=stop), writer, instruments)


def check_plan(plan: JobPlan, instruments: Instruments, slides: Sequence[str] = ()) -> None:
    """Refuse a plan, or some of its slides, that these instruments can't carry out, before there is a session of it.

    Raises
    ------
    LimitError, PlanError
        Names the tile outside the stage's range, or the channel that can't be had.
    """
    chosen = _scanned(plan, slides)
    check_runs([slide_run(slide, instruments) for slide in chosen], instruments.benchtop, channel_switch(instruments))


def _scanned(plan: JobPlan, slides: Sequence[str]) -> list[SlidePlan]:
    """Return the slides to scan: those named, else all that have a scan; PlanError where there is none."""
    chosen = [plan.slide(name) for name in slides] or [slide for slide in plan.slides if slide.scan is not None]
    if not chosen:
        raise PlanError("no slide of the plan has a scan", "add the table scan to one")
    return chosen


def run_scan(
    runner: ScanRunner, writer: SessionWriter, instruments: Instruments, *, clear_field: bool = True
) -> RunSnapshot:
    """Check the plan, take the flat fields, and scan.

    Parameters
    ----------
    clear_field : bool
        Whether a clear field can be put under the objective; without one, stitching finds the uneven light itself.
    """
    runner.check()
    if clear_field:
        lights = {each.name if each else "": each for run in runner.runs for each in run.channels or (None,)}
        take_flat_fields(
            instruments.benchtop, writer, instruments.blank_slide, list(lights.values()), channel_switch(instruments)
        )
    return runner.run()


def capture_job(
    writer: SessionWriter,
    plan: JobPlan,
    instruments: Instruments,
    *,
    slides: Sequence[str] = (),
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> None:
    """Capture every slide, or those named, with the phone; what the session has is not taken again.

    The fields of a slide that has pairs are gone to by its link.
    """
    if isinstance(instruments.phone, AttendedPhone):
        with Session.open(writer.path) as session:
            instruments.phone.know(known_files(session))
    keep_phone_light(writer, instruments)
    for slide in captured_slides(plan, slides):
        grid = capture_grid(slide, instruments)
        capture_fields(
            instruments.phone, writer, slide.name, grid, mounted=slide.mounted,
            lights=() if slide.capture is None else slide.capture.lights, link=known_link(writer.path, slide),
            on_progress=on_progress, stop=stop,
        )


def check_lights(plan: JobPlan, instruments: Instruments) -> None:
    """Refuse a plan that names a light which can't be had, before there is a session of it; the light goes off."""
    lights = [light for slide in plan.slides if slide.capture is not None for light in slide.capture.lights]
    if not lights:
        return
    try:
        try_lights(instruments.phone.illuminator, lights)
    finally:
        instruments.phone.illuminator.off()


def known_link(session: Path, slide: SlidePlan) -> FrameLink | None:
    """Return the link from the phone scope's frame to the benchtop's by a slide's pairs, None where it has none."""
    with Session.open(session) as opened:
        pairs = opened.pair_links(slide.name)
    if not any(map(is_linking, pairs)):
        return None
    return link_from(pairs, FrameLink.nominal(slide.centre_um), 1 + max(pair.run for pair in pairs))


def link_notes(writer: SessionWriter, slides: Sequence[SlidePlan], instruments: Instruments) -> list[str]:
    """Say of each slide with fields left how a phone scope that stands by itself finds the benchtop's places."""
    notes = []
    for slide in slides:
        if all(writer.has_capture(slide.name, at.row, at.column) for at in capture_grid(slide, instruments)):
            continue
        with Session.open(writer.path) as opened:
            scanned = bool(opened.tiles(slide.name))
        if known_link(writer.path, slide) is not None:
            notes.append(f"slide {slide.name}: the plan's fields are gone to by the link of its pairs")
        elif scanned:
            notes.append(
                f"warning: slide {slide.name} was scanned on the benchtop's stage, and nothing links the phone scope's "
                "with it: the plan's places are taken as they are, and register has to search the fields; 'mobilescope "
                "pair' captures them where they belong"
            )
    return notes


def captured_slides(plan: JobPlan, slides: Sequence[str] = ()) -> list[SlidePlan]:
    """Return the slides to capture: those named, else all that have fields; PlanError where there is none."""
    chosen = [plan.slide(name) for name in slides] or [slide for slide in plan.slides if slide.capture is not None]
    if not chosen:
        raise PlanError("no slide of the plan has phone fields", "add the key capture to one")
    return chosen


def known_files(session: Session) -> set[str]:
    """Return the SHA-256 of the files that a session's phone captures were made of."""
    records = [record for slide in session.slides for record in session.captures(slide.name, channel=None)]
    names = ("dng_sha256", "jpeg_sha256", "picture_sha256")
    return {
        digest for record in records for digest in (*map(record.settings.get, names), record.jpeg_sha256) if digest
    }


def keep_phone_light(writer: SessionWriter, instruments: Instruments) -> None:
    """Copy the phone's dark frames and clear field into a session that has none of its own; raises as `keep_light`."""
    keep_light(writer, *_phone_light(instruments))


def _phone_light(instruments: Instruments) -> tuple[Path | None, LightPictures | None]:
    """Return the calibration that an instrument file names, and what the phone's pictures are, as far as known."""
    table = instruments.description.get("development", {})
    development = validate(DevelopmentConfig, table, source="the instrument", prefix="development")
    return development.calibration, told_pictures(instruments.description.get("phone", {}))


def evaluation_cell(slide: SlidePlan, size_um: tuple[float, float], x_um: float, y_um: float) -> RegionUm | None:
    """Return what may be evaluated of the field at a nominal position: a cell of a size around it, within the content.

    Cells of the size of a grid's pitch do not overlap, so that no part of a slide is counted twice.
    """
    cell = RegionUm.centred(x_um, y_um, *size_um)
    return cell if slide.content is None else cell.intersection(slide.content)
