"""What the demo plans for the specimens it is given: roles, fields that never mirror, room between parts."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from mobilescope.app.acquisition.acquiring import evaluation_cell
from mobilescope.app.demo import DemoOptions, describe_job
from mobilescope.core.errors import InputImageError, PlanError
from mobilescope.core.geometry import RegionUm
from mobilescope.twin.parameters import load_parameters
from mobilescope.twin.table import TwinTable


@pytest.fixture
def image(tmp_path):
    def write(rows, columns, name="tissue.png"):
        path = tmp_path / name
        pixels = np.random.default_rng(0).integers(0, 255, (rows, columns, 3), np.uint8)
        assert cv2.imwrite(str(path), pixels)
        return path

    return write


def field_um(config):
    phone = TwinTable.model_validate(config.twin).parameters(preset="default", source="test").phone
    return phone.bayer_columns * phone.bayer_pixel_um


def test_procedural_slides_differ_and_leave_enough_blind_fields():
    config, plan = describe_job(DemoOptions(seed=3))
    specimens = config.twin["slides"]
    assert len({spec["seed"] for spec in specimens.values()}) == len(plan.slides) >= 3
    assert {slide.role for slide in plan.slides} == {"training", "validation", "blind"}
    for slide in plan.slides:
        assert slide.scan.rows * slide.scan.columns >= 16
    blind = plan.slide("blind")
    assert blind.capture.rows * blind.capture.columns >= 8
    assert blind.capture.overlap < 0


def test_another_data_seed_gives_other_slides():
    first, second = (describe_job(DemoOptions(seed=seed))[0].twin["slides"] for seed in (0, 1))
    assert not {spec["seed"] for spec in first.values()} & {spec["seed"] for spec in second.values()}


def test_one_image_is_cut_into_parts_a_field_apart_that_share_nothing(image):
    config, plan = describe_job(DemoOptions(images=(image(2000, 3000),), pixel_size_um=0.5))
    width = field_um(config)
    assert width == load_parameters().phone.bayer_columns * load_parameters().phone.bayer_pixel_um
    parts = [slide.content for slide in plan.slides]
    assert [slide.role for slide in plan.slides] == ["training", "validation", "blind"]
    for left, right in pairwise(parts):
        assert right.x_um - left.right_um >= width - 1e-6
    for slide in plan.slides:
        assert slide.centre_um == pytest.approx(slide.content.centre_um)


def test_evaluated_fields_stay_inside_their_own_content_and_apart(image):
    config, plan = describe_job(DemoOptions(images=(image(1200, 3000),), pixel_size_um=0.5))
    side = field_um(config)
    blind = plan.slide("blind")
    grid = blind.capture.grid(side, side, blind.centre_um)
    assert len(grid) >= 8
    cells = [evaluation_cell(blind, grid.pitch_um, at.x_um, at.y_um) for at in grid]
    for number, cell in enumerate(cells):
        assert blind.content.grown(1e-6).contains(cell)
        for other in cells[:number]:
            shared = cell.intersection(other)
            assert shared is None or min(shared.width_um, shared.height_um) < 1e-6


def test_a_small_image_is_seen_through_a_smaller_read_out(image):
    config, plan = describe_job(DemoOptions(images=(image(1000, 1000),), pixel_size_um=0.5))
    assert field_um(config) < 125
    assert all(slide.content.width_um >= field_um(config) / 2 for slide in plan.slides)


def test_an_image_too_small_to_be_cut_is_refused_with_the_size_it_needs(image):
    with pytest.raises(InputImageError, match="too small for three parts"):
        describe_job(DemoOptions(images=(image(300, 300),), pixel_size_um=0.5))


@pytest.mark.parametrize(("count", "blind"), [(3, 1), (5, 1), (7, 2), (9, 3)])
def test_several_files_are_each_a_slide(image, count, blind):
    files = tuple(image(1000, 1000, f"{number}.png") for number in range(count))
    _, plan = describe_job(DemoOptions(images=files, pixel_size_um=0.25))
    roles = [slide.role for slide in plan.slides]
    assert len(roles) == count
    assert roles.count("blind") == blind
    assert roles.count("validation") == 1
    assert roles.count("training") >= 1


def test_several_small_files_hold_four_fields_each(image):
    files = tuple(image(1000, 1000, f"{number}.png") for number in range(3))
    _, plan = describe_job(DemoOptions(images=files, pixel_size_um=0.25))
    blind = plan.slides[-1]
    assert (blind.role, blind.capture.rows, blind.capture.columns) == ("blind", 2, 2)


def test_two_files_are_too_few(image):
    with pytest.raises(PlanError, match="too few"):
        describe_job(DemoOptions(images=(image(500, 500, "a.png"), image(500, 500, "b.png")), pixel_size_um=0.5))


def test_without_a_content_a_field_has_its_whole_cell():
    _, plan = describe_job(DemoOptions())
    blind = plan.slide("blind")
    grid = blind.capture.grid(200, 200)
    assert evaluation_cell(blind, grid.pitch_um, 0, 0) == RegionUm.centred(0, 0, *grid.pitch_um)
