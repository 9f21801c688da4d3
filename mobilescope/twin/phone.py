"""The twin's phone scope: lens, automatic settings, Bayer sensor and on-phone JPEG, lit by the ring."""

from __future__ import annotations

import time

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import DeviceError
from mobilescope.core.geometry import Affine, PixelGrid, RegionUm
from mobilescope.core.phone_picture import NO_RAW_WHITE
from mobilescope.core.protocols import Illuminator, PhoneCapture, PositionUm
from mobilescope.imaging.colour import encode_8bit
from mobilescope.imaging.raw import cfa_sites
from mobilescope.twin.lens import PhoneLens
from mobilescope.twin.optics import blur_varying, defocus_sigma_um, vignette
from mobilescope.twin.parameters import PhoneParameters, TwinParameters
from mobilescope.twin.phone_sensor import axis_sigma_um, digitise, flooded, lamp_of, seen_by
from mobilescope.twin.slides import BLANK, Slide, SlideRack
from mobilescope.twin.truth import CaptureTruth, TruthLog


class TwinPhone:
    """Implements `PhoneCamera` over the same rack of slides as the benchtop.

    The lens is drawn once from the seed, rotation and offset once for each mounting, position, focus,
    white balance and exposure anew for each capture.

    Parameters
    ----------
    pictures : {"dng+jpeg", "dng", "jpeg"}
        What a capture gives, as a real phone's camera app is set.

    Attributes
    ----------
    defocus_um : float
        Added to the focus error that each capture draws, 0 unless set: a technician who misses the focus, on purpose.
    """

    def __init__(
        self, rack: SlideRack, parameters: TwinParameters, *, seed: int, truth: TruthLog, illuminator: Illuminator,
        pictures: str = "dng+jpeg",
    ) -> None:
        self._rack = rack
        self._phone: PhoneParameters = parameters.phone
        self._lens = PhoneLens.drawn(parameters.phone, seed)
        self._rng = np.random.default_rng([seed, 0xF0])
        self._truth = truth
        self._ring = illuminator
        self._pictures = pictures
        self.defocus_um = 0.0
        self._rotation_deg = 0.0
        self._slide_name = BLANK
        self._slide: Slide = rack.slide(BLANK)

    @property
    def illuminator(self) -> Illuminator:
        """The ring under the slide."""
        return self._ring

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of the raw frame."""
        return self._phone.bayer_rows, self._phone.bayer_columns

    @property
    def field_of_view_um(self) -> tuple[float, float]:
        """Width and height of a capture at the specimen."""
        pitch = self._phone.bayer_pixel_um
        return self._phone.bayer_columns * pitch, self._phone.bayer_rows * pitch

    def mount(self, slide: str) -> None:
        """Put the named slide on the phone scope; it never lies quite straight."""
        self._slide, self._slide_name = self._rack.slide(slide), slide
        self._rotation_deg = float(self._rng.normal(0, self._phone.rotation_deg))

    def capture(self, x_um: float, y_um: float) -> PhoneCapture:
        """Capture the field near a nominal position of the phone scope's frame."""
        phone, rng = self._phone, self._rng
        shift = rng.normal(0, phone.position_error_um, 2)
        frame = Affine.similarity(1.0, phone.frame_turn_deg, *phone.frame_shift_um)
        at = frame.apply((x_um, y_um)) + shift
        turn_deg = phone.frame_turn_deg + self._rotation_deg
        mounting = Affine.similarity(1.0, turn_deg, float(at[0]), float(at[1]))
        defocus_um = self.defocus_um + float(rng.normal(0, phone.focus_error_um))
        drift = np.exp(rng.normal(0, phone.exposure_drift) + rng.normal(0, phone.colour_drift, 3))
        bayer = self._expose(mounting, defocus_um, drift)
        self._truth.captures.append(CaptureTruth(self._slide_name, self._cell_positions(mounting), defocus_um))
        raw = self._pictures != "jpeg"
        return PhoneCapture(
            bayer=bayer if raw else None,
            jpeg=b"" if self._pictures == "dng" else self._jpeg(bayer, drift),
            cfa=phone.cfa if raw else "",
            black_level=phone.black_level if raw else 0,
            white_level=phone.white_level if raw else NO_RAW_WHITE,
            bayer_pixel_um=phone.bayer_pixel_um,
            white_balance=phone.white_balance if raw else (1.0, 1.0, 1.0),
            nominal=PositionUm(x_um, y_um, 0.0),
            time_s=time.time(),
            exposure_ms=phone.exposure_ms,
            iso=phone.iso,
            light=self._ring.state(),
            device="twin phone",
            settings={"white_balance": "cloudy", "jpeg_quality": str(phone.jpeg_quality)},
        )

    def _ideal(self, rows: NDArray[np.floating], columns: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return ideal positions (len(rows), len(columns), 2) in µm of Bayer rows and columns."""
        phone = self._phone
        y = (rows - (phone.bayer_rows - 1) / 2) * phone.bayer_pixel_um
        x = (columns - (phone.bayer_columns - 1) / 2) * phone.bayer_pixel_um
        return np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)

    def _cell_positions(self, mounting: Affine) -> NDArray[np.float32]:
        rows = np.arange(0.5, self._phone.bayer_rows, 2)
        columns = np.arange(0.5, self._phone.bayer_columns, 2)
        return self._lens.to_specimen(self._ideal(rows, columns), 1, mounting).astype(np.float32)

    def _expose(self, mounting: Affine, defocus_um: float, drift: NDArray[np.floating]) -> NDArray[np.uint16]:
        """Return the raw frame."""
        phone = self._phone
        raster, light = self._specimen_light(mounting, defocus_um)
        lamp = lamp_of(self._ring.state())
        shade = vignette(phone.bayer_rows, phone.bayer_columns, phone.vignetting)
        signal = np.empty((phone.bayer_rows, phone.bayer_columns), dtype=np.float32)
        for channel, colour in enumerate("RGB"):
            seen = light @ seen_by(phone, channel, lamp)
            level = np.float32(phone.exposure[channel] * drift[channel])
            for row, column in cfa_sites(phone.cfa)[colour]:
                ideal = self._ideal(
                    np.arange(row, phone.bayer_rows, 2.0), np.arange(column, phone.bayer_columns, 2.0)
                )
                at = self._lens.to_specimen(ideal, channel, mounting)
                map_x = ((at[..., 0] - raster.x_um) / raster.pixel_size_um).astype(np.float32)
                map_y = ((at[..., 1] - raster.y_um) / raster.pixel_size_um).astype(np.float32)
                sampled = cv2.remap(seen, map_x, map_y, cv2.INTER_CUBIC)
                veiled = flooded(phone, channel, lamp, sampled)
                signal[row::2, column::2] = level * veiled * shade[row::2, column::2]
        return digitise(phone, signal, self._rng)

    def _specimen_light(self, mounting: Affine, defocus_um: float) -> tuple[PixelGrid, NDArray[np.float32]]:
        """Return the raster under the field and the specimen's light on it through the blur, (rows, columns, 3)."""
        phone = self._phone
        edge = self._ideal(
            np.linspace(0, phone.bayer_rows - 1, 9), np.linspace(0, phone.bayer_columns - 1, 9)
        )
        corners = np.concatenate([self._lens.to_specimen(edge, c, mounting).reshape(-1, 2) for c in range(3)])
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        # Four samples to five Bayer pixels keep everything that the blur lets through.
        raster = PixelGrid.over(
            RegionUm(left, top, right - left, bottom - top).grown(8 * phone.bayer_pixel_um), 0.8 * phone.bayer_pixel_um
        )
        light = self._slide.specimen.transmittance(raster)
        grid = np.linspace(-1, 1, 9)
        axis_sigma = axis_sigma_um(phone, np.hypot(grid[:, None], grid[None, :]) / np.sqrt(2))
        x = np.linspace(raster.region.x_um, raster.region.right_um, 9)
        y = np.linspace(raster.region.y_um, raster.region.bottom_um, 9)
        height = self._slide.surface.height_um(x[None, :], y[:, None])
        # The phone was focused on the middle of its field, up to the capture's focus error.
        local_defocus = height - height[4, 4] + defocus_um
        spread = np.vectorize(defocus_sigma_um)(local_defocus, phone.effective_aperture)
        sigma_px = np.hypot(axis_sigma, spread) / raster.pixel_size_um
        planes = [blur_varying(np.ascontiguousarray(light[..., c]), sigma_px) for c in range(3)]
        return raster, np.stack(planes, axis=-1)

    def _jpeg(self, bayer: NDArray[np.uint16], drift: NDArray[np.floating]) -> bytes:
        """Return what the phone's own pipeline makes of the frame: demosaic, white balance, saturation, sharpening."""
        phone = self._phone
        scale = 65535 / (phone.white_level - phone.black_level)
        lifted = np.clip((bayer.astype(np.float32) - phone.black_level) * scale, 0, 65535).astype(np.uint16)
        code = getattr(cv2, f"COLOR_Bayer{phone.cfa}2RGB")
        linear = cv2.cvtColor(lifted, code).astype(np.float32) / 65535
        gains = np.asarray(phone.white_balance) / drift**0.5
        linear *= (1.25 * gains / gains.max()).astype(np.float32)
        grey = linear.mean(axis=-1, keepdims=True)
        vivid = grey + 1.15 * (linear - grey)
        encoded = encode_8bit(np.clip(vivid, 0, 1)).astype(np.float32)
        sharpened = encoded + 0.6 * (encoded - cv2.GaussianBlur(encoded, (0, 0), 1.2))
        picture = np.clip(sharpened, 0, 255).astype(np.uint8)
        ok, data = cv2.imencode(
            ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, phone.jpeg_quality]
        )
        if not ok:
            raise DeviceError("the twin's phone could not encode its JPEG")
        return bytes(data.tobytes())
