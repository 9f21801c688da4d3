"""Small scans with a known truth, as folders of tile files with their table."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import scipy.ndimage

TILE_PX = 160
PITCH_PX = 130
PIXEL_UM = 0.5


def tissue(side_px: int, channels: int = 1, seed: int = 5) -> np.ndarray:
    """Texture without repetition, 30 to 220, smooth enough that a camera could have taken it."""
    rng = np.random.default_rng(seed)
    fine, coarse = (scipy.ndimage.gaussian_filter(rng.normal(size=(side_px,) * 2), s, mode="wrap") for s in (1.5, 7))
    grey = fine / fine.std() + 1.5 * coarse / coarse.std()
    grey = np.clip(125 + 35 * grey, 30, 220)
    return np.stack([grey * (1 - 0.1 * channel) for channel in range(channels)], axis=-1)


@dataclass(frozen=True)
class FolderScan:
    """A folder of tiles, its table, and the true (row, column) of each tile in the table's order."""

    folder: Path
    table: Path
    names: list[str]
    true_px: np.ndarray
    nominal_px: np.ndarray
    field: np.ndarray

    def errors_px(self, tiles: list[dict]) -> np.ndarray:
        """Distances from the truth of what a report says, the common shift taken away."""
        found = np.array([(tile["row_px"], tile["column_px"]) for tile in tiles])
        difference = found - self.true_px
        return np.hypot(*(difference - np.median(difference, axis=0)).T)


def write_scan(
    folder: Path, rows: int = 3, columns: int = 4, *, suffix: str = ".png", channels: int = 1, deep: bool = False,
    blank=(), spoil=None, seed: int = 0,
) -> FolderScan:
    """Cut a field into noisy tiles; ``spoil`` is told a tile's index and pixels, and returns what the camera made."""
    rng = np.random.default_rng(seed)
    field = tissue(PITCH_PX * max(rows, columns) + TILE_PX, channels)
    nominal = np.array([(r, c) for r in range(rows) for c in range(columns)], dtype=float) * PITCH_PX
    true = (nominal + rng.integers(-6, 7, nominal.shape) + 8).astype(int)
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for index, (row, column) in enumerate(true):
        pixels = field[row:row + TILE_PX, column:column + TILE_PX]
        pixels = np.full_like(pixels, 235.0) if index in blank else pixels
        pixels = pixels + rng.normal(0, 2, pixels.shape)
        pixels = pixels if spoil is None else spoil(index, pixels)
        stored = np.clip(np.rint(pixels * (256 if deep else 1)), 0, 65535 if deep else 255)
        stored = stored.astype(np.uint16 if deep else np.uint8)
        names.append(f"tile-{index}{suffix}")
        cv2.imwrite(str(folder / names[-1]), stored[..., ::-1] if channels == 3 else stored)
    table = folder / "positions.csv"
    with table.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("file", "x_um", "y_um"))
        for name, (row, column) in zip(names, nominal, strict=True):
            lines.writerow((name, 1000 + column * PIXEL_UM, 500 + row * PIXEL_UM))
    return FolderScan(folder, table, names, true.astype(float), nominal, field)
