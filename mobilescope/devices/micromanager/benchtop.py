"""A motorised benchtop microscope on Micro-Manager: stage, focus, camera and light as one instrument."""

from __future__ import annotations

import time
from collections.abc import Callable

from mobilescope.core.config import BenchtopConfig
from mobilescope.core.errors import ConfigError, DeviceError
from mobilescope.core.protocols import BenchtopImage, LightState, XYZStage
from mobilescope.core.stage_calibration import StageCalibration
from mobilescope.devices.micromanager.camera import MicroManagerCamera
from mobilescope.devices.micromanager.channels import Channels
from mobilescope.devices.micromanager.lamp import Lamp
from mobilescope.devices.micromanager.link import CoreLink
from mobilescope.devices.micromanager.roles import find_roles, set_properties
from mobilescope.devices.micromanager.stage import MicroManagerStage, StageLimits

# By how much two statements of the pixel size may differ.
_PIXEL_SIZE_TOLERANCE = 0.01

AskMount = Callable[[str], None]


class MicroManagerBenchtop:
    """Implements `BenchtopMicroscope`, `ChannelSwitch` and `ExposureControl` on a core of either backend.

    Parameters
    ----------
    link : CoreLink
        The core; closed together with the microscope.
    config : BenchtopConfig
        The table ``[benchtop]`` of the instrument file, ``kind = "micromanager"``.
    calibration : StageCalibration, optional
        Gives the pixel size, and the matrix between the device's axes and the stage frame. Without it, the axes are
        taken to be the image's, and the pixel size is the instrument file's, or else Micro-Manager's.
    ask_mount : callable
        Asks the person to put the named slide under the objective, and returns once it lies there.
    trusting : bool
        Take the first pixel size that is known, whatever the others say: for calibrating.

    Raises
    ------
    ConfigError
        Unknown devices or properties, a grey camera that was not allowed, no pixel size, or two that disagree.
    """

    def __init__(
        self,
        link: CoreLink,
        config: BenchtopConfig,
        *,
        calibration: StageCalibration | None = None,
        ask_mount: AskMount,
        trusting: bool = False,
    ) -> None:
        self._link, self._config, self._calibration, self._ask_mount = link, config, calibration, ask_mount
        self._mounted: str | None = None
        self._roles = find_roles(link, config)
        standard = StageLimits()
        self._stage = MicroManagerStage(
            link,
            xy_stage=self._roles.xy_stage,
            focus=self._roles.focus,
            limits=StageLimits(
                config.x_limits_um or standard.x_um, config.y_limits_um or standard.y_um,
                config.z_limits_um or standard.z_um,
            ),
            device_to_stage=None if calibration is None else calibration.matrix,
        )
        self._lamp = Lamp(
            link, shutter=self._roles.shutter, automatic=config.auto_shutter is not False, light=self._roles.light,
            on=config.light_on, off=config.light_off,
        )
        set_properties(link, config.properties or {})
        self._choose_devices()
        self._camera = MicroManagerCamera(
            link, self._roles.camera, exposure_ms=config.exposure_ms, grey=config.grey or "refuse"
        )
        self._channels = Channels(link, self._camera, config.channel_group)
        self._objective = self._read_objective()
        self._binning = self._camera.property_or_empty("Binning")
        self._check_frame()
        self._check_calibration()
        self._pixel_size_um = self._agreed_pixel_size_um(trusting=trusting)
        self._settings = self._describe_settings()
        self._device = self.describe()
        link.after_reconnect(self._renew)

    @property
    def stage(self) -> XYZStage:
        """The stage and focus drive."""
        return self._stage

    @property
    def pixel_size_um(self) -> float:
        """Camera pixel pitch at the specimen."""
        return self._pixel_size_um

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a full frame."""
        return self._camera.format.rows, self._camera.format.columns

    @property
    def objective(self) -> str:
        """Label of the objective; empty where Micro-Manager does not know it."""
        return self._objective

    @property
    def binning(self) -> str:
        """The camera's binning as its property says it; empty where it has none."""
        return self._binning

    def mount(self, slide: str) -> None:
        """Ask the person to put the named slide under the objective, unless it lies there."""
        if slide == self._mounted:
            return
        # Until the person has answered, nobody knows what lies there.
        self._mounted = None
        self._ask_mount(slide)
        self._mounted = slide

    def snap(self, *, roi_px: int | None = None) -> BenchtopImage:
        """Take a picture; ``roi_px`` reads only a central square of that side.

        Raises
        ------
        DeviceError
            No picture came, half of one, one of another size than before, or with another objective than before.
        """
        objective = self._read_objective()
        if objective != self._objective:
            raise DeviceError(
                f"the objective was {self._objective!r} and is now {objective!r}", "turn it back, or start anew with it"
            )
        light = self._lamp.ready()
        pixels = self._camera.whole_frame() if roi_px is None else self._camera.central_square(roi_px)
        return BenchtopImage(
            pixels=pixels,
            pixel_size_um=self._pixel_size_um,
            position=self._stage.position(),
            time_s=time.time(),
            exposure_ms=self._camera.exposure_ms,
            light=LightState(on=True, red=255, green=255, blue=255, brightness=1.0, source=light),
            device=self._device,
            settings=self._settings | ({"channel": self._channels.current} if self._channels.current else {}),
        )

    @property
    def exposure_ms(self) -> float:
        """Exposure time as the camera reports it."""
        return self._camera.exposure_ms

    def expose(self, exposure_ms: float | None) -> None:
        """Set the exposure of the pictures to come; None for the usual one."""
        self._camera.expose(exposure_ms)

    def refusal(
        self, name: str, exposure_ms: float | None, colour: tuple[int, int, int] | None, brightness: float
    ) -> str:
        """Return why a channel, a preset of the channel group, can't be had; empty where it can."""
        return self._channels.refusal(name, exposure_ms, colour, brightness)

    def select(
        self, name: str, exposure_ms: float | None, colour: tuple[int, int, int] | None, brightness: float
    ) -> None:
        """Switch to a channel and wait until it is there."""
        self._channels.select(name, exposure_ms)

    def rest(self) -> None:
        """Go back to the channel from before the scan."""
        self._channels.rest()

    def describe(self) -> str:
        """Name the devices and the version, briefly; the settings of each picture tell backend and configuration."""
        return f"{self._stage.describe()}; camera {self._roles.camera}"

    def full_focus(self) -> float:
        """Let Micro-Manager's autofocus device search, and return the z where it stopped, µm.

        Raises
        ------
        DeviceError
            There is no such device, it failed, or it left the focus drive outside the limits.
        """
        if not self._roles.autofocus:
            raise DeviceError(f"{self._link.name} has no autofocus device", "name it: benchtop.autofocus")
        before = self._stage.position().z_um
        self._link.call("focus with its autofocus device", "full_focus")
        z_um = self._stage.position().z_um
        low, high = self._stage.z_range_um()
        if not low <= z_um <= high:
            self._stage.move_z(before)
            raise DeviceError(
                f"{self._roles.autofocus} went to z = {z_um:.2f} µm, outside {low:g} to {high:g} µm",
                "it was moved back",
            )
        return z_um

    def close(self) -> None:
        """Close the shutter, switch the light off, and end the connection. May be called twice."""
        try:
            self._channels.rest()
        finally:
            try:
                self._lamp.rest()
            finally:
                self._link.close()

    def _choose_devices(self) -> None:
        """Tell the core which devices its own functions are to use, and stop what would move the focus behind us."""
        if self._roles.autofocus:
            self._link.call("choose the autofocus device", "set_auto_focus_device", self._roles.autofocus)
        self._link.call("choose the focus drive", "set_focus_device", self._roles.focus)
        self._link.call("choose the xy stage", "set_xy_stage_device", self._roles.xy_stage)
        if self._roles.autofocus and self._link.call("ask for continuous focus", "is_continuous_focus_enabled"):
            self._link.call("stop continuous focus", "enable_continuous_focus", False)

    def _renew(self) -> None:
        """Bring a Micro-Manager that was started anew to where the last one was, or refuse it."""
        if find_roles(self._link, self._config) != self._roles:
            raise DeviceError(
                f"{self._link.name} came back with other devices than before", "load the same configuration again"
            )
        set_properties(self._link, self._config.properties or {})
        self._choose_devices()
        self._camera.prepare()
        self._channels.renew()
        self._lamp.forget()

    def _read_objective(self) -> str:
        label = self._roles.objective
        return str(self._link.call("read the objective", "get_state_label", label)) if label else ""

    def _check_frame(self) -> None:
        given = self._config.model_fields_set
        for name, value in zip(("frame_rows", "frame_columns"), self.frame_shape, strict=True):
            if name in given and getattr(self._config, name) != value:
                raise ConfigError(
                    f"benchtop.{name} is {getattr(self._config, name)}, and the camera gives {value}",
                    "remove it, or set binning and region of interest",
                )

    def _check_calibration(self) -> None:
        known = self._calibration
        if known is None:
            return
        now = {"objective": self._objective, "binning": self._binning}
        for name, value in now.items():
            then = getattr(known, name)
            if then and value and then != value:
                raise ConfigError(
                    f"the calibration was taken with {name} {then!r}, and now it is {value!r}",
                    "set it back, or run mobilescope calibrate stage again",
                )

    def _agreed_pixel_size_um(self, *, trusting: bool) -> float:
        """Return the pixel size: the calibration's, the instrument file's or Micro-Manager's, which must agree."""
        sources = {
            "the calibration": None if self._calibration is None else self._calibration.pixel_size_um,
            "the instrument file (benchtop.pixel_size_um)":
                self._config.pixel_size_um if "pixel_size_um" in self._config.model_fields_set else None,
            self._link.name: float(self._link.call("tell its pixel size", "get_pixel_size_um")) or None,
        }
        known = [(name, value) for name, value in sources.items() if value is not None]
        if not known:
            raise ConfigError(
                "no pixel size is known",
                "set benchtop.pixel_size_um; roughly right, it is enough for mobilescope calibrate stage",
            )
        best, size = known[0]
        for name, value in known[1:]:
            if not trusting and abs(value / size - 1) > _PIXEL_SIZE_TOLERANCE:
                raise ConfigError(
                    f"{best} says {size:.4g} µm a pixel, {name} says {value:.4g} µm",
                    "correct the one that is wrong (Micro-Manager: Devices > Pixel Size Calibration), "
                    "or run mobilescope calibrate stage again",
                )
        return size

    def _describe_settings(self) -> dict[str, str]:
        settings = {
            "objective": self._objective, "camera": self._roles.camera, "frame": str(self._camera.format),
            "binning": self._binning, "pixel_type": self._camera.property_or_empty("PixelType"),
            **self._link.facts,
        }
        return {name: value for name, value in settings.items() if value}
