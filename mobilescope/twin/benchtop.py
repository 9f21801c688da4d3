"""The twin's benchtop microscope: renders what lies under the position that a real stage device reports."""

from __future__ import annotations

import math
import time

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.config import BenchtopConfig
from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.core.protocols import (
    BenchtopImage,
    BoundedStage,
    Illuminator,
    LightState,
    PositionUm,
    SweepingStage,
    XYZStage,
)
from mobilescope.imaging.colour import encode_8bit
from mobilescope.twin.optics import blur_varying, defocus_sigma_um, diffraction_sigma_um, photon_noise, vignette
from mobilescope.twin.parameters import StageParameters, TwinParameters
from mobilescope.twin.slides import BLANK, Slide, SlideRack
from mobilescope.twin.truth import TileTruth, TruthLog

_FOCUS_MAP = 9


class ErringStage:
    """A stage whose true position differs from what its device reports, by backlash and repeatability.

    Implements `XYZStage` by passing every call on to the device behind it.
    """

    def __init__(self, device: XYZStage, parameters: StageParameters, seed: int) -> None:
        self._device = device
        self._parameters = parameters
        self._rng = np.random.default_rng([seed, 0x57])
        self._error_um = np.zeros(3)
        self._z_slip_um = 0.0

    def move_xy(self, x_um: float, y_um: float) -> None:
        """Move; the error depends on the direction of approach and is drawn anew for each stop."""
        before = self._device.position()
        self._device.move_xy(x_um, y_um)
        half_play = self._parameters.backlash_um / 2
        for axis, (start, end) in enumerate(((before.x_um, x_um), (before.y_um, y_um))):
            if end != start:
                slip = -half_play if end > start else half_play
                self._error_um[axis] = slip + self._rng.normal(0, self._parameters.repeatability_um)

    def move_z(self, z_um: float) -> None:
        """Move the focus drive; the specimen follows when the play is taken up."""
        before_um, half_play = self._device.position().z_um, self._parameters.z_backlash_um / 2
        self._device.move_z(z_um)
        self._z_slip_um = min(max(self._z_slip_um - (z_um - before_um), -half_play), half_play)
        self._error_um[2] = self._z_slip_um + self._rng.normal(0, self._parameters.z_repeatability_um)

    @property
    def sweeps(self) -> bool:
        """Whether the device behind can be watched while it moves."""
        return isinstance(self._device, SweepingStage) and self._device.sweeps

    def begin_z(self, z_um: float) -> None:
        """Set the focus drive going; its play is taken up at once."""
        assert isinstance(self._device, SweepingStage)  # `sweeps` says so
        way_um, half_play = z_um - self._device.position().z_um, self._parameters.z_backlash_um / 2
        self._device.begin_z(z_um)
        self._z_slip_um = min(max(self._z_slip_um - way_um, -half_play), half_play)
        self._error_um[2] = self._z_slip_um

    def z_while_moving(self) -> tuple[float, bool]:
        """Return the reported z, and whether the drive still moves."""
        assert isinstance(self._device, SweepingStage)
        return self._device.z_while_moving()

    def position(self) -> PositionUm:
        """Return the reported position."""
        return self._device.position()

    def z_range_um(self) -> tuple[float, float]:
        """Return the focus drive's range."""
        return self._device.z_range_um()

    def xy_range_um(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the allowed range in x and y, without end where the device behind does not say."""
        if isinstance(self._device, BoundedStage):
            return self._device.xy_range_um()
        return (-math.inf, math.inf), (-math.inf, math.inf)

    def describe(self) -> str:
        """Name the devices behind this stage."""
        return self._device.describe()

    def true_position(self) -> PositionUm:
        """Return where the stage really stands; for rendering and for the truth log."""
        reported = self._device.position()
        error = self._error_um
        return PositionUm(
            reported.x_um + float(error[0]), reported.y_um + float(error[1]), reported.z_um + float(error[2])
        )


class TwinBenchtop:
    """Implements `BenchtopMicroscope` and `ExposureControl` over a rack of slides.

    Parameters
    ----------
    device : XYZStage
        The stage and focus drive, in the demo Micro-Manager's own.
    truth : TruthLog
        Receives what really happened; nothing in this package reads it.
    ring : Illuminator, optional
        Lights the slide in the lamp's place while it is on.
    """

    def __init__(
        self,
        device: XYZStage,
        rack: SlideRack,
        parameters: TwinParameters,
        config: BenchtopConfig,
        *,
        seed: int,
        truth: TruthLog,
        ring: Illuminator | None = None,
    ) -> None:
        self._ring = ring
        self._stage = ErringStage(device, parameters.stage, seed)
        self._rack = rack
        self._optics = parameters.benchtop
        self._config = config
        self._rng = np.random.default_rng([seed, 0xBE])
        self._truth = truth
        self._slide_name = BLANK
        self._slide: Slide = rack.slide(BLANK)
        self._exposure_ms = self._optics.exposure_ms
        self._lit: tuple[str, PixelGrid, NDArray[np.float32]] | None = None

    @property
    def stage(self) -> XYZStage:
        """The stage and focus drive."""
        return self._stage

    @property
    def pixel_size_um(self) -> float:
        """Camera pixel pitch at the specimen."""
        return self._config.pixel_size_um

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a full frame."""
        return self._config.frame_rows, self._config.frame_columns

    @property
    def exposure_ms(self) -> float:
        """Exposure of the pictures to come."""
        return self._exposure_ms

    def expose(self, exposure_ms: float | None) -> None:
        """Set the exposure; None for the usual one."""
        self._exposure_ms = self._optics.exposure_ms if exposure_ms is None else exposure_ms

    def mount(self, slide: str) -> None:
        """Put the named slide under the objective."""
        self._slide, self._slide_name = self._rack.slide(slide), slide

    def snap(self, *, roi_px: int | None = None) -> BenchtopImage:
        """Render a frame (or its central square) at the true position, with the optics' blur and the camera's noise."""
        rows, columns = self.frame_shape
        if roi_px is not None:
            rows, columns = min(roi_px, rows), min(roi_px, columns)
        where, lit = self._stage.true_position(), self._light()
        pixel = self.pixel_size_um
        region = RegionUm.centred(where.x_um, where.y_um, columns * pixel, rows * pixel)
        light = self._blurred(region, where.z_um) * self._illumination(rows, columns, lit)
        noisy = photon_noise(
            light, self._rng,
            full_well_electrons=self._optics.full_well_electrons,
            read_noise_electrons=self._optics.read_noise_electrons,
        )
        height = float(self._slide.surface.height_um(where.x_um, where.y_um))
        self._truth.tiles.append(
            TileTruth(self._slide_name, where.x_um, where.y_um, where.z_um - height, whole=roi_px is None)
        )
        return BenchtopImage(
            pixels=encode_8bit(noisy),
            pixel_size_um=pixel,
            position=self._stage.position(),
            time_s=time.time(),
            exposure_ms=self._exposure_ms,
            light=lit,
            device=f"twin benchtop; {self._stage.describe()}",
            settings={"objective": f"20x/{self._optics.numerical_aperture}"},
        )

    def _light(self) -> LightState:
        """Return what lights the slide: the ring where it is on, otherwise the lamp."""
        ring = None if self._ring is None else self._ring.state()
        if ring is not None and ring.on:
            return ring
        return LightState(on=True, red=255, green=255, blue=255, brightness=1.0, source="benchtop lamp")

    def _illumination(self, rows: int, columns: int, light: LightState) -> NDArray[np.float32]:
        """Return the light as exposed, times the vignette of a central cut of the frame, shape (rows, columns, 3)."""
        full_rows, full_columns = self.frame_shape
        top, left = (full_rows - rows) // 2, (full_columns - columns) // 2
        shade = vignette(full_rows, full_columns, self._optics.vignetting)[top : top + rows, left : left + columns]
        colour = np.array([light.red, light.green, light.blue]) / 255 * light.brightness
        lamp = np.asarray(self._optics.lamp * colour, dtype=np.float32)
        lamp *= np.float32(self._exposure_ms / self._optics.exposure_ms)
        return np.asarray(shade[..., None] * lamp, dtype=np.float32)

    def _transmittance(self, grid: PixelGrid) -> NDArray[np.float32]:
        """Return the slide on a grid; kept until the next, since a focus search looks at one place again and again."""
        if self._lit is None or self._lit[:2] != (self._slide_name, grid):
            self._lit = self._slide_name, grid, self._slide.specimen.transmittance(grid)
        return self._lit[2]

    def _blurred(self, region: RegionUm, z_um: float) -> NDArray[np.float32]:
        """Return the specimen's light through the optics, shape (rows, columns, 3), clear glass = 1."""
        pixel, optics = self.pixel_size_um, self._optics
        margin_px = 12
        grid = PixelGrid.over(region.grown(margin_px * pixel), pixel)
        light = self._transmittance(grid)
        x = np.linspace(region.x_um, region.right_um, _FOCUS_MAP)
        y = np.linspace(region.y_um, region.bottom_um, _FOCUS_MAP)
        defocus = z_um - self._slide.surface.height_um(x[None, :], y[:, None])
        planes = []
        for channel in range(3):
            diffraction = diffraction_sigma_um(optics.wavelengths_nm[channel] / 1000, optics.numerical_aperture)
            sigma = np.hypot(
                diffraction,
                np.vectorize(defocus_sigma_um)(defocus - optics.axial_colour_um[channel], optics.numerical_aperture),
            )
            planes.append(blur_varying(np.ascontiguousarray(light[..., channel]), sigma / pixel))
        return np.stack(planes, axis=-1)[margin_px:-margin_px, margin_px:-margin_px]
