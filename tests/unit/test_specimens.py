"""Procedural specimens of the twin: a place always shows the same thing, true to area."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from specimen_pictures import written_png

from mobilescope.core.geometry import PixelGrid, RegionUm
from mobilescope.twin.specimens import BlankSlide, BloodSmear, ImageSpecimen, Specimen, StainedTissue, UsafTarget
from mobilescope.twin.specimens.noise import LatticeNoise

PROCEDURAL: dict[str, Specimen] = {
    "blood": BloodSmear(seed=4),
    "h&e": StainedTissue(seed=4),
    "trichrome": StainedTissue(seed=4, stain="trichrome"),
    "usaf": UsafTarget(),
    "blank": BlankSlide(),
}


@pytest.fixture
def png(tmp_path: Path) -> Path:
    return written_png(tmp_path)


@pytest.mark.parametrize("pitch_um", [0.37, 0.925])
@pytest.mark.parametrize("name", [*PROCEDURAL, "image"])
def test_part_of_a_grid_renders_as_that_part_of_the_whole(name: str, pitch_um: float, png: Path) -> None:
    specimen = ImageSpecimen(png, 0.5) if name == "image" else PROCEDURAL[name]
    whole = PixelGrid(-173.21, 41.7, pitch_um, 230, 200)
    rendered = specimen.transmittance(whole)
    for row, column, rows, columns in ((0, 0, 40, 60), (101, 73, 50, 31), (229, 199, 1, 1)):
        part = PixelGrid(whole.x_um + column * pitch_um, whole.y_um + row * pitch_um, pitch_um, rows, columns)
        expected = rendered[row : row + rows, column : column + columns]
        np.testing.assert_allclose(specimen.transmittance(part), expected, atol=1e-4)


@pytest.mark.parametrize("name", PROCEDURAL)
def test_transmittance_is_light_between_none_and_all(name: str) -> None:
    light = PROCEDURAL[name].transmittance(PixelGrid(-1.2e4, 3.4e4, 0.37, 150, 90))
    assert light.shape == (150, 90, 3)
    assert light.dtype == np.float32
    assert light.min() >= 0
    assert light.max() <= 1


@pytest.mark.parametrize("kind", [BloodSmear, StainedTissue])
def test_seed_decides_what_is_on_the_slide(kind: type) -> None:
    grid = PixelGrid(0, 0, 0.37, 200, 200)
    first, again, other = (kind(seed=seed).transmittance(grid) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.5


@pytest.mark.parametrize("name", ["blood", "h&e", "trichrome"])
@pytest.mark.parametrize("factor", [2, 4])
def test_coarse_pixels_hold_the_average_of_fine_ones(name: str, factor: int) -> None:
    region = RegionUm(-40, 25, 88.8, 88.8)
    fine = PROCEDURAL[name].transmittance(PixelGrid.over(region, 0.185))
    rows = len(fine) // factor
    average = fine.reshape(rows, factor, rows, factor, 3).mean(axis=(1, 3))
    coarse = PROCEDURAL[name].transmittance(PixelGrid.over(region, 0.185 * factor))
    assert abs((coarse - average).mean()) < 0.01
    assert np.corrcoef(coarse.ravel(), average.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", ["blood", "h&e", "trichrome"])
def test_detail_between_0_4_and_1_8_um_is_there_to_be_recovered(name: str) -> None:
    green = PROCEDURAL[name].transmittance(PixelGrid(0, 0, 0.1, 1000, 1000))[..., 1]
    fine, coarse = cv2.GaussianBlur(green, (0, 0), 0.8), cv2.GaussianBlur(green, (0, 0), 4.0)
    assert (fine - coarse).std() > 0.03


@pytest.mark.parametrize("name", ["blood", "h&e", "usaf"])
def test_objects_of_parts_add_up_to_those_of_the_whole(name: str) -> None:
    specimen = PROCEDURAL[name]
    halves = specimen.objects(RegionUm(-150, -100, 170, 200)) + specimen.objects(RegionUm(20, -100, 130, 200))
    assert Counter(halves) == Counter(specimen.objects(RegionUm(-150, -100, 300, 200)))


def test_blood_holds_the_stated_numbers_of_cells() -> None:
    per_mm2 = Counter(item.kind for item in PROCEDURAL["blood"].objects(RegionUm(0, 0, 1500, 1000)))
    per_mm2 = Counter({kind: count / 1.5 for kind, count in per_mm2.items()})
    assert 7000 < per_mm2["red_cell"] < 10000
    assert 50 < per_mm2["leucocyte"] < 120
    assert 60 < per_mm2["trypanosome"] < 160
    assert 100 < per_mm2["platelet"] < 500


def test_red_cells_are_seven_to_eight_micrometres_wide() -> None:
    cells = [item for item in PROCEDURAL["blood"].objects(RegionUm(0, 0, 300, 300)) if item.kind == "red_cell"]
    assert 2 * min(cell.radius_um for cell in cells) > 6.5
    assert 2 * max(cell.radius_um for cell in cells) < 8.5


@pytest.mark.parametrize(
    ("name", "kind", "band"), [("blood", "leucocyte", 0), ("blood", "red_cell", 1), ("h&e", "nucleus", 0)]
)
def test_objects_are_dark_where_they_are_said_to_lie(name: str, kind: str, band: int) -> None:
    region = RegionUm(-150, -150, 300, 300)
    light = PROCEDURAL[name].transmittance(PixelGrid.over(region.grown(5), 0.5))[..., band]
    darkest_nearby = cv2.erode(light, np.ones((7, 7)))
    objects = [item for item in PROCEDURAL[name].objects(region) if item.kind == kind]
    dark = [darkest_nearby[round((o.y_um + 155) / 0.5 - 0.5), round((o.x_um + 155) / 0.5 - 0.5)] for o in objects]
    assert len(dark) > 5
    assert np.mean(np.array(dark) < 0.7 * np.median(light)) > 0.9


def test_red_cells_are_paler_in_the_middle_than_towards_the_rim() -> None:
    specimen = PROCEDURAL["blood"]
    profiles = []
    for cell in [item for item in specimen.objects(RegionUm(0, 0, 120, 120)) if item.kind == "red_cell"]:
        line = PixelGrid(cell.x_um - 6, cell.y_um, 0.25, 1, 49)
        profiles.append(specimen.transmittance(line)[0, :, 1])
    profile = np.mean(profiles, axis=0)
    assert profile[24] > profile[[14, 34]].max() + 0.02
    assert profile[[0, 48]].min() > profile[24]


def test_stain_changes_colours_and_nothing_else() -> None:
    region = RegionUm(0, 0, 200, 200)
    eosin, trichrome = PROCEDURAL["h&e"], PROCEDURAL["trichrome"]
    assert eosin.objects(region) == trichrome.objects(region)
    grid = PixelGrid.over(region, 0.5)
    pink, blue = eosin.transmittance(grid).mean(axis=(0, 1)), trichrome.transmittance(grid).mean(axis=(0, 1))
    assert pink[0] > pink[2] > pink[1]
    assert blue[2] > blue[0]


def test_tissue_has_glands_and_many_nuclei() -> None:
    count = Counter(item.kind for item in PROCEDURAL["h&e"].objects(RegionUm(0, 0, 1000, 1000)))
    assert count["gland"] > 30
    assert 3000 < count["nucleus"] < 8000


def test_lattice_noise_has_unit_deviation_and_fades_with_pixel_size() -> None:
    noise = LatticeNoise(seed=1, channel=0, cell_um=1.0)
    sharp = noise.on_grid(PixelGrid(-5000.05, 0, 0.1, 400, 400))
    assert abs(sharp.mean()) < 0.15
    assert 0.85 < sharp.std() < 1.15
    average = sharp.reshape(20, 20, 20, 20).mean(axis=(1, 3))
    np.testing.assert_allclose(noise.on_grid(PixelGrid(-4999.1, 0.95, 2.0, 20, 20)), average, atol=2e-4)
    np.testing.assert_allclose(noise.at([-5000.05], [0.0]), sharp[0, 0], atol=0.01)
