"""Whether the gate tells good pairs from bad ones, and whether the error that it foretells is the true one.

    python tests/benchmarks/bench_gate.py [--pairs 24] [--json]

Good pairs are real images under drawn warps and captures of the twin, also noisy, slightly out of focus, turned by 90
or 180 degrees, and leaving the window by a tenth. Bad ones show another field of the same slide or stain, a texture
that repeats, a phone image far out of focus, blank glass, or a mirror image; none of them may be accepted. Pairs under
much noise may be either. A pair counts as falsely accepted where the median error of its map is above 1 phone pixel, or
where there is no right map; as falsely refused where it is good and its map, if there is one, is right to 0.3 px.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from known_warps import FIELDS, blurred, drawn_model, real_pair, twin_pair
from phone_pairs import Pair, phone_pair
from scipy.stats import spearmanr

from mobilescope.core.errors import RegistrationError
from mobilescope.imaging.quality import judge
from mobilescope.imaging.registration import RegistrationOptions, register

FIXED_UM = 0.37
WRONG_PX = 1.0
RIGHT_PX = 0.3


@dataclass(frozen=True)
class Case:
    """A pair, whether it ought to be accepted (None: as it comes), and whether its truth is known."""

    kind: str
    pair: Pair
    good: bool | None
    known: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of a case; errors in phone pixels where the map is said to rest on specimen."""

    kind: str
    good: bool | None
    accepted: bool
    reason: str
    error_px: float | None = None
    error_p95_px: float | None = None
    expected_px: float | None = None
    expected_p95_px: float | None = None

    @property
    def false_accept(self) -> bool:
        """Whether a wrong map passed."""
        return self.accepted and (self.error_px is None or self.error_px > WRONG_PX)

    @property
    def false_refusal(self) -> bool:
        """Whether a good pair was refused."""
        return bool(self.good) and not self.accepted and (self.error_px is None or self.error_px <= RIGHT_PX)


def turned(pair: Pair, quarters: int) -> Pair:
    """Return the pair with its phone image turned."""
    moving, truth = (np.ascontiguousarray(np.rot90(each, quarters)) for each in (pair.moving, pair.truth_yx))
    return Pair(moving, pair.fixed, truth, pair.factor)


def noisy(pair: Pair, sigma: float, seed: int) -> Pair:
    """Return the pair with noise on its phone image, a share of the full scale."""
    full = np.iinfo(pair.moving.dtype).max
    image = pair.moving + sigma * full * np.random.default_rng(seed).standard_normal(pair.moving.shape)
    return replace(pair, moving=np.clip(np.round(image), 0, full).astype(pair.moving.dtype))


def cropped(pair: Pair) -> Pair:
    """Return the pair with the window's edge through a tenth of the field."""
    left = int(np.percentile(pair.truth_yx[..., 1], 10))
    return Pair(pair.moving, np.ascontiguousarray(pair.fixed[:, left:]), pair.truth_yx - [0, left], pair.factor)


def repetitive(index: int) -> Pair:
    """Return a phone image of one tile of a texture that repeats without end."""
    rng = np.random.default_rng([index, 0x7E])
    if index % 2:
        tile = FIELDS[index % 7].read()[300:460, 300:460]
        image = np.tile(tile, (6, 6, 1))
    else:
        rows, columns = np.mgrid[0:960, 0:960] * (2 * np.pi / rng.uniform(24, 60))
        wave = 0.6 + 0.25 * np.cos(rows) * np.cos(columns + 0.3)
        image = np.repeat((255 * wave).round().astype(np.uint8)[..., None], 3, axis=-1)
    # By how many tiles it is off cannot be known: a map that is accepted is wrong.
    return phone_pair(np.ascontiguousarray(image), (224, 224), drawn_model(rng), index)


def blank(pair: Pair, seed: int) -> Pair:
    """Return the pair with a phone image of clear glass."""
    rng = np.random.default_rng(seed)
    glass = 225 + 3 * rng.standard_normal(pair.moving.shape)
    return replace(pair, moving=np.clip(glass, 0, 255).astype(np.uint8))


def make_cases(count: int):
    """Yield cases, ``count`` good ones as they come and as many of each other kind as a third of that."""
    twins = count // 2
    good = [real_pair(index) for index in range(count - twins)] + [twin_pair(index) for index in range(twins)]
    yield from (Case("good", pair, good=True) for pair in good)
    some = good[:: max(1, len(good) // max(1, count // 3))]
    for index, pair in enumerate(some):
        yield Case("noise 4 %", noisy(pair, 0.04, index), good=True)
        yield Case("blur 0.8 px", blurred(pair, 0.8), good=True)
        yield Case("turned 90", turned(pair, 1), good=True)
        yield Case("turned 180", turned(pair, 2), good=True)
        yield Case("leaves the window", cropped(pair), good=True)
        yield Case("noise 12 %", noisy(pair, 0.12, index), good=None)
        yield Case("blur 3 px", blurred(pair, 3), good=False)
        yield Case("blur 8 px", blurred(pair, 8), good=False)
        yield Case("blank", blank(pair, index), good=False, known=False)
        yield Case("mirrored", replace(pair, moving=np.ascontiguousarray(pair.moving[:, ::-1])), False, known=False)
        yield Case("repetitive", repetitive(index), good=False, known=False)
        other = good[(good.index(pair) + 3) % len(good)]
        yield Case("other field", replace(pair, fixed=other.fixed), good=False, known=False)
        moved = phone_pair(np.ascontiguousarray(np.rot90(FIELDS[index % 7].read(), 1)), (224, 224), drawn_model(
            np.random.default_rng([index, 0x0F])), index)
        yield Case("other field, same stain", replace(moved, fixed=FIELDS[(index + 1) % 7].read()), False, known=False)
    for index in range(len(some)):
        pair = twin_pair(200 + index)
        elsewhere = twin_pair(300 + index, specimen=("blood", "h&e", "trichrome")[index % 3], slide_seed=200 + index)
        yield Case("other field, same slide", replace(pair, fixed=elsewhere.fixed), good=False, known=False)


def run(case: Case) -> Outcome:
    """Register and judge."""
    pair = case.pair
    try:
        found = register(
            pair.moving, pair.fixed, moving_pixel_um=FIXED_UM * pair.factor, fixed_pixel_um=FIXED_UM,
            options=RegistrationOptions(scale_tolerance=0.25),
        )
    except RegistrationError as error:
        return Outcome(case.kind, case.good, accepted=False, reason=str(error))
    verdict, quality = judge(found.quality), found.quality
    told = Outcome(case.kind, case.good, verdict.accepted, verdict.reason)
    if not case.known or not found.supported.any():
        return told
    error = np.linalg.norm(found.map_yx - pair.truth_yx, axis=-1)[found.supported] / pair.factor
    median, high = np.percentile(error, (50, 95))
    return replace(
        told, error_px=float(median), error_p95_px=float(high), expected_px=quality.expected_median_px,
        expected_p95_px=quality.expected_p95_px,
    )


def main() -> None:
    """Run all cases and print what became of each kind, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=24, help="good pairs as they come")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    outcomes = []
    for case in make_cases(options.pairs):
        outcomes.append(run(case))
        if not options.json and (outcomes[-1].false_accept or outcomes[-1].false_refusal):
            print(f"  {'false accept' if outcomes[-1].false_accept else 'false refusal'}: {outcomes[-1]}", flush=True)
    if options.json:
        print(json.dumps({"benchmark": "gate", "results": [vars(each) for each in outcomes]}))
        return
    print(
        f"{'kind':26}{'cases':>6}{'accepted':>10}{'false accepts':>15}{'false refusals':>16}{'error px':>10}"
        f"{'expected':>10}"
    )
    for kind in dict.fromkeys(each.kind for each in outcomes):
        found = [each for each in outcomes if each.kind == kind]
        known = [each for each in found if each.error_px is not None]
        figures = "".join(
            f"{np.median([getattr(each, name) for each in known]):10.3f}" for name in ("error_px", "expected_px")
        ) if known else ""
        print(
            f"{kind:26}{len(found):6}{sum(each.accepted for each in found):10}"
            f"{sum(each.false_accept for each in found):15}{sum(each.false_refusal for each in found):16}{figures}"
        )
    good, bad = ([each for each in outcomes if each.good is wanted] for wanted in (True, False))
    print(
        f"all: {sum(each.false_accept for each in outcomes)} false accepts of {len(outcomes)}, "
        f"{sum(each.accepted for each in bad)} of {len(bad)} bad ones accepted, "
        f"{sum(each.false_refusal for each in good)} false refusals of {len(good)} good ones"
    )
    told_of = {"median": ("error_px", "expected_px"), "95th percentile": ("error_p95_px", "expected_p95_px")}
    for name, told in told_of.items():
        known = [each for each in outcomes if each.accepted and each.error_px is not None]
        true, said = (np.array([getattr(each, key) for each in known]) for key in told)
        low, middle, high = np.percentile(true / said, (10, 50, 90))
        print(
            f"error foretold, {name}, {len(known)} accepted pairs: Spearman {spearmanr(said, true)[0]:.2f}, true over "
            f"foretold {middle:.2f} ({low:.2f} to {high:.2f} from the 10th to the 90th percentile)"
        )


if __name__ == "__main__":
    main()
