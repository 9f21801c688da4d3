"""The twin's phone as a live camera: its view of a slide that drifts slowly under it, lit by the ring."""

from __future__ import annotations

import math
import time
from threading import Thread

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.geometry import Affine, PixelGrid, RegionUm
from mobilescope.core.mailbox import Mailbox
from mobilescope.core.pacing import Pace
from mobilescope.core.protocols import Frame, Illuminator
from mobilescope.imaging.colour import encode_8bit
from mobilescope.imaging.raw import cfa_sites, develop_half_size
from mobilescope.twin.lens import PhoneLens
from mobilescope.twin.optics import blur, defocus_sigma_um, vignette
from mobilescope.twin.parameters import PhoneParameters
from mobilescope.twin.phone_sensor import axis_sigma_um, digitise, flooded, lamp_of, seen_by
from mobilescope.twin.slides import Slide

FRAMES_PER_S = 20.0
# The slide goes to and fro along an ellipse of these half axes, once around in this time: at most 13 µm/s.
_DRIFT_UM = (60.0, 25.0)
_ROUND_S = 30.0
# Blurs between the axis and the corner, mixed by place as in `blur_varying`.
_BLURS = 3
_MARGIN_PX = 8
# A phone reads out a part of its sensor for the live view, here the middle; a whole large one would take seconds.
_READ_OUT_PX = 1024


class TwinLiveStream:
    """Implements `FrameSource` with frames that are developed as captures are, at half size, in 8-bit sRGB.

    The specimen's light and its blur are computed once for the whole drift; each frame then sees it through the lens
    from where the slide is, with the ring's light of the moment and noise of its own. Focus stands still, as far off as
    a capture's usually is. Frames are rendered in a thread of their own, and the newest is kept, as a camera's are.
    """

    on_demand = False

    def __init__(
        self,
        slide: Slide,
        phone: PhoneParameters,
        illuminator: Illuminator,
        *,
        title: str,
        seed: int = 0,
        frames_per_s: float = FRAMES_PER_S,
    ) -> None:
        self._phone, self._ring, self._title = phone, illuminator, title
        self._frames_per_s = frames_per_s
        self._rng = np.random.default_rng([seed, 0x11FE])
        rotation_deg = float(self._rng.normal(0, phone.rotation_deg))
        self._drift_of_gains = np.exp(
            self._rng.normal(0, phone.exposure_drift) + self._rng.normal(0, phone.colour_drift, 3)
        )
        self._view = _View(slide, phone, PhoneLens.drawn(phone, seed), Affine.similarity(1.0, rotation_deg))
        self._pace = Pace(1 / frames_per_s)
        self._newest: Mailbox[Frame] = Mailbox()
        self._thread = Thread(target=self._render_until_closed, name="the twin's live stream")
        self._thread.start()

    @property
    def name(self) -> str:
        """The twin and what lies under its phone."""
        return f"digital twin ({self._title}, {self._frames_per_s:g} frames/s)"

    def read(self) -> Frame | None:
        """Return the newest frame that was not read yet."""
        return self._newest.take()

    def close(self) -> None:
        """End the stream; the light is its owner's."""
        self._pace.close()
        self._newest.close()
        self._thread.join()

    def _render_until_closed(self) -> None:
        try:
            due, made = -1, 0
            while (now := self._pace.wait_after(due)) is not None:
                due = now
                pixels = self._rendered(due / self._frames_per_s)
                self._newest.put(Frame(pixels, made, time.monotonic(), 2 * self._phone.bayer_pixel_um))
                made += 1
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that reads
            self._newest.end(error)

    def _rendered(self, time_s: float) -> NDArray[np.uint8]:
        phone = self._phone
        angle = 2 * math.pi * time_s / _ROUND_S
        x_um, y_um = _DRIFT_UM[0] * math.cos(angle), _DRIFT_UM[1] * math.sin(angle)
        lamp = lamp_of(self._ring.state())
        signal = self._view.signal(x_um, y_um, lamp, self._drift_of_gains)
        linear = develop_half_size(
            digitise(phone, signal, self._rng), cfa=phone.cfa, black_level=phone.black_level,
            white_level=phone.white_level, white_balance=phone.white_balance,
        )
        return encode_8bit(linear)


class _View:
    """What the phone's sensor gets of a slide at any place of the drift, without noise."""

    def __init__(self, slide: Slide, phone: PhoneParameters, lens: PhoneLens, mounting: Affine) -> None:
        self._phone = phone
        self._sites = [
            _Site(phone, lens, mounting, channel, row, column)
            for channel, colour in enumerate("RGB") for row, column in cfa_sites(phone.cfa)[colour]
        ]
        corners = np.concatenate([site.positions_um.reshape(-1, 2) for site in self._sites])
        (left, top), (right, bottom) = corners.min(axis=0) - _DRIFT_UM, corners.max(axis=0) + _DRIFT_UM
        margin_um = _MARGIN_PX * phone.bayer_pixel_um
        # Four samples to five Bayer pixels keep everything that the blur lets through.
        self._raster = PixelGrid.over(
            RegionUm(left, top, right - left, bottom - top).grown(margin_um), 0.8 * phone.bayer_pixel_um
        )
        self._light = slide.specimen.transmittance(self._raster)
        self._lamp: NDArray[np.float64] | None = None
        self._seen: list[NDArray[np.float32]] = []
        rows, columns = _read_out(phone)
        shade = vignette(phone.bayer_rows, phone.bayer_columns, phone.vignetting)
        self._shade = shade[rows.start : rows.stop, columns.start : columns.stop]

    def signal(
        self, x_um: float, y_um: float, lamp: NDArray[np.float64], gains: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Return the signal of what is read out in parts of the full well, (rows, columns) of the Bayer lattice."""
        phone, raster = self._phone, self._raster
        if self._lamp is None or not np.array_equal(lamp, self._lamp):
            self._lamp, self._seen = lamp, [self._blurred(channel, lamp) for channel in range(3)]
        signal = np.empty(self._shade.shape, dtype=np.float32)
        for site in self._sites:
            map_x = (site.positions_um[..., 0] + np.float32(x_um - raster.x_um)) / np.float32(raster.pixel_size_um)
            map_y = (site.positions_um[..., 1] + np.float32(y_um - raster.y_um)) / np.float32(raster.pixel_size_um)
            sharp_to_soft = cv2.remap(self._seen[site.channel], map_x, map_y, cv2.INTER_CUBIC)
            sampled = np.einsum("rcb,rcb->rc", sharp_to_soft, site.blur_weights)
            veiled = flooded(phone, site.channel, lamp, sampled)
            level = np.float32(phone.exposure[site.channel] * gains[site.channel])
            place = (slice(site.row, None, 2), slice(site.column, None, 2))
            signal[place] = level * veiled * self._shade[place]
        return signal

    def _blurred(self, channel: int, lamp: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return a colour's light on the raster under each of the blurs, (rows, columns, blurs)."""
        seen = np.ascontiguousarray(self._light @ seen_by(self._phone, channel, lamp))
        sigmas_um = _blurs_um(self._phone)
        return np.stack([blur(seen, sigma_um / self._raster.pixel_size_um) for sigma_um in sigmas_um], axis=-1)


class _Site:
    """One of the four places of the Bayer mosaic: where its pixels look, and how they mix the blurs."""

    def __init__(
        self, phone: PhoneParameters, lens: PhoneLens, mounting: Affine, channel: int, row: int, column: int
    ) -> None:
        self.channel, self.row, self.column = channel, row, column
        rows, columns = _read_out(phone)
        y = (np.array(rows[row::2]) - (phone.bayer_rows - 1) / 2) * phone.bayer_pixel_um
        x = (np.array(columns[column::2]) - (phone.bayer_columns - 1) / 2) * phone.bayer_pixel_um
        ideal = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)
        self.positions_um = lens.to_specimen(ideal, channel, mounting).astype(np.float32)
        half_um = np.array([phone.bayer_columns, phone.bayer_rows]) / 2 * phone.bayer_pixel_um
        radius = np.linalg.norm(ideal / half_um, axis=-1) / np.sqrt(2)
        sigmas = _blurs_um(phone)
        place = (_with_defocus(phone, axis_sigma_um(phone, radius)) - sigmas[0]) / (sigmas[1] - sigmas[0])
        self.blur_weights = np.clip(1 - np.abs(place[..., None] - np.arange(_BLURS)), 0, 1).astype(np.float32)


def _read_out(phone: PhoneParameters) -> tuple[range, range]:
    """Return the Bayer rows and columns of the live view; they begin at even ones."""
    first = [max(0, size - _READ_OUT_PX) // 4 * 2 for size in (phone.bayer_rows, phone.bayer_columns)]
    return (
        range(first[0], min(first[0] + _READ_OUT_PX, phone.bayer_rows)),
        range(first[1], min(first[1] + _READ_OUT_PX, phone.bayer_columns)),
    )


def _with_defocus(phone: PhoneParameters, sigma_um: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.hypot(sigma_um, defocus_sigma_um(phone.focus_error_um, phone.effective_aperture))


def _blurs_um(phone: PhoneParameters) -> NDArray[np.floating]:
    """Return the σ of each blur, from that on the axis to that in the corner; never all the same."""
    low, high = _with_defocus(phone, axis_sigma_um(phone, np.array([0.0, 1.0])))
    return np.linspace(low, max(high, low * 1.01), _BLURS)
