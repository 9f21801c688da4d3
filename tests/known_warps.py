"""Pairs of which the true map is known: real images bent by a drawn warp, and captures of the twin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from phone_pairs import Pair, PhoneModel, phone_pair, read_rgb
from software_instruments import SoftwareRing, SoftwareStage

from mobilescope.core.config import BenchtopConfig
from mobilescope.imaging.raw import develop_srgb
from mobilescope.twin.benchtop import TwinBenchtop
from mobilescope.twin.parameters import load_parameters
from mobilescope.twin.phone import TwinPhone
from mobilescope.twin.slides import SlideRack, SlideSpec
from mobilescope.twin.truth import TruthLog

FIXED_UM = 0.37
TISSUE = ("mr_18-5592", "mr_38-6178", "mr_49-4488", "mr_A7-A13E", "mr_AR-A1AS", "mr_AY-A8YK", "mr_B0-5710")
TWIN_SPECIMENS = ("blood", "h&e", "trichrome")


@dataclass(frozen=True)
class Field:
    """A part of a real image: its file, and the (row, column) and side of a square; all of it where the side is 0."""

    name: str
    origin_px: tuple[int, int] = (0, 0)
    side_px: int = 0

    def read(self) -> np.ndarray:
        """Return the pixels, RGB bytes."""
        whole = read_rgb(self.name)
        (top, left), side = self.origin_px, self.side_px
        return np.ascontiguousarray(whole[top : top + side, left : left + side]) if side else whole


SLIDE = "wsi/cmu1_small_region.svs"
FIELDS = (
    *(Field(f"he_monuseg_train/{name}.tif") for name in TISSUE),
    *(Field(SLIDE, origin, 980) for origin in ((900, 600), (1900, 100), (1200, 1200), (300, 1000), (900, 200))),
    Field("he_tiles/tupac_r34-c34-x33793-y33799-w1024-h1024.png"),
)


def drawn_model(rng: np.random.Generator) -> PhoneModel:
    """Draw a phone: turned by as much as 15°, 2.2 to 2.7 times coarser, bent by as much as 6 of its pixels."""
    return PhoneModel(
        factor=2.45, scale=float(rng.uniform(2.2, 2.7)) / 2.45, rotation_deg=float(rng.uniform(-15, 15)),
        barrel_px=float(rng.uniform(-6, 6)), wobble_px=float(rng.uniform(0, 6)),
        wobble_scale_px=float(rng.uniform(60, 100)), blur_px=float(rng.uniform(0.5, 1.0)),
        noise=float(rng.uniform(0.005, 0.03)), gamma=float(rng.uniform(0.8, 1.3)),
        colour_mix=float(rng.uniform(0, 0.15)), lateral_colour_px=float(rng.uniform(0, 0.5)),
    )


def real_pair(index: int, shape: tuple[int, int] = (256, 256)) -> Pair:
    """Return pair number ``index`` of the real fields, each time under another drawn warp."""
    image = FIELDS[index % len(FIELDS)].read()
    return phone_pair(image, shape, drawn_model(np.random.default_rng([index, 0x5EED])), index)


def twin_pair(
    index: int, *, slide_seed: int | None = None, frame_px: int = 960, specimen: str | None = None,
    defocus_um: float = 0.0, **phone: object,
) -> Pair:
    """Return what the twin's phone and benchtop make of one field; a new lens and slide for each index."""
    kind = specimen or TWIN_SPECIMENS[index % len(TWIN_SPECIMENS)]
    parameters = load_parameters({"phone": dict(phone)} if phone else {})
    specs = {"slide": SlideSpec(specimen=kind, seed=index if slide_seed is None else slide_seed)}
    rack, truth, ring = SlideRack(specs, parameters.surface), TruthLog(), SoftwareRing()
    frame = BenchtopConfig(frame_rows=frame_px, frame_columns=frame_px, pixel_size_um=FIXED_UM)
    benchtop = TwinBenchtop(SoftwareStage(), rack, parameters, frame, seed=index, truth=truth)
    camera = TwinPhone(rack, parameters, seed=index, truth=truth, illuminator=ring)
    ring.set_colour(255, 255, 255)
    for each in (benchtop, camera):
        each.mount("slide")
    x_um, y_um = (float(value) for value in np.random.default_rng([index, 0xF1E]).uniform(-300, 300, 2))
    benchtop.stage.move_xy(x_um, y_um)
    stands = benchtop._stage.true_position()
    height_um = float(rack.slide("slide").surface.height_um(stands.x_um, stands.y_um))
    benchtop.stage.move_z(height_um)
    fixed = benchtop.snap()
    camera.defocus_um = defocus_um
    taken = camera.capture(x_um, y_um)
    moving = develop_srgb(
        taken.bayer, cfa=taken.cfa, black_level=taken.black_level, white_level=taken.white_level,
        white_balance=taken.white_balance,
    )
    tile = truth.tiles[-1]
    looked = truth.captures[-1].positions_um.astype(np.float64)
    middle = (frame_px - 1) / 2
    truth_yx = np.stack(
        [(looked[..., 1] - tile.y_um) / FIXED_UM + middle, (looked[..., 0] - tile.x_um) / FIXED_UM + middle], axis=-1
    )
    return Pair(moving, fixed.pixels, truth_yx, 2 * taken.bayer_pixel_um / FIXED_UM)


def large_pair(side_px: int = 1024, window_px: int = 2560, seed: int = 3) -> Pair:
    """Return the size that speed is promised for: a phone image of 1024² in its neighbourhood of 2560²."""
    fields = [Field(f"he_monuseg_train/{name}.tif").read() for name in TISSUE]
    rows = [np.hstack([fields[(3 * row + k) % len(fields)] for k in range(3)]) for row in range(3)]
    window = np.ascontiguousarray(np.vstack(rows)[:window_px, :window_px])
    model = PhoneModel(factor=2.2, scale=1, rotation_deg=5, barrel_px=4, wobble_px=2, wobble_scale_px=80)
    return phone_pair(window, (side_px, side_px), model, seed)


def blurred(pair: Pair, sigma_px: float) -> Pair:
    """Return the pair with its phone image out of focus."""
    return Pair(cv2.GaussianBlur(pair.moving, (0, 0), sigma_px), pair.fixed, pair.truth_yx, pair.factor)
