"""A slide's session taken with the twin in this process, stitched: the shortest way to real captures."""

from __future__ import annotations

from pathlib import Path

from mobilescope.acquire.capture import capture_fields
from mobilescope.acquire.scan import scan_slide, take_flat_fields
from mobilescope.app.mosaics.mosaicking import stitch_slide
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.writer import SessionWriter
from mobilescope.plans.job import JobPlan


def stitched_session(path: Path, twin, plan: JobPlan) -> Path:
    """Take the one slide of a plan on both instruments, and stitch it."""
    (slide,) = plan.slides
    header = SessionHeader(
        slides=(SlideEntry(name=slide.name, role="training"),),
        instrument={
            "instrument": {"name": "a twin", "phone": {"half_pitch_um": 0.9}}, "plan": plan.model_dump(mode="json"),
        },
        benchtop_shape=twin.benchtop.frame_shape, phone_shape=twin.phone.frame_shape,
    )
    with SessionWriter.create_or_resume(path, header) as writer:
        take_flat_fields(twin.benchtop, writer, "blank")
        rows, columns = twin.benchtop.frame_shape
        pixel = twin.benchtop.pixel_size_um
        scan_slide(twin.benchtop, writer, slide.name, slide.scan.grid(columns * pixel, rows * pixel))
        capture_fields(twin.phone, writer, slide.name, slide.capture.grid(*twin.phone.field_of_view_um))
    stitch_slide(path, slide.name)
    return path
