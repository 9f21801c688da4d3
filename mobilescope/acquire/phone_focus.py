"""The phone scope focused with its own pictures: the benchtop's autofocus over the phone and a motorised stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.autofocus import FocusOptions, autofocus
from mobilescope.core.focus_record import FocusRecord
from mobilescope.core.protocols import BenchtopMicroscope, PhoneCamera, PhoneCapture, XYZStage
from mobilescope.imaging.colour import to_float, to_uint8

# An objective of the phone's aperture is in focus over some micrometres.
_DEPTH_OF_FIELD_UM = 6.0
_HALF_RANGE_UM = 40.0


@dataclass(frozen=True, eq=False)
class _Seen:
    """What autofocus takes of a picture."""

    pixels: NDArray[np.uint8]


class PhoneFocus:
    """Focuses the phone scope; a search that finds no focus leaves it where it was.

    Parameters
    ----------
    develop : callable
        Makes a picture of a capture.
    """

    def __init__(
        self, phone: PhoneCamera, stage: XYZStage, develop: Callable[[PhoneCapture], NDArray[Any]]
    ) -> None:
        self._phone, self.stage, self._develop = phone, stage, develop

    def snap(self, *, roi_px: int | None = None) -> _Seen:
        """Take a picture for the search; nothing of it is kept."""
        at = self.stage.position()
        picture = to_uint8(to_float(self._develop(self._phone.capture(at.x_um, at.y_um))))
        if roi_px is None:
            return _Seen(picture)
        top, left = (max(0, (side - roi_px) // 2) for side in picture.shape[:2])
        return _Seen(np.ascontiguousarray(picture[top : top + roi_px, left : left + roi_px]))

    def focus(self, place_um: tuple[float, float]) -> FocusRecord:
        """Go to a place (x, y) and search around the z where the stage stands."""
        self.stage.move_xy(*place_um)
        return autofocus(
            # Of a microscope, the search needs its stage and pictures.
            cast("BenchtopMicroscope", self), centre_z_um=self.stage.position().z_um, half_range_um=_HALF_RANGE_UM,
            options=FocusOptions(depth_of_field_um=_DEPTH_OF_FIELD_UM),
        )
