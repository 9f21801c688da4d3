"""The benchtop as far as an instrument file describes it, for work with the phone alone."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from mobilescope.core.config import BenchtopConfig
from mobilescope.core.errors import ConfigError, UserError
from mobilescope.core.protocols import BenchtopImage, XYZStage
from mobilescope.data.session import Session


class PaperBenchtop:
    """Implements `BenchtopMicroscope` up to its frame; nothing is opened, and whatever would move is refused."""

    def __init__(self, frame_shape: tuple[int, int], pixel_size_um: float) -> None:
        self.frame_shape = frame_shape
        self.pixel_size_um = pixel_size_um

    @property
    def stage(self) -> XYZStage:
        """There is none."""
        return self._refuse()

    def mount(self, _slide: str) -> None:
        """Refuse."""
        self._refuse()

    def snap(self, *, roi_px: int | None = None) -> BenchtopImage:
        """Refuse."""
        return self._refuse()

    def _refuse(self) -> NoReturn:
        raise UserError("the benchtop was not opened, since the phone alone is at work", "scan in a run of its own")


def paper_benchtop(config: BenchtopConfig, *, source: str, session: Path | None) -> PaperBenchtop:
    """Return the benchtop of a file, its frame from there or from the session that is gone on with.

    Raises
    ------
    ConfigError
        A real microscope's frame is not known: a session reserves it for the scan to come.
    """
    known = {"frame_rows", "frame_columns"} <= config.model_fields_set or config.kind == "twin"
    if known:
        return PaperBenchtop((config.frame_rows, config.frame_columns), config.pixel_size_um)
    if session is not None and session.exists():
        with Session.open(session) as begun:
            return PaperBenchtop(begun.header.benchtop_shape, config.pixel_size_um)
    raise ConfigError(
        f"{source}: the frame of the benchtop's camera is not known, and a session needs it for the scan to come",
        "give frame_rows and frame_columns in [benchtop], or scan first",
    )
