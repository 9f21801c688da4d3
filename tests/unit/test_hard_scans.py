"""Scans as benches make them at their worst: a tile is placed right, or it is marked."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from tile_scans import tissue

from mobilescope.app.mosaics.folder_stitching import stitch_folder
from mobilescope.app.mosaics.tile_folders import plan_from_table

SIDE = 4


def lattice(side_px, period_px, angle_deg=0.0):
    down, right = np.mgrid[:side_px, :side_px].astype(np.float32)
    angle = np.deg2rad(angle_deg)
    along, across = right * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - right * np.sin(angle)
    return 128 + 35 * (np.sin(2 * np.pi * along / period_px) + np.sin(2 * np.pi * across / period_px))


def stripes(side_px, period_px):
    return np.tile(128 + 60 * np.sin(2 * np.pi * np.arange(side_px) / period_px), (side_px, 1))


def cells(side_px):
    """Round things far apart on glass, so that many an overlap has none."""
    rng = np.random.default_rng(3)
    field = np.full((side_px, side_px), 235, np.float32)
    for _ in range(side_px**2 // 12000):
        place, radius, grey = rng.integers(0, side_px, 2), rng.integers(5, 12), rng.integers(90, 190)
        cv2.circle(field, place.tolist(), int(radius), float(grey), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(field, (0, 0), 1.5)


@dataclass(frozen=True)
class Case:
    """What is hard about a scan; ``linked`` is the least share of tiles with something on them that must be tied."""

    linked: float = 1.0
    field: object = lambda side_px: tissue(side_px)[..., 0]
    tile_px: int = 256
    overlap: float = 0.1
    stage_px: float = 6.0
    blank: float = 0.0
    noise: float = 4.0
    contrast: float = 1.0
    scale: float = 1.0
    rotation_deg: float = 0.0
    backlash_px: float = 0.0
    vignetting: float = 0.0
    bad_pixels: int = 0
    deep: bool = False


CASES = {
    "30 % blank": Case(blank=0.3, linked=0.8),
    "fine lattice": Case(0, lambda side_px: lattice(side_px, 5)),
    "turned lattice": Case(0, lambda side_px: lattice(side_px, 9, 10)),
    "lattice": Case(0, lambda side_px: lattice(side_px, 14.3)),
    "coarse lattice": Case(0, lambda side_px: lattice(side_px, 27)),
    "lattice as wide as the overlap": Case(0, lambda side_px: lattice(side_px, 29, 17)),
    "lattice twice as wide": Case(0, lambda side_px: lattice(side_px, 55)),
    "stripes": Case(0, lambda side_px: stripes(side_px, 20)),
    "tissue behind a lattice": Case(1, lambda side_px: tissue(side_px)[..., 0] / 2 + lattice(side_px, 14.3) / 2),
    "cells far apart": Case(0, cells),
    "faint cells": Case(0, cells, contrast=0.15),
    "vignetting": Case(vignetting=0.6),
    "vignetting and blanks": Case(vignetting=0.6, blank=0.3, linked=0.8),
    "16 bits": Case(deep=True),
    "16 bits, little of them used": Case(deep=True, contrast=0.1, noise=1.0),
    "dead and hot pixels": Case(bad_pixels=150),
    "3 % overlap": Case(tile_px=384, overlap=0.03, stage_px=2.0),
    "stage 1 % off": Case(scale=1.01),
    "camera turned": Case(rotation_deg=0.5),
    "all at once": Case(
        0.7, blank=0.3, scale=1.01, rotation_deg=0.5, backlash_px=4.0, vignetting=0.5, bad_pixels=100
    ),
}


def write(folder, case, seed):
    """Write the tiles and their table; return the true (row, column) of each and which are blank."""
    rng = np.random.default_rng(seed)
    tile = case.tile_px
    pitch = tile - round(tile * case.overlap)
    nominal = pitch * np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1).reshape(-1, 2)
    angle = np.deg2rad(case.rotation_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    true = case.scale * nominal @ turn + rng.uniform(-case.stage_px, case.stage_px, nominal.shape)
    true[:, 1] += case.backlash_px * (np.arange(SIDE**2) // SIDE % 2)
    # On 32nds of a pixel OpenCV's interpolation is exact.
    true = np.round((true - true.min(axis=0) + 8) * 32) / 32
    field = np.asarray(case.field(int(true.max()) + tile + 16), dtype=np.float32)
    blank = set(rng.choice(len(true), round(case.blank * len(true)), replace=False).tolist())
    axis = np.linspace(-1, 1, tile)
    light = 1 - case.vignetting * (axis[:, None] ** 2 + axis**2) / 2 + 0.1 * case.vignetting * axis
    bad, bad_values = rng.integers(0, tile, (2, case.bad_pixels)), rng.choice([0, 255], case.bad_pixels)
    with (folder / "tiles.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "x_um", "y_um"))
        for index, (row, column) in enumerate(true):
            place = np.array([[1, 0, column], [0, 1, row]])
            seen = np.full((tile, tile), 240.0) if index in blank else cv2.warpAffine(
                field, place, (tile, tile), flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
            )
            taken = (128 + case.contrast * (seen - 128)) * light + rng.normal(0, case.noise, (tile, tile))
            taken[bad[0], bad[1]] = bad_values
            kind, factor = (np.uint16, 257) if case.deep else (np.uint8, 1)
            stored = np.clip(np.rint(taken * factor), 0, 255 * factor).astype(kind)
            cv2.imwrite(str(folder / f"t{index}.tif"), stored, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
            table.writerow((f"t{index}.tif", *nominal[index, ::-1]))
    return true, blank


@pytest.mark.parametrize("name", CASES)
def test_no_tile_is_wrong_and_unmarked(tmp_path, name):
    case = CASES[name]
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        true, blank = write(folder, case, seed)
        result = stitch_folder(plan_from_table(folder, folder / "tiles.csv", 1.0), None)
        linked = np.array([verdict.mark == "linked" for verdict in result.verdicts])
        assert not linked[list(blank)].any()
        assert linked.sum() >= case.linked * (len(true) - len(blank))
        if linked.any():
            difference = (result.layout.positions_px - true)[linked]
            assert np.hypot(*(difference - np.median(difference, axis=0)).T).max() < 1.5
