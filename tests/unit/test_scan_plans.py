"""A plan says which tiles to take; regions, stacks and channels are checked where they are written."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.core.errors import ConfigError, PlanError
from mobilescope.core.geometry import RegionUm
from mobilescope.plans.job import JobPlan, load_plan
from mobilescope.plans.scan_plans import PolygonScan, RectangleScan, TissueScan, WholeSlideScan, ZStackPlan

FIELD = (100.0, 80.0)
SLIDE = '[[slides]]\nname = "s"\nrole = "blind"\nscan = { %s }\n'


def covered(area):
    """Return the places that the fields of an area cover, on a lattice of 5 µm, as a set."""
    half_x, half_y = FIELD[0] / 2, FIELD[1] / 2
    return [
        (stop.x_um - half_x, stop.y_um - half_y, stop.x_um + half_x, stop.y_um + half_y) for stop in area.positions()
    ]


def is_covered(area, x, y):
    return any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in covered(area))


@pytest.mark.parametrize("rectangle", [(0, 0, 500, 300), (-40, 900, 90, 70), (10, 10, 100, 80), (0, 0, 190, 1000)])
def test_a_rectangle_is_covered_and_no_row_is_to_spare(rectangle):
    area = RectangleScan(region="rectangle", rectangle_um=rectangle, overlap=0.1).area(FIELD, (0, 0), None)
    x, y, width, height = rectangle
    assert area.grid.region.grown(1e-6).contains(RegionUm(*rectangle))
    for side, field, count in ((width, FIELD[0], area.grid.columns), (height, FIELD[1], area.grid.rows)):
        assert count == 1 or field + (count - 2) * field * 0.9 < side
    assert area.grid.region.centre_um == pytest.approx((x + width / 2, y + height / 2))


def test_a_polygon_takes_the_tiles_that_touch_it_in_a_serpentine():
    corners = ((0.0, 0.0), (1000.0, 0.0), (0.0, 800.0))
    area = PolygonScan(region="polygon", corners_um=corners, overlap=0.1).area(FIELD, (0, 0), None)
    assert len(area) == len(area.positions()) < len(area.grid)
    assert [stop.index for stop in area.positions()] == list(range(len(area)))
    generator = np.random.default_rng(0)
    for u, v in generator.uniform(0, 1, (200, 2)):
        u, v = (u, v) if u + v <= 1 else (1 - u, 1 - v)
        assert is_covered(area, 1000 * u, 800 * v)
    # Tiles wholly on the far side of the long edge are left out.
    for left, top, *_ in covered(area):
        assert left / 1000 + top / 800 < 1
    steps = np.diff([(stop.row, stop.column) for stop in area.positions()], axis=0)
    assert np.abs(steps[:, 0]).max() == 1


def test_a_whole_slide_is_its_extent_and_must_be_known():
    plan = WholeSlideScan(region="slide", overlap=0.1)
    extent = RegionUm(-300, -200, 600, 400)
    assert plan.area(FIELD, (0, 0), extent).grid.region.grown(1e-6).contains(extent)
    with pytest.raises(PlanError, match="how large the slide is"):
        plan.area(FIELD, (0, 0), None)


def test_millimetres_for_micrometres_and_their_like_are_refused():
    huge = RectangleScan(region="rectangle", rectangle_um=(0, 0, 5e6, 5e6))
    with pytest.raises(PlanError, match="check the units"):
        huge.area((10.0, 10.0), (0, 0), None)


def test_tissue_is_followed_from_its_start_within_its_bounds():
    plan = TissueScan(region="tissue", within_um=(0, 0, 900, 720), start_um=(860, 20), max_tiles=7)
    area = plan.area(FIELD, (0, 0), None)
    assert len(area) == 7
    assert area.following.start == (0, area.grid.columns - 1)
    centred = TissueScan(region="tissue").area(FIELD, (40, 0), RegionUm(-450, -360, 900, 720))
    (start,) = (stop for stop in centred.positions() if (stop.row, stop.column) == centred.following.start)
    assert abs(start.x_um - 40) <= 45 + 1e-6
    assert abs(start.y_um) <= 36 + 1e-6


def test_a_stack_has_a_middle_plane():
    assert ZStackPlan(planes=5, step_um=0.4, centre_um=1.0).offsets_um == pytest.approx(
        {-2: 0.2, -1: 0.6, 0: 1.0, 1: 1.4, 2: 1.8}
    )


MISTAKES = {
    "region": ('region = "rectangel", rectangle_um = [0, 0, 1, 1]', "slides.0.scan", "known are grid, rectangle"),
    "key of another region": ('region = "slide", rows = 3', "slides.0.scan.rows", "unknown key"),
    "typo": ("rows = 3, colums = 3", "slides.0.scan", "colum"),
    "no width": ('region = "rectangle", rectangle_um = [0, 0, 0, 5]', "slides.0.scan", "positive width"),
    "no rectangle": ('region = "rectangle"', "slides.0.scan.rectangle_um", "required"),
    "two corners": ('region = "polygon", corners_um = [[0, 0], [1, 1]]', "slides.0.scan.corners_um", "at least 3"),
    "bow tie": (
        'region = "polygon", corners_um = [[0, 0], [9, 9], [9, 0], [0, 9]]', "slides.0.scan", "crossing themselves"
    ),
    "start outside": (
        'region = "tissue", within_um = [0, 0, 9, 9], start_um = [10, 0]', "slides.0.scan", "outside within_um"
    ),
    "even stack": ("rows = 1, columns = 1, z = { planes = 4, step_um = 1.0 }", "slides.0.scan.z", "odd"),
    "typo in the stack": ("rows = 1, columns = 1, z = { plains = 3, step_um = 1.0 }", "slides.0.scan.z.pl", ""),
    "focus mode": ('rows = 1, columns = 1, focus = { mode = "plane" }', "slides.0.scan.focus.mode", "surface"),
    "channels of one name": (
        'rows = 1, columns = 1, channels = [{ name = "a" }, { name = "a" }]', "slides.0.scan", "same name"
    ),
    "colour": (
        'rows = 1, columns = 1, channels = [{ name = "a", colour = [0, 0, 256] }]', "channels.0.colour.2", "255"
    ),
}


@pytest.mark.parametrize(("scan", "key", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_plan_names_file_and_key(tmp_path, scan, key, said):
    path = tmp_path / "plan.toml"
    path.write_text(SLIDE % scan)
    with pytest.raises(ConfigError) as refused:
        load_plan(path)
    assert str(path) in str(refused.value)
    assert key in str(refused.value)
    assert said in str(refused.value)


def test_a_plan_of_before_is_written_as_before():
    """Sessions keep their plan; one that says the same must look the same, or it could not be gone on with."""
    old = {
        "name": "s", "role": "blind", "stain": "unknown", "scan": {"rows": 2, "columns": 3, "overlap": 0.1},
        "capture": {"rows": 1, "columns": 1, "overlap": 0.0}, "centre_um": [0.0, 0.0], "content_um": None,
    }
    assert JobPlan.model_validate({"slides": [old]}).model_dump(mode="json")["slides"] == [old]


def test_a_plan_can_be_written_and_read_again(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(SLIDE % (
        'region = "tissue", within_um = [0, 0, 900, 720], focus = { mode = "surface" }, serpentine = false, '
        'z = { planes = 3, step_um = 0.5, fuse = true }, channels = [{ name = "red", colour = [255, 0, 0] }]'
    ))
    plan = load_plan(path)
    assert JobPlan.model_validate(plan.model_dump(mode="json")) == plan
