"""Files as phones save them: small DNGs and JPEGs with the notes that cameras write."""

from __future__ import annotations

import io
from datetime import datetime, timedelta

import numpy as np
import tifffile
from PIL import ExifTags, Image

BEGUN = datetime(2026, 11, 29, 10, 0, 0)
SHAPE = (64, 96)


def mosaic(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(1000, 3000, shape, dtype=np.uint16)


def dng(path, *, seed=0, shape=SHAPE, after_s=0, zone=None, orientation=1, iso=100, exposure=(1, 50), told=True):
    """Write a small DNG whose four sites differ; returns the path."""
    when = (BEGUN + timedelta(seconds=after_s)).strftime("%Y:%m:%d %H:%M:%S")
    tags = [
        (33421, "H", 2, (2, 2), True), (33422, "B", 4, bytes((0, 1, 1, 2)), True), (274, "H", 1, orientation, True),
        (50706, "B", 4, bytes((1, 4, 0, 0)), True), (50708, "s", 0, "synthetic", True),
        (50714, "H", 1, 64, True), (50717, "H", 1, 4095, True),
    ]
    if told:
        tags += [
            (271, "s", 0, "Maker", True), (272, "s", 0, "Phone 1", True), (36867, "s", 0, when, True),
            (34855, "H", 1, iso, True), (33434, "2I", 1, exposure, True),
        ]
        tags += [(36881, "s", 0, zone, True)] if zone else []
    tifffile.imwrite(path, mosaic(seed, shape), photometric=32803, extratags=tags)
    return path


def jpeg_bytes(*, seed=0, shape=SHAPE, after_s=0, orientation=None, iso=100, exposure_s=0.02, told=True, pixels=None):
    """Return a JPEG with a phone's notes."""
    if pixels is None:
        pixels = np.random.default_rng(seed).integers(40, 200, (*shape, 3), dtype=np.uint8)
    exif = Image.Exif()
    if told:
        base = ExifTags.Base
        exif[base.Make], exif[base.Model] = "Maker", "Phone 1"
        if orientation is not None:
            exif[base.Orientation] = orientation
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        inner[base.DateTimeOriginal] = (BEGUN + timedelta(seconds=after_s)).strftime("%Y:%m:%d %H:%M:%S")
        if iso:
            inner[base.ISOSpeedRatings] = iso
        if exposure_s:
            inner[base.ExposureTime] = exposure_s
    kept = io.BytesIO()
    Image.fromarray(pixels).save(kept, "JPEG", quality=95, exif=exif)
    return kept.getvalue()


def jpeg(path, **what):
    path.write_bytes(jpeg_bytes(**what))
    return path


def pair(folder, stem, **what):
    """Write a DNG and its JPEG; returns both."""
    shape = what.get("shape", SHAPE)
    raw = dng(folder / f"{stem}.dng", **what)
    beside = jpeg(folder / f"{stem}.jpg", seed=what.get("seed", 0), shape=shape, after_s=what.get("after_s", 0))
    return raw, beside
