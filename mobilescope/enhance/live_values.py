"""What the live view hands around: the region looked at, an enhanced frame with its times, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import UserError
from mobilescope.core.protocols import Frame

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Region:
    """A rectangle of a picture in whole input pixels, counted from its upper left corner."""

    row: int
    column: int
    rows: int
    columns: int

    def __post_init__(self) -> None:
        """Refuse a rectangle that is empty or begins before the picture."""
        if min(self.row, self.column) < 0 or min(self.rows, self.columns) < 1:
            raise UserError(
                f"the region {self} is empty or begins outside the picture",
                "give row and column from 0, height and width from 1",
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``row,column,height,width``; UserError for anything else."""
        try:
            row, column, rows, columns = (int(part) for part in text.split(","))
        except ValueError as error:
            raise UserError(
                f"{text!r} is no region", "give row,column,height,width in pixels, such as 64,64,128,128"
            ) from error
        return cls(row, column, rows, columns)

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Self:
        """Return the region that is all of a picture (rows, columns, ...)."""
        return cls(0, 0, shape[0], shape[1])

    @classmethod
    def centre_half(cls, shape: tuple[int, ...]) -> Self:
        """Return the middle of a picture, half as high and half as wide."""
        return cls(shape[0] // 4, shape[1] // 4, max(1, shape[0] // 2), max(1, shape[1] // 2))

    def of(self, picture: Picture) -> Picture:
        """Return the region's pixels; UserError where the picture does not hold all of it."""
        if self.row + self.rows > picture.shape[0] or self.column + self.columns > picture.shape[1]:
            raise UserError(
                f"the region {self} leaves the picture of {picture.shape[0]} rows and {picture.shape[1]} columns",
                "choose one inside it",
            )
        return picture[self.row : self.row + self.rows, self.column : self.column + self.columns]

    def __str__(self) -> str:
        """Return the region as `parse` reads it."""
        return f"{self.row},{self.column},{self.rows},{self.columns}"


@dataclass(frozen=True, eq=False)
class Enhanced:
    """What was made of a frame.

    Attributes
    ----------
    pixels : ndarray, shape (rows, columns, 3), uint8
    region : Region
        The part of the frame that they show.
    method : str
        How they were computed, such as a rung of the quality ladder.
    """

    pixels: Picture
    region: Region
    method: str


@dataclass(frozen=True)
class FrameTimes:
    """What a frame's way to the screen took, in seconds; ``total_s`` is from its capture until it was shown.

    ``capture_s``: until the frame was handed over (decoding, copying). ``wait_s``: until its enhancement began.
    ``show_s``: from the enhancement's end until it was on the screen.
    """

    capture_s: float
    wait_s: float
    enhance_s: float
    show_s: float

    @property
    def total_s(self) -> float:
        """From capture to screen."""
        return self.capture_s + self.wait_s + self.enhance_s + self.show_s


@dataclass(frozen=True, eq=False)
class LivePicture:
    """A frame and what was made of it, to be shown side by side."""

    frame: Frame
    enhanced: Enhanced

    @property
    def enhanced_pixel_um(self) -> float | None:
        """Size of the enhanced picture's pixels at the specimen, None where the frame's is not known."""
        if self.frame.pixel_size_um is None:
            return None
        return self.frame.pixel_size_um * self.enhanced.region.columns / self.enhanced.pixels.shape[1]


class Verdict(Protocol):
    """How far an enhanced picture is to be trusted."""

    @property
    def state(self) -> str:
        """``trusted``, ``caution`` or ``not for use``."""

    @property
    def reasons(self) -> Sequence[str]:
        """Why, one sentence each."""


class LiveState(StrEnum):
    """Where a live run stands."""

    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self in (LiveState.ENDED, LiveState.STOPPED, LiveState.FAILED)


@dataclass(frozen=True)
class Delay:
    """Median and 95th percentile over the latest frames, NaN where there are none."""

    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class LiveSnapshot:
    """What a live run has done so far.

    Attributes
    ----------
    frames_in, frames_shown, dropped : int
        Frames that the source made, that were shown enhanced, and that gave way to newer ones.
    fps_in, fps_shown : float
        Rates over the last seconds.
    silent_s : float
        Since the latest frame came, or since the start where none has.
    usual_gap_s : float
        Between two frames that came, the median of the latest few; 0 before the second.
    delays : dict of Delay
        ``capture``, ``wait``, ``enhance``, ``show`` and ``total`` of enhanced frames; ``preview`` is from the capture
        to the screen of the frame as it came, where that is shown too.
    verdict : Verdict or None
        The latest; None until there is one.
    """

    state: LiveState
    seconds: float
    frames_in: int
    frames_shown: int
    dropped: int
    fps_in: float
    fps_shown: float
    silent_s: float
    usual_gap_s: float = 0.0
    delays: dict[str, Delay] = field(default_factory=dict)
    verdict: Verdict | None = None
