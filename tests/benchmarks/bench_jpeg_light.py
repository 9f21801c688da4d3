"""A phone's uneven light and broken pixels, corrected in its JPEGs and in its raw pictures, on the twin.

    python tests/benchmarks/bench_jpeg_light.py [--quick]

Evenness: the darkest of 8×8 parts of clear glass below the brightest, and CIE-94 of tissue against the same capture as
it comes out evenly lit. Defects: the error around them against the same capture of a sound sensor.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.app.pictures.known_light import KnownLight
from mobilescope.core.config import InstrumentConfig
from mobilescope.imaging.colour import cie94, srgb_decode, to_float
from mobilescope.imaging.flat_field import shading_of
from mobilescope.imaging.halving import halve_srgb, halved_light
from mobilescope.imaging.jpeg import compress, decompress
from mobilescope.imaging.raw import develop_srgb
from mobilescope.twin.optics import vignette

FRAMES, CAPTURES = 8, 4
BLACK, WHITE = 64, 1023
# Excess of hot pixels in the dark, as parts of the range; None: dead ones.
STRENGTHS = {"hot by 2 to 6 %": (0.02, 0.06), "6 to 20 %": (0.06, 0.2), "20 to 95 %": (0.2, 0.95), "dead": None}


class Phone:
    """The twin's phone, of which a sensor's frame can be spoilt before its JPEG is made."""

    def __init__(self, phone, spoil, curve=0.0):
        self.phone, self.spoil = phone, spoil
        counts = np.arange(256) / 255
        self.tone = np.round(255 * (counts - curve * np.sin(2 * np.pi * counts) / (2 * np.pi))).astype(np.uint8)

    def jpeg(self, bayer):
        """Return what the phone makes of a frame, decoded; `tone` is a curve of its own."""
        return cv2.LUT(decompress(self.phone._jpeg(bayer, np.ones(3))), self.tone)

    def take(self, slide, colour, count):
        """Return so many frames as they are and as they are spoilt."""
        self.phone.mount(slide)
        self.phone.illuminator.set_colour(*colour)
        frames = [self.phone.capture(60.0 * number, 0.0).bayer for number in range(count)]
        self.phone.illuminator.off()
        return [(frame, self.spoil(frame)) for frame in frames]

    def light(self, pictures):
        """Return the calibration of raw pictures or of JPEGs."""
        means = []
        for colour in ((0, 0, 0), (255, 255, 255)):
            frames = [spoilt for _, spoilt in self.take("blank", colour, FRAMES)]
            seen = frames if pictures == "raw" else [halved_light(self.jpeg(frame)) for frame in frames]
            means.append(np.mean(seen, axis=0, dtype=np.float32))
        if pictures == "raw":
            return KnownLight("raw", "RGGB", BLACK, WHITE, *means, {})
        return KnownLight("jpeg", "", 0, 255, *means, {})


def light_of(picture):
    """Return a developed picture in linear light."""
    return srgb_decode(to_float(picture))


def unevenness(picture):
    """Return by how much the darkest of 8×8 parts lies below the brightest, for each colour."""
    light = light_of(picture)
    side = light.shape[0] // 8
    parts = np.median(light.reshape(8, side, 8, side, 3), axis=(1, 3))
    return 1 - parts.min(axis=(0, 1)) / parts.max(axis=(0, 1))


def scaled(frame, by):
    """Return a frame in other light."""
    return np.clip(np.round((frame - float(BLACK)) * by + BLACK), 0, WHITE).astype(np.uint16)


def evenness(side):
    """Print the table of uneven light."""
    print("| light | pictures | clear glass before | after | h&e before | after |\n|---|---|---|---|---|---|")
    lights = {"the twin's vignetting": (0.22, 1.0), "half lost in the corner, 30 % from side to side": (0.5, 0.7)}
    for name, (vignetting, other_side) in lights.items():
        gradient = np.linspace(1, other_side, side)
        config = InstrumentConfig.model_validate({"twin": {
            "phone": {"bayer_rows": side, "bayer_columns": side, "vignetting": vignetting},
            "slides": {"slide": {"specimen": "h&e"}},
        }})
        with build_instruments(config, source="benchmark") as instruments:
            for pictures, curve in (("JPEG", 0.0), ("JPEG with a strong tone curve", 0.5), ("raw", 0.0)):
                phone = Phone(instruments.phone, lambda frame, by=gradient: scaled(frame, by), curve)
                jpegs = pictures != "raw"
                shading = shading_of(phone.light("jpeg" if jpegs else "raw").smooth())

                def develop(frame, shading=None, phone=phone, jpegs=jpegs):
                    if jpegs:
                        return halve_srgb(phone.jpeg(frame), shading=shading)
                    return develop_srgb(
                        frame, cfa="RGGB", black_level=BLACK, white_level=WHITE, white_balance=(1.1, 0.8, 1.35),
                        shading=shading,
                    )

                ((_, clear),) = phone.take("blank", (255, 255, 255), 1)
                figures = [unevenness(develop(clear, each)) for each in (None, shading)]
                shade = vignette(side, side, vignetting) * gradient
                errors = [
                    [cie94(to_float(develop(scaled(frame, shade.max() / shade))), to_float(develop(frame, each))).mean()
                     for each in (None, shading)]
                    for _, frame in phone.take("slide", (255, 255, 255), CAPTURES)
                ]
                told = [f"{each.min():.1%} to {each.max():.1%}" for each in figures]
                before, after = np.mean(errors, axis=0)
                print(f"| {name} | {pictures} | {told[0]} | {told[1]} | {before:.2f} | {after:.2f} |", flush=True)


def defects(side, quality, specimen):
    """Print a row of the table of defects."""
    rng = np.random.default_rng(1)
    places = rng.integers(8, side - 8, (4, 30, 2))

    def spoil(frame):
        frame = frame.astype(np.int64)
        for (rows, columns), strength in zip(places.transpose(0, 2, 1), STRENGTHS.values(), strict=True):
            if strength is None:
                frame[rows, columns] = BLACK
            else:
                frame[rows, columns] += (np.linspace(*strength, 30) * (WHITE - BLACK)).astype(np.int64)
        return np.clip(frame, 0, WHITE).astype(np.uint16)

    config = InstrumentConfig.model_validate({"twin": {
        "phone": {"bayer_rows": side, "bayer_columns": side, "jpeg_quality": quality},
        "slides": {"slide": {"specimen": specimen}},
    }})
    with build_instruments(config, source="benchmark") as instruments:
        phone = Phone(instruments.phone, spoil)
        found = np.concatenate(phone.light("jpeg").defects())
        errors = {name: [] for name in STRENGTHS}
        for sound, spoilt in phone.take("slide", (255, 255, 255), CAPTURES):
            truth, left = (to_float(halve_srgb(phone.jpeg(frame))) for frame in (sound, spoilt))
            mended = to_float(halve_srgb(phone.jpeg(spoilt), defects=found))
            for name, at in zip(STRENGTHS, places, strict=True):
                near = np.zeros(truth.shape[:2], np.uint8)
                near[tuple(at.T // 2)] = 1
                near = cv2.dilate(near, np.ones((5, 5), np.uint8)) > 0
                errors[name].append([255 * np.sqrt(np.mean((each - truth)[near] ** 2)) for each in (left, mended)])
    cells = [" | ".join(f"{value:.1f}" for value in np.mean(each, axis=0)) for each in errors.values()]
    print(f"| {specimen}, quality {quality} | {' | '.join(cells)} | {len(found)} |", flush=True)


def speed(shape):
    """Print what developing a JPEG takes."""
    rng = np.random.default_rng(0)
    small = rng.integers(40, 220, (shape[0] // 16, shape[1] // 16, 3), dtype=np.uint8)
    picture = decompress(compress(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC), 92))
    shading = np.full((shape[0] // 2, shape[1] // 2, 3), 1.2, np.float32)
    places = rng.integers(0, min(shape) // 2, (3000, 2))
    took = []
    for options in ({}, {"shading": shading}, {"shading": shading, "defects": places}):
        times = []
        for _ in range(3):
            begun_s = time.perf_counter()
            halve_srgb(picture, **options)
            times.append(time.perf_counter() - begun_s)
        took.append(min(times))
    print(
        f"\n{shape[0] * shape[1] / 1e6:.0f} Mpx: {took[0]:.2f} s without a calibration, {took[1]:.2f} s with a flat "
        f"field, {took[2]:.2f} s with 3000 defects besides; decoding aside"
    )


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small pictures")
    quick = parser.parse_args().quick
    evenness(256 if quick else 1024)
    heads = " | ".join(f"{name}, left | replaced" for name in STRENGTHS)
    print(f"\n| picture | {heads} | pixels replaced |\n|---{'|---' * 9}|")
    for quality, specimen in ((90, "blood"), (90, "h&e"), (75, "blood"), (97, "blood"))[: 1 if quick else 4]:
        defects(256 if quick else 768, quality, specimen)
    speed((1200, 1600) if quick else (5464, 7504))


if __name__ == "__main__":
    main()
