"""Micro-Manager's stage and focus drive, in the stage frame that a calibration gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import DeviceError
from mobilescope.core.protocols import PositionUm
from mobilescope.core.stage_config import Range
from mobilescope.core.stage_limits import check_within
from mobilescope.devices.micromanager.link import CoreLink
from mobilescope.devices.micromanager.python_core import PythonCore

# How far from its target a stage may report to have stopped.
_XY_TOLERANCE_UM = 1.0
_Z_TOLERANCE_UM = 0.5


@dataclass(frozen=True)
class StageLimits:
    """Lowest and highest allowed positions, in the devices' own coordinates, as Micro-Manager shows them."""

    x_um: Range = (-30_000.0, 30_000.0)
    y_um: Range = (-30_000.0, 30_000.0)
    z_um: Range = (-300.0, 300.0)


class MicroManagerStage:
    """An xy stage and a focus drive of Micro-Manager. Implements `XYZStage`.

    Parameters
    ----------
    core : CoreLink or Path
        A link to a core, or the .cfg file for the one of this process.
    xy_stage, focus : str, optional
        Labels of the devices; the core's own choice without.
    limits : StageLimits, optional
        Checked before each move.
    xy_limits_um, z_limits_um : tuple of float, optional
        Short for ``limits`` where x and y share theirs.
    device_to_stage : ndarray, shape (2, 2), optional
        Takes the device's (x, y) into the stage frame, x right and y down in the image; without it they are the same.
    """

    def __init__(
        self,
        core: CoreLink | Path,
        *,
        xy_stage: str = "",
        focus: str = "",
        limits: StageLimits | None = None,
        xy_limits_um: Range | None = None,
        z_limits_um: Range | None = None,
        device_to_stage: NDArray[np.float64] | None = None,
    ) -> None:
        self._link = PythonCore(core) if isinstance(core, Path) else core
        self._xy = xy_stage or self._link.call("name its xy stage", "get_xy_stage_device")
        self._z = focus or self._link.call("name its focus drive", "get_focus_device")
        if not self._xy or not self._z:
            raise DeviceError(
                f"{self._link.name} names no default xy stage or focus drive",
                "set both in Micro-Manager's core device, or name them in the instrument file",
            )
        limits = limits or StageLimits()
        self._limits = StageLimits(
            xy_limits_um or limits.x_um, xy_limits_um or limits.y_um, z_limits_um or limits.z_um
        )
        self._to_stage = np.eye(2) if device_to_stage is None else np.asarray(device_to_stage, dtype=np.float64)
        self._to_device = np.linalg.inv(self._to_stage)
        self._is_plain = bool(np.array_equal(self._to_stage, np.eye(2)))
        self._version = self._link.call("tell its version", "get_version_info")

    def move_xy(self, x_um: float, y_um: float) -> None:
        """Move in xy, wait for the device, and check the position read back against the target."""
        # Not a matrix product: what is not finite is to reach the check of the limits.
        (xx, xy), (yx, yy) = self._to_device.tolist()
        device_x, device_y = xx * x_um + xy * y_um, yx * x_um + yy * y_um
        where = "" if self._is_plain else f" of the device, for ({x_um:.2f}, {y_um:.2f}) µm in the stage frame,"
        for axis, value, limits in (("x", device_x, self._limits.x_um), ("y", device_y, self._limits.y_um)):
            check_within(axis, value, limits, where)
        self._call("move the xy stage", "set_xy_position", self._xy, device_x, device_y)
        self._call("wait for the xy stage", "wait_for_device", self._xy)
        reached_x, reached_y = self._device_xy()
        if math.hypot(reached_x - device_x, reached_y - device_y) > _XY_TOLERANCE_UM:
            raise DeviceError(
                f"the xy stage was sent to ({device_x:.2f}, {device_y:.2f}) µm "
                f"and reports ({reached_x:.2f}, {reached_y:.2f}) µm",
                "check for an obstacle or a lost reference",
            )

    def move_z(self, z_um: float) -> None:
        """Move the focus drive and wait for it."""
        check_within("z", z_um, self._limits.z_um)
        self._call("move the focus drive", "set_position", self._z, float(z_um))
        self._call("wait for the focus drive", "wait_for_device", self._z)
        arrived_um = float(self._call("read z", "get_position", self._z))
        if abs(arrived_um - z_um) > _Z_TOLERANCE_UM:
            raise DeviceError(
                f"the focus drive was sent to {z_um:.2f} µm and reports {arrived_um:.2f} µm",
                "check for an obstacle or a lost reference",
            )

    def position(self) -> PositionUm:
        """Return the position that the devices report, in the stage frame."""
        x_um, y_um = (float(value) for value in self._to_stage @ self._device_xy())
        return PositionUm(x_um, y_um, float(self._call("read z", "get_position", self._z)))

    @property
    def sweeps(self) -> bool:
        """True: Micro-Manager returns while the drive moves. Whether that takes long enough shows when it is tried."""
        return True

    def begin_z(self, z_um: float) -> None:
        """Set the focus drive going and return at once."""
        check_within("z", z_um, self._limits.z_um)
        self._call("move the focus drive", "set_position", self._z, float(z_um))

    def z_while_moving(self) -> tuple[float, bool]:
        """Return the z that the drive reports now, and whether it is busy."""
        moving = bool(self._call("ask the focus drive", "device_busy", self._z))
        return float(self._call("read z", "get_position", self._z)), moving

    def stop(self) -> None:
        """Stop both devices, whoever set them going."""
        for device in (self._xy, self._z):
            self._call(f"stop {device}", "stop", device)

    def z_range_um(self) -> Range:
        """Return the allowed range of the focus drive."""
        return self._limits.z_um

    def xy_range_um(self) -> tuple[Range, Range]:
        """Return the lowest and highest x, then y, within which every place of the stage frame can be reached.

        The devices' limits where the axes are the image's, turned by quarters or mirrored; a smaller upright rectangle
        within them where the camera stands askew, so that corners beyond it may be reachable too.
        """
        limits = np.array([self._limits.x_um, self._limits.y_um])
        half, centre = (limits[:, 1] - limits[:, 0]) / 2, self._to_stage @ limits.mean(axis=1)
        reach = np.abs(self._to_device)
        upright = half if reach[0, 0] >= reach[0, 1] else half[::-1]
        upright = upright * min(half / (reach @ upright))
        (left, top), (right, bottom) = (centre - upright).tolist(), (centre + upright).tolist()
        return (left, right), (top, bottom)

    def describe(self) -> str:
        """Name the devices and the version behind this stage."""
        return f"Micro-Manager {self._xy} and {self._z}, {self._version}"

    def _device_xy(self) -> tuple[float, float]:
        return (
            float(self._call("read x", "get_x_position", self._xy)),
            float(self._call("read y", "get_y_position", self._xy)),
        )

    def _call(self, what: str, method: str, *arguments: object) -> Any:
        return self._link.call(what, method, *arguments)
