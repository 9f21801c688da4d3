"""Small images and headers for tests of sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mobilescope.core.focus_record import FocusRecord
from mobilescope.core.protocols import BenchtopImage, LightState, PhoneCapture, PositionUm
from mobilescope.data.schema import SessionHeader, SlideEntry
from mobilescope.data.writer import SessionWriter

LIGHT = LightState(on=True, red=200, green=180, blue=160, brightness=0.5, source="ring")
FOCUS = FocusRecord("focused", 12.5, 3.25, np.linspace(10, 15, 11), np.arange(11.0), images_taken=11, seconds=0.8)


def header(*names: str, benchtop: tuple[int, int] = (64, 80), phone: tuple[int, int] = (48, 60)) -> SessionHeader:
    roles = ("training", "validation", "blind")
    slides = tuple(SlideEntry(name=name, role=roles[i % 3]) for i, name in enumerate(names or ("lung-1", "lung-2")))
    return SessionHeader(
        slides=slides, instrument={"name": "twin", "phone": {"preset": "default"}},
        benchtop_shape=benchtop, phone_shape=phone,
    )


def tile(seed: int, shape: tuple[int, int] = (64, 80), settings: dict[str, str] | None = None) -> BenchtopImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    position = PositionUm(100.5 + seed, -20.25, 12.5)
    return BenchtopImage(pixels, 0.37, position, 1.7e9 + seed, 8.0, LIGHT, "camera µ", settings or {"gain": "1"})


def capture(seed: int, shape: tuple[int, int] = (48, 60), jpeg_bytes: int = 3000) -> PhoneCapture:
    generator = np.random.default_rng(seed)
    return PhoneCapture(
        generator.integers(64, 1024, shape, dtype=np.uint16), generator.bytes(jpeg_bytes + seed), "RGGB", 64, 1023,
        0.4625, (2.0, 1.0, 1.5), PositionUm(3.0, 4.0, 5.0), 1.7e9 + seed, 4.0, 100, LIGHT, "phone", {"iso": "100"},
    )


def writer(path: Path, **options: Any) -> SessionWriter:
    return SessionWriter.create_or_resume(path, header(), margin_bytes=0, **options)
