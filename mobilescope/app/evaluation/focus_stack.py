"""Depth of field of the phone and of what the network makes of it: one field at a range of defocus, scored in focus."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.app.pictures.developing import develop_fresh
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.errors import InputImageError, RegistrationError, UserError
from mobilescope.core.geometry import RegionUm
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import PhoneCamera, PhoneCapture
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.focus_depth import NEAR_PEAK, FocusDepth, focus_depth
from mobilescope.imaging.lattices import largest_valid_window, lattice_map
from mobilescope.imaging.metrics import ssim
from mobilescope.imaging.registration import register
from mobilescope.imaging.warp import resample
from mobilescope.learn.baselines import Baselines, upsample_bicubic
from mobilescope.learn.evaluate import is_evaluated

DEFOCUS_UM = tuple(float(z) for z in range(-16, 17, 4))
FIELDS = 3
_MARGIN_UM = 45.0


@runtime_checkable
class FocusingPhone(PhoneCamera, Protocol):
    """A phone scope whose focus can be set away from the specimen, by so many µm."""

    defocus_um: float


@dataclass(frozen=True)
class StackScore:
    """One capture of a stack: SSIM with the in-focus label by method; 0 where it was too blurred to be registered."""

    slide: str
    field: int
    defocus_um: float
    registered: bool
    ssim: dict[str, float]


@dataclass(frozen=True)
class FocusStack:
    """The captures of all stacks, field by field."""

    scores: tuple[StackScore, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, the same for each capture."""
        return tuple(self.scores[0].ssim)

    @property
    def defocus_um(self) -> NDArray[np.float64]:
        """The steps of defocus, growing."""
        return np.unique([score.defocus_um for score in self.scores])

    def curve(self, method: str) -> NDArray[np.float64]:
        """Return the mean SSIM over fields at each step of `defocus_um`."""
        return np.array([
            np.mean([score.ssim[method] for score in self.scores if score.defocus_um == z]) for z in self.defocus_um
        ])

    def depth(self, method: str) -> FocusDepth:
        """Return the range of defocus where the mean SSIM keeps 0.9 of its peak."""
        return focus_depth(self.defocus_um, self.curve(method))

    @property
    def reference(self) -> str:
        """The phone's picture that sets the standard: with its colours mended where that was possible."""
        return "colour" if "colour" in self.methods else "bicubic"

    def useful(self, method: str) -> FocusDepth:
        """Return the range where the mean SSIM is at least 0.9 of the best that `reference` reaches in focus."""
        best = float(self.curve(self.reference).max())
        return focus_depth(self.defocus_um, self.curve(method), least=NEAR_PEAK * best)

    def gain(self) -> float:
        """Return how many times longer the network's useful range is than the reference's."""
        return self.useful("network").depth_um / self.useful(self.reference).depth_um


def measure_focus_stack(
    config: InstrumentConfig,
    session: Path,
    pairs: Path,
    enhancer: Enhancer,
    *,
    source: str,
    baselines: Baselines | None = None,
    defocus_um: Sequence[float] = DEFOCUS_UM,
    fields: int = FIELDS,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> FocusStack:
    """Capture blind fields of a session again at a range of defocus, and score each against the in-focus benchtop.

    Parameters
    ----------
    config : InstrumentConfig
        The instrument with the session's slides.
    baselines : Baselines, optional
        Adds the colour matrix as a method.
    defocus_um : sequence of float
        Steps of the stack, growing.
    fields : int
        Captures of the session that are repeated, spread over the blind ones.

    Raises
    ------
    UserError
        The phone scope has no focus to set, the session no blind field, or no capture could be registered.
    CancelledError
        Asked to stop.
    """
    stop = stop or StopToken()
    methods = ("bicubic", "network") if baselines is None else ("bicubic", "colour", "network")
    scores: list[StackScore] = []
    with build_instruments(config, source=source) as instruments:
        phone = instruments.phone
        if not isinstance(phone, FocusingPhone):
            raise UserError("this phone scope can't set its focus, so no stack can be taken", "leave out --focus-stack")
        places = _places(session, pairs, fields)
        for slide, number, x_um, y_um in places:
            instruments.check_slide(slide)
            with (
                Mosaic.open(session, slide) as mosaic,
                closing(_stack(phone, slide, (x_um, y_um), defocus_um, stop)) as taken,
            ):
                for z_um, capture in taken:
                    found = _scored(capture, mosaic, enhancer, baselines)
                    lost = dict.fromkeys(methods, 0.0)
                    scores.append(StackScore(slide, number, z_um, found is not None, found or lost))
                    on_progress(Progress("focus stack", len(scores), len(places) * len(defocus_um)))
    if not any(score.registered for score in scores):
        raise UserError(
            "no capture of the stack of focus could be registered", "check that the session's slides are mounted"
        )
    return FocusStack(tuple(scores))


def _places(session: Path, pairs: Path, fields: int) -> list[tuple[str, int, float, float]]:
    """Return slide, number and nominal (x, y) of blind captures that were accepted, spread over them."""
    with PairStore.open(pairs) as store:
        blind = list(dict.fromkeys(
            (record.slide, record.capture) for record in store.records if is_evaluated(record, "blind")
        ))
    if not blind:
        raise UserError(f"{pairs} has no accepted blind field", "capture and register a slide of that role")
    chosen = [blind[round(place)] for place in np.linspace(0, len(blind) - 1, min(fields, len(blind)))]
    with Session.open(session) as opened:
        positions = {
            (slide, capture.index): capture.position
            for slide in {slide for slide, _ in chosen} for capture in opened.captures(slide)
        }
    return [(slide, number, positions[slide, number].x_um, positions[slide, number].y_um) for slide, number in chosen]


def _stack(
    phone: FocusingPhone, slide: str, at_um: tuple[float, float], defocus_um: Sequence[float], stop: StopToken
) -> Generator[tuple[float, PhoneCapture], None, None]:
    """Yield the captures of one field; light and focus are as before afterwards."""
    phone.mount(slide)
    try:
        phone.illuminator.set_colour(255, 255, 255)
        for z_um in defocus_um:
            stop.raise_if_requested("the stack of focus")
            phone.defocus_um = z_um
            yield z_um, phone.capture(*at_um)
    finally:
        phone.defocus_um = 0.0
        phone.illuminator.off()


def _scored(
    capture: PhoneCapture, mosaic: Mosaic, enhancer: Enhancer, baselines: Baselines | None
) -> dict[str, float] | None:
    """Return the SSIM by method, or None where the capture can't be registered."""
    developed = develop_fresh(capture)
    pitch_um, factor = 2 * capture.bayer_pixel_um, enhancer.card.network.factor
    fixed = _surroundings(mosaic, capture, (developed.shape[0], developed.shape[1]))
    try:
        registration = register(developed, fixed, moving_pixel_um=pitch_um, fixed_pixel_um=mosaic.pixel_size_um)
        lattice = largest_valid_window(registration, factor)
        (top, left), (rows, columns) = lattice.fixed_origin_px, lattice.fixed_shape
        low, _ = resample(developed, lattice_map(registration, (top, left), lattice.shape, factor))
        label = luminance(to_float(fixed[top : top + rows, left : left + columns]))
        bicubic = upsample_bicubic(low, rows, columns)
        pictures = {"bicubic": bicubic}
        if baselines is not None:
            pictures["colour"] = baselines.matrix.apply(bicubic)
        pictures["network"] = to_float(enhancer(to_float(low)))
        return {name: ssim(luminance(picture), label) for name, picture in pictures.items()}
    except (RegistrationError, InputImageError):
        # Blur that hides every feature is a result of this measurement, not its failure.
        return None


def _surroundings(mosaic: Mosaic, capture: PhoneCapture, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Read the mosaic where a capture may lie, cut at the mosaic's edges."""
    pitch_um, pixel = 2 * capture.bayer_pixel_um, mosaic.pixel_size_um
    region = RegionUm.centred(
        capture.nominal.x_um, capture.nominal.y_um, shape[1] * pitch_um, shape[0] * pitch_um
    ).grown(_MARGIN_UM)
    left, top = (
        max(0, round((low - origin) / pixel))
        for low, origin in zip((region.x_um, region.y_um), mosaic.origin_um, strict=True)
    )
    right, bottom = (
        min(limit, round((high - origin) / pixel))
        for high, origin, limit in zip(
            (region.right_um, region.bottom_um), mosaic.origin_um, mosaic.shape[1::-1], strict=True
        )
    )
    return mosaic.read(top, left, bottom - top, right - left)
