"""How phone captures are developed: the table ``[development]`` of an instrument file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from mobilescope.core.strict_model import StrictModel

Gain = Annotated[float, Field(gt=0, le=32)]
WhiteBalancePreset = Literal["camera", "cloudy", "daylight", "reference"]
WhiteBalance = WhiteBalancePreset | tuple[Gain, Gain, Gain]
CropChoice = Literal["whole", "r18", "square"]


class DevelopmentConfig(StrictModel):
    """What is made of captures, which stay as they are: changing it needs no new one.

    Attributes
    ----------
    white_balance : str or tuple of float
        One for the whole session: ``camera`` takes the gains of its first capture, ``cloudy`` (R18's) and ``daylight``
        those of the phone's own presets, ``reference`` those that make the clear field neutral; or gains of red,
        green and blue.
    crops : str
        What is compared: the whole picture, ``r18`` (the central 2048² in four) or ``square`` (the largest central
        square in four).
    defects, flat_field : bool
        Whether hot and dead pixels are replaced and the field is evened out, where dark frames and a clear field are
        known.
    calibration : Path or None
        The file of `mobilescope calibrate light` that knows them. A session keeps a copy of what it holds when it is
        taken; here it also serves one that has none.
    """

    white_balance: WhiteBalance = "camera"
    crops: CropChoice = "whole"
    defects: bool = True
    flat_field: bool = True
    calibration: Path | None = None

    def beside(self, folder: Path) -> Self:
        """Return the same with a relative path taken from ``folder``, where the instrument file lies."""
        return self if self.calibration is None else self.model_copy(update={"calibration": folder / self.calibration})
