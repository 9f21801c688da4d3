"""A benchtop microscope whose pictures are ready beforehand, so that a scan's own time can be seen; with faults."""

from __future__ import annotations

import time

import cv2
import numpy as np
from software_instruments import SoftwareStage

from mobilescope.core.protocols import BenchtopImage, LightState

PIXEL_UM = 0.5
# Blur of the ready pictures, and the distance from the focus that each stands for.
_STEPS_UM = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def textured(side_px, *, seed=0, tissue=None):
    """Return a picture with structure on all scales, (side, side, 3) uint8; clear glass outside the mask ``tissue``."""
    generator = np.random.default_rng(seed)
    plane = np.zeros((side_px, side_px), np.float32)
    for sigma in (1, 3, 9):
        layer = cv2.GaussianBlur(generator.standard_normal((side_px, side_px)).astype(np.float32), (0, 0), sigma)
        plane += layer / layer.std()
    picture = 150 + 25 * plane
    if tissue is not None:
        picture = np.where(tissue, picture, 230)
    return np.clip(np.repeat(picture[..., None], 3, axis=-1), 5, 245).astype(np.uint8)


_made = {}


def _blurred(picture):
    """Return the picture at every distance from the focus; made once for each picture."""
    if id(picture) not in _made:
        _made[id(picture)] = [picture, *(cv2.GaussianBlur(picture, (0, 0), step) for step in _STEPS_UM[1:])]
    return _made[id(picture)]


class ReadyStage(SoftwareStage):
    """A stage in software with a clock: moving and settling take the time asked for."""

    def __init__(self, settle_s=0.0, limit_um=30_000.0, z_limits_um=(-100.0, 100.0)):
        super().__init__(limit_um, z_limits_um)
        self.settle_s = settle_s
        self.moves, self.spent_s = 0, 0.0

    def _settle(self):
        self.moves += 1
        started = time.perf_counter()
        if self.settle_s:
            time.sleep(self.settle_s)
        self.spent_s += time.perf_counter() - started

    def move_xy(self, x_um, y_um):
        super().move_xy(x_um, y_um)
        self._settle()

    def move_z(self, z_um):
        super().move_z(z_um)
        self._settle()

    def describe(self):
        return "ready stage"


class ReadyMicroscope:
    """Cuts frames out of a picture around (0, 0); ``fault`` may replace a frame before it is handed out."""

    def __init__(
        self, picture, frame_px, *, stage=None, exposure_s=0.0, tilt=0.001, fault=None, on_snap=None,
    ):
        self.stage = stage or ReadyStage()
        self.pixel_size_um, self.frame_shape = PIXEL_UM, (frame_px, frame_px)
        self._levels = _blurred(picture)
        self._exposure_s, self._tilt, self._fault, self._on_snap = exposure_s, tilt, fault, on_snap
        noise = np.random.default_rng(9).integers(0, 2, (2 * frame_px, 2 * frame_px, 1), np.uint8)
        self._noise = np.repeat(noise, 3, axis=-1)
        self.snaps, self.whole, self.mounted, self.spent_s = 0, 0, [], 0.0

    def height_um(self, x_um, y_um):
        """The z of focus at a place."""
        return self._tilt * (x_um + 0.5 * y_um) + 2.0

    def mount(self, slide):
        self.mounted.append(slide)

    def snap(self, *, roi_px=None):
        started = time.perf_counter()
        if self._exposure_s:
            time.sleep(self._exposure_s)
        at = self.stage.position()
        side = self.frame_shape[0] if roi_px is None else min(roi_px, self.frame_shape[0])
        defocus = abs(at.z_um - self.height_um(at.x_um, at.y_um))
        level = self._levels[int(np.argmin([abs(defocus - step) for step in _STEPS_UM]))]
        row = round(at.y_um / PIXEL_UM + level.shape[0] / 2 - side / 2)
        column = round(at.x_um / PIXEL_UM + level.shape[1] / 2 - side / 2)
        assert row >= 0
        assert column >= 0
        shift = (7 * self.snaps) % self.frame_shape[0]
        pixels = level[row : row + side, column : column + side] ^ self._noise[shift : shift + side, :side]
        assert pixels.shape == (side, side, 3)
        self.snaps += 1
        self.spent_s += time.perf_counter() - started
        image = BenchtopImage(
            pixels=pixels, pixel_size_um=PIXEL_UM, position=at, time_s=time.time(), exposure_ms=20.0,
            light=LightState(True, 255, 255, 255, 1.0, "lamp"), device="ready microscope",
        )
        if roi_px is None:
            self.whole += 1
            if self._fault is not None:
                image = self._fault(self.whole, image)
            if self._on_snap is not None:
                self._on_snap(self.whole)
        return image
