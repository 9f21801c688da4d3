"""From the table `[stage]` of an instrument file to the phone scope's stage.

What only some stages need is imported where it is needed: a motor is to answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from numpy.typing import NDArray
from serial.tools import list_ports

from mobilescope.app.terminal.asking import ask_person
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.errors import DeviceError, MobilescopeError, UserError
from mobilescope.core.protocols import XYZStage
from mobilescope.core.stage_config import StageConfig
from mobilescope.devices.stages import GrblController, ManualStage, MotionController, MotorStage, SangaboardController
from mobilescope.devices.stages.line_link import BAUD
from mobilescope.devices.stages.probing import probe_stage
from mobilescope.devices.transport import SerialWire

_PROBE_S = 1.9


@contextmanager
def opened_phone_stage(config: InstrumentConfig, *, source: str, port: str | None = None) -> Iterator[XYZStage]:
    """Open the phone scope's stage and free it afterwards.

    Parameters
    ----------
    source : str
        Name of the instrument file, for messages.
    port : str, optional
        Serial port instead of the file's.
    """
    if config.stage.kind == "none":
        raise UserError(
            f"{source} names no stage of the phone scope", "add a table [stage] with kind = \"grbl\" or \"sangaboard\""
        )
    if config.stage.kind == "manual":
        if port is not None:
            raise UserError("a manual stage has no port", "leave --port out")
        with _manual_stage(config.stage) as manual:
            yield manual
        return
    with _motor_stage(config.stage, port) as stage:
        yield stage


def _motor_stage(config: StageConfig, port: str | None = None) -> MotorStage:
    """Open a motorised stage on the port given, the file's, or the one on which such a board answers."""
    wire = SerialWire(port or config.port or _only_port(config.kind), BAUD)
    controller: MotionController
    if config.kind == "grbl":
        controller = GrblController(wire, speed_um_s=(config.xy_speed_um_s, config.z_speed_um_s))
    else:
        assert config.um_per_step is not None  # the configuration's own check
        controller = SangaboardController(wire, config.um_per_step)
    try:
        return MotorStage(controller, config)
    except BaseException:
        controller.close()
        raise


def _only_port(kind: str) -> str:
    """Return the port of the one board of a kind that answers."""
    found = []
    for info in list_ports.comports():
        try:
            identity = probe_stage(info.device, patience_s=_PROBE_S)
        except MobilescopeError:
            continue
        if identity is not None and identity.kind.lower() == kind:
            found.append(info.device)
    if not found:
        raise UserError(f"no {kind} board answers on any port", "plug it in, or name its port with --port")
    if len(found) > 1:
        raise UserError(f"several {kind} boards answer: {', '.join(found)}", "choose one with --port")
    return str(found[0])


@contextmanager
def _manual_stage(config: StageConfig) -> Iterator[ManualStage]:
    """Open the camera that follows a stage moved by hand."""
    from mobilescope.acquire.view_tracking import ViewTracker
    from mobilescope.app.instruments.live_sources import SourceOptions, opened_source

    assert config.camera is not None  # both are the configuration's own check
    assert config.camera_pixel_um is not None
    with ExitStack() as stack:
        camera = stack.enter_context(opened_source(SourceOptions(config.camera)))

        def look() -> NDArray[np.uint8]:
            frame = camera.read()
            if frame is None:
                raise DeviceError(f"{camera.name} sends no more pictures", "check the camera and its cable")
            return frame.pixels

        rows, columns = look().shape[:2]
        pixel_um = config.camera_pixel_um
        yield ManualStage(
            ask_person, ViewTracker(look, pixel_um).moved_um, config, (columns * pixel_um, rows * pixel_um)
        )
