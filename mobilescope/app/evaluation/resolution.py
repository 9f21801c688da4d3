"""Contrast of a USAF 1951 target's bars, as the phone, the network and the benchtop show them (R17's MTF)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.autofocus import autofocus
from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.app.pictures.developing import develop_fresh
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.errors import RegistrationError, UserError
from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import BenchtopImage, BenchtopMicroscope, PhoneCamera, PhoneCapture
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.imaging.colour import luminance, srgb_decode, to_float
from mobilescope.imaging.lattices import lattice_map
from mobilescope.imaging.mtf import Triplet, bar_profile, finest_resolved_um, profile_contrast
from mobilescope.imaging.phase import phase_shift
from mobilescope.imaging.registration import register
from mobilescope.imaging.warp import resample
from mobilescope.learn.baselines import upsample_bicubic
from mobilescope.twin.specimens.usaf import UsafElement, UsafTarget

TARGET_SLIDE = "USAF-1951"
SHOWN_BY = ("phone", "network", "benchtop")
_CAPTURES = 4
_WIDEST_BAR_UM = 6.0
_SEARCH_UM = 20.0
# The phone's field is cut by so much on each side, for it never lies quite where it should.
_FIELD_SHARE = 0.88
_LEAST_CORRELATION = 0.5


@dataclass(frozen=True)
class ElementContrast:
    """One element: mean contrast over directions and captures by each of `SHOWN_BY`, and its deviation."""

    group: int
    element: int
    bar_width_um: float
    contrast: dict[str, float]
    deviation: dict[str, float]

    @property
    def line_pairs_per_mm(self) -> float:
        """Spatial frequency of the bars."""
        return 500 / self.bar_width_um


@dataclass(frozen=True)
class Resolution:
    """The target's elements from wide to narrow, and how many captures stand behind each figure."""

    elements: tuple[ElementContrast, ...]
    captures: int

    def finest_um(self, shown_by: str) -> float:
        """Return the width of the finest bars with a contrast of 10 %; NaN where there are none."""
        return finest_resolved_um(
            np.array([element.bar_width_um for element in self.elements]),
            np.array([element.contrast[shown_by] for element in self.elements]),
        )

    def is_limit(self, shown_by: str) -> bool:
        """Tell whether even the target's finest bars are resolved, so that the true limit is finer."""
        return all(element.contrast[shown_by] >= 0.1 for element in self.elements)


def with_target(config: InstrumentConfig) -> InstrumentConfig:
    """Return an instrument whose rack holds the target."""
    slides = {**config.twin.get("slides", {}), TARGET_SLIDE: {"specimen": "usaf"}}
    return config.model_copy(update={"twin": {**config.twin, "slides": slides}})


def measure_resolution(
    config: InstrumentConfig,
    enhancer: Enhancer,
    *,
    source: str,
    captures: int = _CAPTURES,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> Resolution:
    """Take the target on both instruments, register the phone's pictures, and measure the contrast of its bars.

    The target's centre lies at the stage's origin, its bars along the axes. Contrast is measured in linear light.

    Parameters
    ----------
    source : str
        Name of the instrument file, for error messages.

    Raises
    ------
    UserError
        The target is not found in the pictures.
    CancelledError
        Asked to stop.
    """
    stop = stop or StopToken()
    with build_instruments(with_target(config), source=source) as instruments:
        frame = _benchtop_picture(instruments.benchtop)
        taken = _phone_pictures(instruments.phone, captures, stop)
    elements = UsafTarget().elements
    stands = _target_position_um(frame)
    found: dict[tuple[int, int], dict[str, list[float]]] = {}
    for done, capture in enumerate(taken, start=1):
        stop.raise_if_requested("the measurement of the target")
        pictures, origin_um = _on_one_grid(capture, frame, enhancer)
        for element in elements:
            triplet = _triplet(element, stands, origin_um, frame.pixel_size_um)
            if element.bar_width_um > _WIDEST_BAR_UM or not _is_inside(triplet, pictures["benchtop"].shape):
                continue
            values = found.setdefault((element.group, element.element), {name: [] for name in SHOWN_BY})
            for name, plane in pictures.items():
                values[name].append(profile_contrast(bar_profile(plane, triplet)))
        on_progress(Progress("target", done, len(taken)))
    if not found:
        raise UserError("no element of the target lies within the phone's field", "centre the target under both")
    width_um = {(element.group, element.element): element.bar_width_um for element in elements}
    rows = [
        ElementContrast(
            *key, width_um[key], {name: float(np.mean(values)) for name, values in by_name.items()},
            {name: float(np.std(values)) for name, values in by_name.items()},
        )
        for key, by_name in found.items()
    ]
    return Resolution(tuple(sorted(rows, key=lambda row: -row.bar_width_um)), len(taken))


def _benchtop_picture(benchtop: BenchtopMicroscope) -> BenchtopImage:
    benchtop.mount(TARGET_SLIDE)
    benchtop.stage.move_xy(0.0, 0.0)
    focus = autofocus(benchtop, centre_z_um=benchtop.stage.position().z_um, half_range_um=_SEARCH_UM)
    if focus.verdict != "focused":
        raise UserError(
            f"the benchtop finds no focus on the target ({focus.verdict})", "centre the target under the objective"
        )
    return benchtop.snap()


def _phone_pictures(phone: PhoneCamera, count: int, stop: StopToken) -> list[PhoneCapture]:
    phone.mount(TARGET_SLIDE)
    try:
        phone.illuminator.set_colour(255, 255, 255)
        taken = []
        for _ in range(count):
            stop.raise_if_requested("the captures of the target")
            taken.append(phone.capture(0.0, 0.0))
        return taken
    finally:
        phone.illuminator.off()


def _target_position_um(frame: BenchtopImage) -> tuple[float, float]:
    """Return (x, y) of the target's centre in the frame, from the frame's first pixel's centre."""
    rows, columns = frame.pixels.shape[:2]
    pixel = frame.pixel_size_um
    grid = PixelGrid.over(RegionUm.centred(0.0, 0.0, columns * pixel, rows * pixel), pixel)
    drawn = luminance(UsafTarget().transmittance(grid))
    seen = luminance(srgb_decode(to_float(frame.pixels)))
    shift = phase_shift(drawn, seen, max_shift_px=round(_SEARCH_UM / pixel))
    if shift.correlation < _LEAST_CORRELATION:
        raise UserError(
            f"the benchtop's picture does not look like a USAF 1951 target (correlation {shift.correlation:.2f})",
            "mount the target with its finest groups under the objective and its bars along the axes",
        )
    return -grid.x_um - shift.dx_px * pixel, -grid.y_um - shift.dy_px * pixel


def _on_one_grid(
    capture: PhoneCapture, frame: BenchtopImage, enhancer: Enhancer
) -> tuple[dict[str, NDArray[np.float32]], tuple[float, float]]:
    """Return the field's linear luminance by each of `SHOWN_BY`, and (x, y) in µm of its first pixel in the frame."""
    developed = develop_fresh(capture)
    factor, pixel = enhancer.card.network.factor, frame.pixel_size_um
    pitch_um = 2 * capture.bayer_pixel_um
    try:
        registration = register(developed, frame.pixels, moving_pixel_um=pitch_um, fixed_pixel_um=pixel)
    except RegistrationError as error:
        raise UserError(
            f"the phone's picture of the target can't be registered: {error.cause}", "centre the target under the phone"
        ) from error
    step = 2 * factor
    fine = [
        int(min(side, _FIELD_SHARE * seen * pitch_um / pixel) // step * step)
        for side, seen in zip(frame.pixels.shape[:2], developed.shape[:2], strict=True)
    ]
    top, left = ((side - size) // 2 for side, size in zip(frame.pixels.shape[:2], fine, strict=True))
    shape = round(fine[0] / factor), round(fine[1] / factor)
    low, _ = resample(developed, lattice_map(registration, (top, left), shape, factor))
    pictures = {
        "phone": upsample_bicubic(low, fine[0], fine[1]),
        "network": to_float(enhancer(to_float(low))),
        "benchtop": to_float(frame.pixels[top : top + fine[0], left : left + fine[1]]),
    }
    return {name: luminance(srgb_decode(picture)) for name, picture in pictures.items()}, (left * pixel, top * pixel)


def _triplet(
    element: UsafElement, stands_um: tuple[float, float], origin_um: tuple[float, float], pixel_um: float
) -> Triplet:
    row = (element.y_um + stands_um[1] - origin_um[1]) / pixel_um
    column = (element.x_um + stands_um[0] - origin_um[0]) / pixel_um
    across = (1.0, 0.0) if element.bars_along == "x" else (0.0, 1.0)
    width = element.bar_width_um / pixel_um
    return Triplet((row, column), across, width, 5 * width)


def _is_inside(triplet: Triplet, shape: tuple[int, ...]) -> bool:
    reach = 3.5 * triplet.width_px
    return all(reach <= at <= side - 1 - reach for at, side in zip(triplet.centre_yx, shape[:2], strict=True))
