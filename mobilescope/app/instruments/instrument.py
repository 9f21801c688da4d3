"""From an instrument file to instruments: the only place that chooses between the twin and real devices."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from mobilescope.app.instruments.lighting import RingLight
from mobilescope.app.instruments.paper_benchtop import PaperBenchtop
from mobilescope.app.instruments.phone_opening import ask_for_phone, described_phone, open_phone
from mobilescope.app.terminal.mounting import ask_in_terminal
from mobilescope.core.config import BenchtopConfig, InstrumentConfig, validate
from mobilescope.core.errors import ConfigError, MobilescopeError
from mobilescope.core.protocols import BenchtopMicroscope, PhoneCamera
from mobilescope.core.stage_calibration import StageCalibration, load_stage_calibration
from mobilescope.devices.micromanager import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    DEFAULT_TIMEOUT_S,
    CoreLink,
    JavaCore,
    MicroManagerStage,
    PythonCore,
    demo_configuration,
)
from mobilescope.devices.micromanager.benchtop import MicroManagerBenchtop
from mobilescope.devices.phones.real_phone import RealPhone
from mobilescope.twin.benchtop import TwinBenchtop
from mobilescope.twin.phone import TwinPhone
from mobilescope.twin.slides import BLANK, SlideRack
from mobilescope.twin.table import TwinTable
from mobilescope.twin.truth import TruthLog


@dataclass(frozen=True)
class Instruments:
    """Both instruments and the description that is stored with every session.

    Leaving the with-block switches the lights off, and frees the ring's port and the link to Micro-Manager.
    ``check_slide`` raises a UserError for the name of a slide that can't be mounted. ``focus_approach_um`` is how far
    below a z the focus drive turns round to come to it, for its play. ``changed_by_hand`` tells that a person puts the
    slides under the benchtop.
    """

    benchtop: BenchtopMicroscope
    phone: PhoneCamera
    light: RingLight
    description: dict[str, Any]
    blank_slide: str
    check_slide: Callable[[str], object]
    focus_approach_um: float
    changed_by_hand: bool

    def __enter__(self) -> Self:
        """Return the instruments."""
        return self

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        """Leave both instruments dark; where that fails after another failure, it is a note to the first."""
        try:
            if isinstance(self.phone, RealPhone):
                self.phone.close()
            if isinstance(self.benchtop, MicroManagerBenchtop):
                self.benchtop.close()
        except MobilescopeError as second:
            if failure is None:
                raise
            failure.add_note(f"the benchtop's light may still be on: {second.cause}")
        finally:
            self.light.close()

    @property
    def description_json(self) -> str:
        """The description as one line of JSON with sorted keys."""
        return json.dumps(self.description, sort_keys=True)


def build_instruments(
    config: InstrumentConfig,
    *,
    source: str,
    truth: TruthLog | None = None,
    ask_mount: Callable[[str], None] = ask_in_terminal,
    ask_phone_mount: Callable[[str], None] = ask_for_phone,
    calibrating: bool = False,
    paper: PaperBenchtop | None = None,
) -> Instruments:
    """Build what an instrument file describes.

    Parameters
    ----------
    source : str
        Name of the file, for error messages.
    truth : TruthLog, optional
        Where the twin writes down what really happened, for tests and benchmarks.
    ask_mount : callable, optional
        Has the person put a named slide under a real microscope; asks in the terminal unless given.
    ask_phone_mount : callable, optional
        The same for a real phone scope.
    calibrating : bool
        Leave an earlier calibration aside, and don't compare pixel sizes.
    paper : PaperBenchtop, optional
        Stands for the benchtop, which is not opened then.
    """
    table = validate(TwinTable, config.twin, source=source, prefix="twin")
    parameters = table.parameters(preset=config.phone.preset, source=source)
    rack = SlideRack(table.slides, parameters.surface)
    log = truth if truth is not None else TruthLog()
    light = RingLight(config.ring)
    benchtop: BenchtopMicroscope
    phone: PhoneCamera
    if config.phone.kind == "twin":
        pictures = config.phone.pictures or "dng+jpeg"
        phone = TwinPhone(rack, parameters, seed=table.seed, truth=log, illuminator=light, pictures=pictures)
    else:
        phone = open_phone(config, source=source, illuminator=light, ask_mount=ask_phone_mount)
    if paper is not None:
        benchtop = paper
    elif config.benchtop.kind == "micromanager":
        benchtop = _micromanager(config.benchtop, source=source, ask_mount=ask_mount, calibrating=calibrating)
    else:
        stage = MicroManagerStage(demo_configuration())
        benchtop = TwinBenchtop(stage, rack, parameters, config.benchtop, seed=table.seed, truth=log, ring=light)
    return Instruments(
        benchtop=benchtop,
        phone=phone,
        light=light,
        description=describe(config),
        blank_slide=BLANK,
        check_slide=rack.slide if (config.benchtop if paper is None else config.phone).kind == "twin" else str,
        focus_approach_um=config.benchtop.approach_um,
        changed_by_hand=config.benchtop.kind != "twin",
    )


def describe(config: InstrumentConfig) -> dict[str, Any]:
    """Return the description of an instrument that is stored with every session."""
    description = config.model_dump(mode="json")
    description["phone"] = described_phone(config.phone)
    description["benchtop"] = config.benchtop.model_dump(mode="json", exclude_none=True)
    if config.stage.kind == "none":
        del description["stage"]
    else:
        description["stage"] = config.stage.model_dump(mode="json", exclude_none=True)
    return description


def _micromanager(
    config: BenchtopConfig, *, source: str, ask_mount: Callable[[str], None], calibrating: bool
) -> MicroManagerBenchtop:
    """Connect to a microscope on Micro-Manager; what does not fit the instrument file names it."""
    try:
        calibration = None
        if config.calibration is not None and not calibrating:
            if not config.calibration.exists():
                raise ConfigError(
                    f"there is no calibration {config.calibration}",
                    "make it: mobilescope calibrate stage with this --config; or leave the key calibration out",
                )
            calibration = load_stage_calibration(config.calibration)
        return _connected(config, calibration, ask_mount=ask_mount, calibrating=calibrating)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error.cause}", error.remedy) from error


def _connected(
    config: BenchtopConfig,
    calibration: StageCalibration | None,
    *,
    ask_mount: Callable[[str], None],
    calibrating: bool,
) -> MicroManagerBenchtop:
    timeout_s = config.timeout_s or DEFAULT_TIMEOUT_S
    link: CoreLink
    if config.backend == "java":
        link = JavaCore(
            config.host or DEFAULT_HOST, config.port or DEFAULT_PORT, timeout_s=timeout_s,
            configuration=config.configuration,
        )
    else:
        assert config.configuration is not None  # the configuration's own check
        link = PythonCore(config.configuration, timeout_s=timeout_s)
    try:
        return MicroManagerBenchtop(
            link, config, calibration=calibration, ask_mount=ask_mount, trusting=calibrating
        )
    except BaseException:
        link.close()
        raise
