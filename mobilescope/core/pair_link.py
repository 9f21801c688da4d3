"""What a paired session knows of one field: the capture, where it lies on the benchtop, and the verdict on the pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["accepted", "refused"]
Source = Literal["mosaic", "tiles", ""]
# The figures of `imaging.quality.PairQuality` that are stored with a field.
QUALITY_NAMES = (
    "residual_median_px", "residual_p95_px", "residual_median_um", "residual_p95_um", "pearson", "pearson_low",
    "inliers", "inlier_ratio", "inlier_spread", "reprojection_px", "detail_transfer", "focus_moving", "focus_fixed",
    "saturated_fraction", "blank_fraction",
)

# In place of a row of the plan's grid, of fields without a planned place: one that was suggested, and a picture
# that was taken elsewhere. Their column is a number.
SUGGESTED_ROW, INGESTED_ROW = -1, -2
# A session has room for so many tiles under a field.
MAX_LINK_TILES = 25


@dataclass(frozen=True)
class PairLink:
    """One field of a paired session; lengths in µm, places (x, y).

    Attributes
    ----------
    index : int
        The phone capture, by its number within the slide.
    row, column : int
        The field: its place in the plan's grid, or `SUGGESTED_ROW` or `INGESTED_ROW` and a number of its own.
    phone_um, planned_um, found_um : tuple of float
        Where the phone scope was sent, in its own frame; where that is in the benchtop's frame by the link; and where
        the picture's centre was found there, not a number where it was not.
    picture_to_um : tuple of float
        The six numbers, row by row, that take the developed picture's (x, y) in pixels to the benchtop's µm.
    link : tuple of float
        The six numbers, row by row, that took the phone's frame to the benchtop's at that time.
    link_residual_um, link_points
        What that link rested on.
    reason : str
        Why the pair is refused; empty for one that is accepted.
    quality : dict
        Figures of `PairQuality` by name, those that are stored; empty where the field was not found.
    source : {"mosaic", "tiles", ""}
        What it was found in.
    tiles : tuple of (row, column)
        The benchtop's tiles under it; where they are more than `MAX_LINK_TILES`, those under most of the field.
    attempts : int
        How many captures it took.
    run : int
        Number of the run that made it; between runs the slide may have been put back differently.
    """

    slide: str
    index: int
    row: int
    column: int
    time_s: float
    phone_um: tuple[float, float]
    planned_um: tuple[float, float]
    found_um: tuple[float, float]
    picture_to_um: tuple[float, ...]
    link: tuple[float, ...]
    link_residual_um: float
    link_points: int
    verdict: Verdict
    reason: str
    quality: dict[str, float]
    source: Source
    tiles: tuple[tuple[int, int], ...]
    attempts: int
    seconds: float
    run: int

    @property
    def accepted(self) -> bool:
        """Whether the pair may be trained on."""
        return self.verdict == "accepted"


def field_name(row: int, column: int) -> str:
    """Return what people call a field."""
    if row >= 0:
        return f"field row {row} column {column}"
    return f"suggested field {column}" if row == SUGGESTED_ROW else f"capture {column}"
