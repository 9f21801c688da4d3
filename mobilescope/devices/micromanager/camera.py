"""Micro-Manager's camera: one exposure at a time, whole frames or a part, always of the size that was promised."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import ConfigError, DeviceError
from mobilescope.devices.micromanager.link import CoreLink
from mobilescope.devices.micromanager.pixels import FrameFormat, to_rgb


class MicroManagerCamera:
    """Takes frames by snapping, so that none can be older than the call; never from a running sequence.

    Parameters
    ----------
    grey : {"refuse", "copy"}
        What to do with a camera without colour: refuse it, or copy its grey to red, green and blue.

    Raises
    ------
    ConfigError
        The camera gives grey pixels and ``grey`` is ``"refuse"``.
    """

    def __init__(
        self, link: CoreLink, label: str, *, exposure_ms: float | None, grey: Literal["refuse", "copy"]
    ) -> None:
        self._link, self._label, self._wanted_exposure_ms = link, label, exposure_ms
        self.prepare()
        self._usual_exposure_ms = self._exposure_ms
        self._exposed()
        self.format = self._layout()
        if not self.format.is_colour and grey == "refuse":
            kinds = self._allowed("PixelType")
            colour = [kind for kind in kinds if "rgb" in kind.lower()]
            remedy = f'set "{label}.PixelType" = "{colour[0]}" in [benchtop.properties]' if colour else (
                'give grey = "copy" in [benchtop] to copy grey to three channels'
            )
            raise ConfigError(f"the camera {label} gives {self.format}, and colour is wanted", remedy)
        self._whole = self._roi()

    @property
    def exposure_ms(self) -> float:
        """Exposure time as the camera reports it."""
        return self._exposure_ms

    def prepare(self) -> None:
        """Make this the core's camera and set its exposure: at the start, and after a lost connection."""
        self._link.call("choose the camera", "set_camera_device", self._label)
        self._set_exposure(self._wanted_exposure_ms)

    def expose(self, exposure_ms: float | None) -> None:
        """Set the exposure of the pictures to come; None for the usual one."""
        self._set_exposure(self._usual_exposure_ms if exposure_ms is None else exposure_ms)

    def property_or_empty(self, name: str) -> str:
        """Return a property as text; empty where the camera has none of that name."""
        if not self._link.call("look for a property", "has_property", self._label, name):
            return ""
        return str(self._link.call(f"read {name}", "get_property", self._label, name))

    def whole_frame(self) -> NDArray[np.uint8]:
        """Take a picture, shape (rows, columns, 3), RGB."""
        frame, layout = self._snap()
        if layout != self.format:
            raise DeviceError(
                f"the camera's frame was {self.format} and is now {layout}",
                "set pixel type, binning and region of interest back, and let no other program change them",
            )
        return to_rgb(frame, layout)

    def central_square(self, side_px: int) -> NDArray[np.uint8]:
        """Take a picture of the middle alone, at most ``side_px`` a side; the camera is whole again afterwards."""
        rows, columns = min(side_px, self.format.rows), min(side_px, self.format.columns)
        if (rows, columns) == (self.format.rows, self.format.columns):
            return self.whole_frame()
        top, left = (self.format.rows - rows) // 2, (self.format.columns - columns) // 2
        x0, y0, _, _ = self._whole
        wanted = [x0 + left, y0 + top, columns, rows]
        try:
            self._link.call("choose a part of the frame", "set_roi", *wanted)
            x, y, width, height = self._roi()
            frame, layout = self._snap()
        finally:
            self._restore()
        if (layout.columns, layout.rows) != (width, height):
            raise DeviceError(
                f"the camera was asked for {width}x{height} px and gave {layout.columns}x{layout.rows}",
                "let no other program change its region of interest",
            )
        # Many cameras read only whole blocks of columns.
        inside = [wanted[0] - x, wanted[1] - y]
        picture = to_rgb(frame, layout)[max(0, inside[1]) :, max(0, inside[0]) :][:rows, :columns]
        if min(inside) < 0 or picture.shape[:2] != (rows, columns):
            return self.whole_frame()[top : top + rows, left : left + columns]
        return np.ascontiguousarray(picture)

    def _set_exposure(self, exposure_ms: float | None) -> None:
        if exposure_ms is not None:
            self._link.call("set the exposure", "set_exposure", self._label, float(exposure_ms))
        self._exposure_ms = float(self._link.call("read the exposure", "get_exposure", self._label))

    def _restore(self) -> None:
        x, y, width, height = self._whole
        self._link.call("read the whole frame again", "set_roi", x, y, width, height)
        if self._roi() != self._whole:
            self._link.call("read the whole frame again", "clear_roi")
        if self._roi() != self._whole:
            raise DeviceError(
                f"the camera's region of interest was {self._whole} and can't be set back",
                "clear it in Micro-Manager",
            )

    def _roi(self) -> list[int]:
        return [int(value) for value in self._link.call("read the region of interest", "get_roi")]

    def _snap(self) -> tuple[NDArray[np.generic], FrameFormat]:
        self._exposed()
        frame: Any = self._link.call("read the picture", "get_image")
        return np.asarray(frame), self._layout()

    def _exposed(self) -> None:
        if self._link.call("look for a running sequence", "is_sequence_running"):
            raise DeviceError(
                "the camera runs in live view, whose frames may be older than the last move",
                "stop live view in Micro-Manager",
            )
        self._link.call("take a picture", "snap_image")

    def _layout(self) -> FrameFormat:
        """Return the layout of the last frame."""
        rows, columns, components, size, depth = (
            int(self._link.call("describe its frame", method))
            for method in (
                "get_image_height", "get_image_width", "get_number_of_components", "get_bytes_per_pixel",
                "get_image_bit_depth",
            )
        )
        return FrameFormat(rows, columns, components, size, depth)

    def _allowed(self, name: str) -> list[str]:
        if not self._link.call("look for a property", "has_property", self._label, name):
            return []
        values = self._link.call("list values", "get_allowed_property_values", self._label, name)
        return [str(value) for value in values]
