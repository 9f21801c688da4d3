"""From an instrument file to the stage that a person asks for: the phone scope's or the benchtop's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from mobilescope.app.instruments.phone_stage import opened_phone_stage
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.errors import UserError
from mobilescope.core.protocols import XYZStage

Whose = Literal["phone", "benchtop"]


@contextmanager
def opened_stage(config: InstrumentConfig, *, source: str, whose: Whose | None, port: str | None) -> Iterator[XYZStage]:
    """Open a stage and free it afterwards.

    Parameters
    ----------
    source : str
        Name of the instrument file, for messages.
    whose : str, optional
        Without it the phone scope's where the file has a table ``[stage]``, else the benchtop's.
    port : str, optional
        Serial port instead of the file's.
    """
    whose = whose or ("benchtop" if config.stage.kind == "none" else "phone")
    if whose == "phone":
        with opened_phone_stage(config, source=source, port=port) as stage:
            yield stage
        return
    if port is not None:
        raise UserError("--port is for the phone scope's stage", "name the benchtop's in its own table [benchtop]")
    # A motor is to answer at once: the benchtop's software is loaded for its own stage alone.
    from mobilescope.app.instruments.instrument import build_instruments

    with build_instruments(config, source=source) as instruments:
        yield instruments.benchtop.stage
