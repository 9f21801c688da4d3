"""Micro-Manager's stage and focus drive through pycro-manager's Python backend."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

from mobilescope.core.errors import DeviceError, LimitError
from mobilescope.core.protocols import PositionUm

# How far from its target a stage may report to have stopped.
_XY_TOLERANCE_UM = 1.0
_Z_TOLERANCE_UM = 0.5

# Micro-Manager's core is one per process: a second start in the same process fails.
_core_lock = threading.Lock()
_core: Any = None
_core_config: Path | None = None


def demo_configuration() -> Path:
    """Return Micro-Manager's own demo configuration, as the package mm-test-adapters installs it."""
    try:
        import mm_test_adapters
    except ImportError as error:
        raise DeviceError(
            "the package mm-test-adapters is not installed", "install it: pip install mm-test-adapters"
        ) from error
    return Path(mm_test_adapters.__file__).parent / "libs" / "MMConfig_demo.cfg"


def _shared_core(configuration: Path) -> Any:
    """Start the process's core with a configuration, or return the one that runs."""
    global _core, _core_config  # one core per process is Micro-Manager's own rule
    with _core_lock:
        if _core is None:
            from pycromanager import Core, start_headless

            try:
                start_headless(str(configuration.parent), str(configuration), python_backend=True)
                _core = Core()
            except Exception as error:  # the backend raises bare Exception and RuntimeError
                raise DeviceError(
                    f"Micro-Manager did not start with {configuration}: {error}",
                    "check the configuration in Micro-Manager's hardware wizard",
                ) from error
            _core_config = configuration
        elif _core_config != configuration:
            raise DeviceError(
                f"Micro-Manager already runs with {_core_config} in this process",
                "use one configuration per process",
            )
        return _core


class MicroManagerStage:
    """The default xy stage and focus drive of a Micro-Manager configuration. Implements `XYZStage`.

    Parameters
    ----------
    configuration : Path
        A Micro-Manager .cfg file.
    xy_limits_um, z_limits_um : tuple of float
        Lowest and highest allowed positions (x and y share theirs); checked before each move.
    """

    def __init__(
        self,
        configuration: Path,
        *,
        xy_limits_um: tuple[float, float] = (-30_000.0, 30_000.0),
        z_limits_um: tuple[float, float] = (-300.0, 300.0),
    ) -> None:
        self._core = _shared_core(configuration.resolve())
        self._xy = self._core.get_xy_stage_device()
        self._z = self._core.get_focus_device()
        if not self._xy or not self._z:
            raise DeviceError(
                f"{configuration} names no default xy stage or focus drive", "set both in Micro-Manager's core device"
            )
        self._xy_limits_um = xy_limits_um
        self._z_limits_um = z_limits_um

    def move_xy(self, x_um: float, y_um: float) -> None:
        """Move in xy, wait for the device, and check the position read back against the target."""
        for axis, value in (("x", x_um), ("y", y_um)):
            self._check(axis, value, self._xy_limits_um)
        self._call("move the xy stage", lambda: self._core.set_xy_position(self._xy, x_um, y_um))
        self._call("wait for the xy stage", lambda: self._core.wait_for_device(self._xy))
        arrived = self.position()
        if math.hypot(arrived.x_um - x_um, arrived.y_um - y_um) > _XY_TOLERANCE_UM:
            raise DeviceError(
                f"the xy stage was sent to ({x_um:.2f}, {y_um:.2f}) µm "
                f"and reports ({arrived.x_um:.2f}, {arrived.y_um:.2f}) µm",
                "check for an obstacle or a lost reference",
            )

    def move_z(self, z_um: float) -> None:
        """Move the focus drive and wait for it."""
        self._check("z", z_um, self._z_limits_um)
        self._call("move the focus drive", lambda: self._core.set_position(self._z, z_um))
        self._call("wait for the focus drive", lambda: self._core.wait_for_device(self._z))
        arrived_um = self.position().z_um
        if abs(arrived_um - z_um) > _Z_TOLERANCE_UM:
            raise DeviceError(
                f"the focus drive was sent to {z_um:.2f} µm and reports {arrived_um:.2f} µm",
                "check for an obstacle or a lost reference",
            )

    def position(self) -> PositionUm:
        """Return the position that the devices report."""
        x_um = self._call("read x", lambda: self._core.get_x_position(self._xy))
        y_um = self._call("read y", lambda: self._core.get_y_position(self._xy))
        z_um = self._call("read z", lambda: self._core.get_position(self._z))
        return PositionUm(float(x_um), float(y_um), float(z_um))

    def z_range_um(self) -> tuple[float, float]:
        """Return the allowed range of the focus drive."""
        return self._z_limits_um

    def xy_range_um(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the allowed range in x and y."""
        return self._xy_limits_um, self._xy_limits_um

    def describe(self) -> str:
        """Name the devices and the version behind this stage."""
        version = self._call("read the version", self._core.get_version_info)
        return f"Micro-Manager {self._xy} and {self._z}, {version}"

    @staticmethod
    def _check(axis: str, value_um: float, limits_um: tuple[float, float]) -> None:
        low, high = limits_um
        if not low <= value_um <= high:
            raise LimitError(
                f"{axis} = {value_um:.2f} µm lies outside the stage's range {low:g} to {high:g} µm",
                "choose a position inside it",
            )

    @staticmethod
    def _call(what: str, call: Any) -> Any:
        try:
            return call()
        except RuntimeError as error:
            raise DeviceError(f"Micro-Manager could not {what}: {error}", "check the device and its cable") from error
