"""Autofocus on the twin from random starts within ±20 µm, its verdicts on blank, noisy and unreachable fields; peers.

    python tests/benchmarks/bench_autofocus.py [--starts 400] [--fields 200] [--peer-starts 20]

Peers, on the first of the same starts: Brenner's measure at 41 steps of 1 µm, the best of which is taken, and Brent's
method on Brenner's measure, bounded, as Micro-Manager's OughtaFocus searches.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from scipy.optimize import minimize_scalar

from mobilescope.acquire.autofocus import autofocus
from mobilescope.core.config import BenchtopConfig
from mobilescope.core.protocols import PositionUm
from mobilescope.imaging.focus import brenner, grey_for_focus
from mobilescope.twin.benchtop import TwinBenchtop
from mobilescope.twin.parameters import load_parameters
from mobilescope.twin.slides import SlideRack, SlideSpec
from mobilescope.twin.truth import TruthLog

HALF_UM, TOLERANCE_UM = 20.0, 0.49
NOISY = {"full_well_electrons": 1000, "read_noise_electrons": 40.0}


class Drive:
    """A stage in memory."""

    def __init__(self) -> None:
        self._at = PositionUm(0.0, 0.0, 0.0)

    def move_xy(self, x_um: float, y_um: float) -> None:
        self._at = PositionUm(x_um, y_um, self._at.z_um)

    def move_z(self, z_um: float) -> None:
        self._at = PositionUm(self._at.x_um, self._at.y_um, z_um)

    def position(self) -> PositionUm:
        return self._at

    def z_range_um(self) -> tuple[float, float]:
        return -500.0, 500.0

    def describe(self) -> str:
        return "memory"


def field(kind: str, seed: int, **benchtop: float) -> tuple[TwinBenchtop, float]:
    """Return a microscope over a random place of a slide, and the true z of its focus."""
    rng = np.random.default_rng([seed, 7])
    parameters = load_parameters({"benchtop": benchtop})
    rack = SlideRack({"slide": SlideSpec(specimen=kind, seed=seed % 11)}, parameters.surface)
    frame = BenchtopConfig(frame_rows=512, frame_columns=512)
    scope = TwinBenchtop(Drive(), rack, parameters, frame, seed=seed, truth=TruthLog())
    scope.mount("slide")
    scope.stage.move_xy(*rng.uniform(-2000, 2000, 2))
    at = scope.stage.true_position()
    return scope, float(rack.slide("slide").surface.height_um(at.x_um, at.y_um))


def sharpness(scope: TwinBenchtop, z_um: float) -> float:
    scope.stage.move_z(z_um)
    return brenner(grey_for_focus(scope.snap(roi_px=384).pixels))


def exhaustive(scope: TwinBenchtop, start_um: float) -> tuple[float, int]:
    steps = start_um + np.linspace(-HALF_UM, HALF_UM, 41)
    return float(steps[int(np.argmax([sharpness(scope, z) for z in steps]))]), 41


def brent(scope: TwinBenchtop, start_um: float) -> tuple[float, int]:
    found = minimize_scalar(
        lambda z: -sharpness(scope, z), bounds=(start_um - HALF_UM, start_um + HALF_UM), method="bounded",
        options={"xatol": 0.25},
    )
    return float(found.x), int(found.nfev)


def tell(name: str, errors_um: list[float], images: list[int]) -> None:
    error, least = np.abs(errors_um), np.percentile(np.abs(errors_um), 95)
    print(
        f"{name:28} n {len(error):4}  within {TOLERANCE_UM} µm {np.mean(error <= TOLERANCE_UM):6.1%}  "
        f"95 % within {least:6.2f} µm  images median {np.median(images):.0f}, most {max(images)}", flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=400, help="random starts, half on each specimen")
    parser.add_argument("--fields", type=int, default=200, help="blank fields; a quarter as many of the others")
    parser.add_argument("--peer-starts", type=int, default=20)
    given = parser.parse_args()
    for kind in ("h&e", "blood") if given.starts > 1 else ():
        ours, images, verdicts = [], [], Counter()
        peers: dict[str, list[tuple[float, int]]] = {}
        for seed in range(given.starts // 2):
            scope, true_um = field(kind, seed)
            start_um = true_um + np.random.default_rng([seed, 8]).uniform(-19, 19)
            record = autofocus(scope, centre_z_um=start_um, half_range_um=HALF_UM)
            verdicts[record.verdict] += 1
            ours.append(record.z_um - true_um)
            images.append(record.images_taken)
            if seed < given.peer_starts // 2:
                for name, search in {"Brenner at 41 steps": exhaustive, "Brent's method": brent}.items():
                    z_um, taken = search(scope, start_um)
                    peers.setdefault(name, []).append((z_um - true_um, taken))
        tell(f"{kind}: ours", ours, images)
        print(f"    verdicts {dict(verdicts)}", flush=True)
        for name, each in peers.items():
            tell(f"{kind}: {name}", [error for error, _ in each], [taken for _, taken in each])
    for name, kind, right, count, noise in (
        ("blank", "blank", "blank", given.fields, {}),
        ("noise only", "blank", "blank", given.fields // 4, NOISY),
        ("edge, h&e", "h&e", "range_edge", given.fields // 4, {}),
        ("edge, blood", "blood", "range_edge", given.fields // 4, {}),
    ):
        verdicts = Counter()
        for seed in range(count):
            scope, true_um = field(kind, 1000 + seed, **noise)
            rng = np.random.default_rng([seed, 9])
            beyond_um = rng.choice([-1, 1]) * rng.uniform(HALF_UM + 1, HALF_UM + 12)
            verdicts[autofocus(scope, centre_z_um=true_um + beyond_um, half_range_um=HALF_UM).verdict] += 1
        print(f"{name:28} n {count:4}  right {verdicts[right] / count:6.1%}  {dict(verdicts)}", flush=True)


if __name__ == "__main__":
    main()
