"""A picture that stands for a slide, for tests of specimens that are image files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def smooth_picture() -> np.ndarray:
    """Return a smooth random colour image, 80×100, uint8."""
    noise = np.random.default_rng(5).random((80, 100, 3), dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.round(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def written_png(folder: Path) -> Path:
    """Write the picture, and return its file."""
    Image.fromarray(smooth_picture()).save(folder / "picture.png")
    return folder / "picture.png"
