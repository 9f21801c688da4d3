"""From an instrument file to instruments: the only place that chooses between the twin and real devices."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from mobilescope.app.lighting import RingLight
from mobilescope.core.config import InstrumentConfig, load_model, validate
from mobilescope.core.protocols import BenchtopMicroscope, PhoneCamera
from mobilescope.devices.micromanager import MicroManagerStage, demo_configuration
from mobilescope.twin.benchtop import TwinBenchtop
from mobilescope.twin.phone import TwinPhone
from mobilescope.twin.slides import BLANK, SlideRack
from mobilescope.twin.table import TwinTable
from mobilescope.twin.truth import TruthLog


@dataclass(frozen=True)
class Instruments:
    """Both instruments and the description that is stored with every session.

    Leaving the with-block switches the light off and frees the ring's port. ``check_slide`` raises a UserError for the
    name of a slide that can't be mounted.
    """

    benchtop: BenchtopMicroscope
    phone: PhoneCamera
    light: RingLight
    description: dict[str, Any]
    blank_slide: str
    check_slide: Callable[[str], object]

    def __enter__(self) -> Self:
        """Return the instruments."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the ring dark."""
        self.light.close()

    @property
    def description_json(self) -> str:
        """The description as one line of JSON with sorted keys."""
        return json.dumps(self.description, sort_keys=True)


def load_instrument(path: Path | None) -> InstrumentConfig:
    """Read an instrument file; without one it is the twin with its defaults."""
    return InstrumentConfig() if path is None else load_model(InstrumentConfig, path)


def build_instruments(config: InstrumentConfig, *, source: str, truth: TruthLog | None = None) -> Instruments:
    """Build what an instrument file describes.

    Parameters
    ----------
    source : str
        Name of the file, for error messages.
    truth : TruthLog, optional
        Where the twin writes down what really happened, for tests and benchmarks.
    """
    table = validate(TwinTable, config.twin, source=source, prefix="twin")
    parameters = table.parameters(preset=config.phone.preset, source=source)
    rack = SlideRack(table.slides, parameters.surface)
    log = truth if truth is not None else TruthLog()
    stage = MicroManagerStage(demo_configuration())
    light = RingLight(config.ring)
    return Instruments(
        benchtop=TwinBenchtop(stage, rack, parameters, config.benchtop, seed=table.seed, truth=log),
        phone=TwinPhone(rack, parameters, seed=table.seed, truth=log, illuminator=light),
        light=light,
        description=config.model_dump(mode="json"),
        blank_slide=BLANK,
        check_slide=rack.slide,
    )
