"""Calibrates the benchtop's stage against its camera and keeps the result where the instrument file finds it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import tomli_w

from mobilescope.acquire.autofocus import autofocus
from mobilescope.acquire.stage_calibration import CalibrationOptions, MeasuredStage, calibrate_stage
from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.app.pictures.folders import prepare_file
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.errors import CalibrationError, OutputError, UserError
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import BenchtopMicroscope
from mobilescope.core.stage_calibration import StageCalibration, load_stage_calibration
from mobilescope.core.whole_files import replaced_when_written
from mobilescope.devices.micromanager.benchtop import MicroManagerBenchtop


def calibration_path(instrument: Path | None, config: InstrumentConfig, out: Path | None) -> Path:
    """Return where a calibration goes: as asked, where the instrument file looks for it, or beside that file."""
    if out is not None:
        return out
    if config.benchtop.calibration is not None:
        return config.benchtop.calibration
    return Path("calibration.toml") if instrument is None else instrument.with_name("calibration.toml")


def calibrate_instrument(
    config: InstrumentConfig,
    out: Path,
    *,
    source: str,
    slide: str | None = None,
    autofocus_um: float = 0.0,
    options: CalibrationOptions | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> StageCalibration:
    """Calibrate an instrument's benchtop on what lies under it, and write the file; an earlier one is kept beside it.

    Parameters
    ----------
    slide : str, optional
        Slide to mount first.
    autofocus_um : float
        Focus first, so far up and down; 0 leaves the focus as it is.

    Raises
    ------
    CalibrationError
        The measurement does not support a calibration; nothing was written.
    """
    prepare_file(out)
    _check_replaceable(out)
    with build_instruments(config, source=source, calibrating=True) as instruments:
        microscope = instruments.benchtop
        if slide is not None:
            microscope.mount(slide)
        if autofocus_um > 0:
            centre_um = microscope.stage.position().z_um
            record = autofocus(microscope, centre_z_um=centre_um, half_range_um=autofocus_um)
            if record.verdict != "focused":
                raise CalibrationError(
                    f"the autofocus says {record.verdict}", "focus by hand on a place with fine structure"
                )
        measured = calibrate_stage(microscope, options=options, on_progress=on_progress, stop=stop)
        found = _described(measured, microscope)
    _write(found, out)
    return found


def _check_replaceable(out: Path) -> None:
    """Refuse a file that is there and is something else, such as the instrument file; OutputError names it."""
    try:
        if out.exists():
            load_stage_calibration(out)
    except UserError as error:
        raise OutputError(f"{out} is there and is no calibration of a stage", "give another --out") from error


def _described(measured: MeasuredStage, microscope: BenchtopMicroscope) -> StageCalibration:
    affine = measured.affine
    rows, columns = microscope.frame_shape
    known = microscope if isinstance(microscope, MicroManagerBenchtop) else None
    (xx, xy), (yx, yy) = affine.device_to_stage.tolist()
    return StageCalibration(
        pixel_size_um=affine.pixel_size_um,
        device_to_stage=((xx, xy), (yx, yy)),
        rotation_deg=affine.rotation_deg,
        mirrored=affine.mirrored,
        residual_um=affine.residual_px * affine.pixel_size_um,
        pixel_size_error=affine.pixel_size_error,
        backlash_um=measured.backlash_um,
        moves=measured.moves,
        frame_rows=rows,
        frame_columns=columns,
        objective="" if known is None else known.objective,
        binning="" if known is None else known.binning,
        device=microscope.stage.describe(),
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _write(found: StageCalibration, out: Path) -> None:
    """Write the file whole or not at all."""
    text = tomli_w.dumps(found.model_dump(mode="json"))
    with replaced_when_written(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
        if out.exists():
            out.replace(out.with_name(f"{out.stem}.previous{out.suffix}"))
