"""Micro-Manager's demo devices with a camera that sees a specimen: turned, mirrored, with play in the stage."""

from __future__ import annotations

import cv2
import numpy as np

SPECIMEN_UM = 0.5


def texture(seed=0, side_px=3000):
    """Return fine and coarse structure in colour, (rows, columns, 3), uint8, `SPECIMEN_UM` a pixel."""
    generator = np.random.default_rng(seed)
    plane = np.zeros((side_px, side_px), dtype=np.float32)
    for sigma in (1.5, 5.0, 15.0):
        noise = cv2.GaussianBlur(generator.standard_normal((side_px, side_px), dtype=np.float32), (0, 0), sigma)
        plane += noise / noise.std()
    grey = np.clip(128 + 30 * plane, 0, 255)
    return np.stack([grey, 0.8 * grey, 0.6 * grey + 60], axis=-1).astype(np.uint8)


def stripes(side_px=3000):
    """Return a regular pattern of dots, 12 px apart."""
    wave = np.sin(2 * np.pi * np.arange(side_px) / 12)
    return np.repeat((128 + 60 * wave[:, None] * wave[None])[..., None], 3, axis=2).astype(np.uint8)


class PicturingCore:
    """A link that shows what lies under the stage of the link behind it.

    Parameters
    ----------
    rotation_deg : float
        By how much the stage's x axis is turned from the image's, x towards y.
    play_um : float
        How far the table lags behind the drive in each axis, half of it in each direction.
    """

    def __init__(self, link, specimen, *, pixel_size_um=0.8, rotation_deg=0.0, mirrored=False, play_um=0.0,
                 stuck=False):
        self._link, self._specimen, self._pixel_um = link, specimen, pixel_size_um
        angle = np.deg2rad(rotation_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self.device_to_stage = turn @ np.diag([1.0, -1.0 if mirrored else 1.0])
        self._play_um, self._stuck = play_um, stuck
        self._last, self._lag = np.zeros(2), np.zeros(2)
        self._frame = None
        self._noise = np.random.default_rng(1)

    def __getattr__(self, name):
        return getattr(self._link, name)

    def call(self, what, method, *arguments):
        if method == "get_pixel_size_um":
            return 0.0
        if method == "get_image":
            return self._frame
        answer = self._link.call(what, method, *arguments)
        if method == "set_xy_position":
            now = np.array(arguments[1:])
            self._lag = np.where(now == self._last, self._lag, -np.sign(now - self._last) * self._play_um / 2)
            self._last = now
        elif method == "snap_image":
            self._frame = self._picture()
        return answer

    def _picture(self):
        x, y, width, height = self._link.call("look", "get_roi")
        full = [int(self._link.call("look", "get_property", "Camera", f"OnCameraCCD{axis}Size")) for axis in "XY"]
        # Where the picture's pixel (column, row) lies on the specimen, whose middle is the stage's zero.
        to_device = np.linalg.inv(self.device_to_stage) * self._pixel_um
        corner = np.array([x - (full[0] - 1) / 2, y - (full[1] - 1) / 2])
        at = np.zeros(2) if self._stuck else self._last + self._lag
        start = (at + to_device @ corner) / SPECIMEN_UM + (np.array(self._specimen.shape[1::-1]) - 1) / 2
        matrix = np.column_stack([to_device / SPECIMEN_UM, start])
        picture = cv2.warpAffine(
            self._specimen, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        noisy = np.clip(picture + self._noise.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
        return np.dstack([noisy[..., ::-1], np.zeros((height, width), dtype=np.uint8)])
