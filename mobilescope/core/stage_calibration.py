"""The file of a stage's calibration: pixel size, and the matrix between the device's axes and the stage frame."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from mobilescope.core.config import StrictModel, load_model

Pair = tuple[float, float]


class StageCalibration(StrictModel):
    """What `mobilescope calibrate stage` measured.

    Attributes
    ----------
    pixel_size_um : float
        Camera pixel pitch at the specimen, in the stage's own micrometres.
    device_to_stage : 2×2 matrix, by rows
        Takes the device's (x, y) into the stage frame, x right and y down in the image. Its determinant is 1 or, where
        the image is mirrored against the stage, -1.
    rotation_deg : float
        By how much the device's x axis is turned from the image's, x towards y.
    residual_um : float
        Root mean square distance between the moves as fitted and as seen.
    pixel_size_error : float
        Standard error of the pixel size over itself.
    backlash_um : tuple of float
        By how much x and y stand elsewhere when approached from the other side.
    """

    format: Literal[1] = 1
    pixel_size_um: float = Field(gt=0)
    device_to_stage: tuple[Pair, Pair]
    rotation_deg: float
    mirrored: bool
    residual_um: float = Field(ge=0)
    pixel_size_error: float = Field(ge=0)
    backlash_um: Pair
    moves: int = Field(ge=3)
    frame_rows: int = Field(gt=0)
    frame_columns: int = Field(gt=0)
    objective: str = ""
    binning: str = ""
    device: str = ""
    taken: str = ""

    @field_validator("device_to_stage")
    @classmethod
    def _can_be_inverted(cls, value: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
        if not 0.8 < abs(float(np.linalg.det(np.array(value)))) < 1.25:
            raise ValueError("the matrix must keep areas: its determinant is 1 or -1")
        return value

    @property
    def matrix(self) -> NDArray[np.float64]:
        """``device_to_stage`` as an array, shape (2, 2)."""
        return np.array(self.device_to_stage, dtype=np.float64)


def load_stage_calibration(path: Path) -> StageCalibration:
    """Read a calibration file; a ConfigError names what is wrong with it."""
    return load_model(StageCalibration, path)
