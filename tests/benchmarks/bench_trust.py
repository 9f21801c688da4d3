"""Whether wrong pictures are told from right ones: on the twin's captures of slides that no calibration saw.

    python tests/benchmarks/bench_trust.py --job blood=FOLDER --job "h&e"=FOLDER --job trichrome=FOLDER [--json]

A job is the folder of a finished ``mobilescope demo --stain STAIN`` (its model is copied); without any, the demos are
run first. Frames are developed as the live view sees them, unregistered, from slides of other seeds and, for every
second slide, by a phone of another seed. Every kind of wrong picture stands against the same right ones: the area under
the ROC curve of the report's ``level``, and how many pictures each state is given to.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from mobilescope.app.demo import DemoOptions, run_demo
from mobilescope.core.protocols import LightState
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.trust import TrustAssessor
from mobilescope.enhance.verdict import TrustReport
from mobilescope.imaging.appearance import resized
from mobilescope.imaging.colour import cie94, srgb_decode, srgb_encode, to_float
from mobilescope.imaging.raw import develop_srgb
from mobilescope.learn.reference import attach_reference
from mobilescope.twin.parameters import load_parameters
from mobilescope.twin.phone import TwinPhone
from mobilescope.twin.slides import SlideRack, SlideSpec
from mobilescope.twin.truth import TruthLog

STAINS = ("blood", "h&e", "trichrome")
FIRST_SLIDE = 201
SLIDES = 6
FIELDS_PER_SLIDE = 10
PHONE = load_parameters().phone
WAVELENGTH_UM = 0.55
# SCIENCE.md: λ/NA² + pixel/NA, with the phone's cone of light and its Bayer pitch.
DEPTH_OF_FIELD_UM = WAVELENGTH_UM / PHONE.effective_aperture**2 + PHONE.bayer_pixel_um / PHONE.effective_aperture
COLOUR_SHIFT = 10.0
Pictures = list[np.ndarray]


class Lamp:
    """White light at full brightness."""

    def state(self) -> LightState:
        return LightState(True, 255, 255, 255, 1.0, source="lamp")


def captures(stain: str, *, defocus_um: float = 0.0, pitch: float = 1.0) -> Pictures:
    """Return developed frames of every slide, out of focus to either side, or by a phone of another pitch."""
    parameters = load_parameters({"phone": {"bayer_pixel_um": PHONE.bayer_pixel_um * pitch}})
    pictures = []
    for seed in range(FIRST_SLIDE, FIRST_SLIDE + SLIDES):
        name = f"slide-{seed}"
        rack = SlideRack({name: SlideSpec(specimen=stain, seed=seed)}, parameters.surface)
        # The demo's phone has seed 0; another seed is another lens. Both go on with drifts of their own.
        phone = TwinPhone(
            rack, parameters, seed=0 if seed % 2 else seed, truth=TruthLog(), illuminator=Lamp()
        )
        rng = np.random.default_rng([seed, round(1000 * defocus_um), round(1000 * pitch)])
        phone._rng = rng
        phone.mount(name)
        for _ in range(FIELDS_PER_SLIDE):
            phone.defocus_um = defocus_um * rng.choice([-1, 1])
            capture = phone.capture(*rng.uniform(-2500, 2500, 2))
            pictures.append(develop_srgb(
                capture.bayer, cfa=capture.cfa, black_level=capture.black_level, white_level=capture.white_level,
                white_balance=capture.white_balance,
            ))
    return pictures


def recoloured(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture in light of another colour and strength, at a mean CIE-94 difference of just `COLOUR_SHIFT`."""
    floats = to_float(picture)
    linear, direction = srgb_decode(floats), rng.standard_normal(3)
    low, high = 0.0, 4.0
    for _ in range(16):
        amount = (low + high) / 2
        changed = srgb_encode(linear * np.exp(amount * direction / np.linalg.norm(direction)))
        enough = cie94(floats[::4, ::4], changed[::4, ::4]).mean() >= COLOUR_SHIFT
        low, high = (low, amount) if enough else (amount, high)
    return srgb_encode(linear * np.exp(high * direction / np.linalg.norm(direction)))


def auroc(right: np.ndarray, wrong: np.ndarray) -> float:
    """Return the chance that a wrong picture's level is above a right one's (Mann-Whitney)."""
    ranks = rankdata(np.concatenate([right, wrong]))[len(right) :]
    return float((ranks.sum() - len(wrong) * (len(wrong) + 1) / 2) / (len(right) * len(wrong)))


@dataclass(frozen=True)
class Row:
    """One kind of picture under one model."""

    kind: str
    reports: list[TrustReport]

    @property
    def levels(self) -> np.ndarray:
        # A picture without specimen has no level: its state alone says that it is not trusted.
        return np.array([report.measures.get("level", float(report.state != "trusted")) for report in self.reports])

    def figures(self, right: np.ndarray) -> dict[str, Any]:
        states = Counter(report.state for report in self.reports)
        reasons = Counter(report.reasons[0] for report in self.reports if report.reasons)
        return {
            "kind": self.kind, "pictures": len(self.reports), "median_level": round(float(np.median(self.levels)), 2),
            "auroc": round(auroc(right, self.levels), 4),
            "flagged": round(1 - states["trusted"] / len(self.reports), 3),
            "not_for_use": round(states["not for use"] / len(self.reports), 3),
            "reason": reasons.most_common(1)[0][0] if reasons else "",
        }


def judged(model: Path, stain: str, taken: dict[str, dict[str, Pictures]]) -> list[Row]:
    """Judge every kind of picture by one model."""
    assessor = TrustAssessor.from_checkpoint(model)
    own, rng = taken[stain], np.random.default_rng(FIRST_SLIDE)
    right = own["right"]
    kinds = {
        **own,
        "resampled 0.75x": [resized(to_float(picture), 0.75) for picture in right],
        "resampled 1.25x": [resized(to_float(picture), 1.25) for picture in right],
        f"colour shift, CIE-94 {COLOUR_SHIFT:g}": [recoloured(picture, rng) for picture in right],
        "clear glass": taken["blank"]["right"],
        **{f"stain {other}": taken[other]["right"] for other in STAINS if other != stain},
    }
    rows = [Row(kind, [assessor.assess(picture) for picture in pictures]) for kind, pictures in kinds.items()]
    told = load_parameters().phone.bayer_pixel_um * 2
    return rows + [
        Row(f"pixel size told, {factor}x", [assessor.assess(picture, pixel_size_um=told * factor) for picture in right])
        for factor in (1.0, 0.75, 1.25)
    ]


def costs(model: Path, picture: np.ndarray) -> dict[str, float]:
    """Return milliseconds of processor time for assessing, mapping and enhancing, best of three."""
    assessor, enhancer = TrustAssessor.from_checkpoint(model), Enhancer.from_checkpoint(model)
    found = {}
    for size, image in ((256, picture), (1024, np.tile(picture, (4, 4, 1)))):
        jobs = {"assess": lambda image=image: assessor.assess(image), "enhance": lambda image=image: enhancer(image)}
        if size == 256:
            jobs["assess_with_map"] = lambda image=image: assessor.assess(image, with_map=True)
        for name, job in jobs.items():
            times = []
            for _ in range(3):
                started = time.process_time()
                job()
                times.append(1e3 * (time.process_time() - started))
            found[f"{name}_{size}_cpu_ms"] = round(min(times), 1)
    return found


def take(stain: str) -> dict[str, Pictures]:
    """Render all that is rendered of one stain."""
    return {
        "right": captures(stain),
        "defocus 2 depths of field": captures(stain, defocus_um=2 * DEPTH_OF_FIELD_UM),
        "defocus 1 depth of field": captures(stain, defocus_um=DEPTH_OF_FIELD_UM),
        "defocus 0.5 depths of field": captures(stain, defocus_um=0.5 * DEPTH_OF_FIELD_UM),
        "phone of 0.75x pitch": captures(stain, pitch=0.75),
        "phone of 1.25x pitch": captures(stain, pitch=1.25),
    }


def main() -> None:
    """Judge the models of all jobs and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", action="append", default=[], help="STAIN=FOLDER of a finished demo")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    given = dict(each.rsplit("=", 1) for each in arguments.job)
    print(
        f"depth of field {DEPTH_OF_FIELD_UM:.1f} um; {SLIDES * FIELDS_PER_SLIDE} pictures of each kind, slides of the "
        f"seeds {FIRST_SLIDE} to {FIRST_SLIDE + SLIDES - 1}"
    )
    taken = {stain: take(stain) for stain in STAINS} | {"blank": {"right": captures("blank")}}
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for stain in given or STAINS:
            job = Path(given[stain]) if stain in given else Path(scratch, stain.replace("&", ""))
            if stain not in given:
                run_demo(DemoOptions(out=job, stain=stain))
            model = Path(scratch, "model.pt")
            shutil.copy(job / "model.pt", model)
            started = time.process_time()
            fields = attach_reference(model, [job / "session.pairs.h5"])
            attach_s = time.process_time() - started
            rows = judged(model, stain, taken)
            figures = [row.figures(rows[0].levels) for row in rows]
            results[stain] = {
                "fields": fields, "attach_cpu_s": round(attach_s, 1), "kinds": figures,
                "costs": costs(model, taken[stain]["right"][0]),
            }
            print(f"\n{stain}, calibrated on {fields} fields in {attach_s:.1f} s of processor time")
            print(f"{'':30}{'level':>7}{'AUROC':>8}{'flagged':>9}{'not for use':>13}  commonest reason")
            for row in figures:
                print(
                    f"{row['kind']:30}{row['median_level']:7.2f}{row['auroc']:8.4f}{row['flagged']:9.1%}"
                    f"{row['not_for_use']:13.1%}  {row['reason'].split(';')[0]}"
                )
            print("  " + ", ".join(f"{name} {value}" for name, value in results[stain]["costs"].items()))
            sys.stdout.flush()
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
