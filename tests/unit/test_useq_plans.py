"""useq-schema's plans become plans of ours, or are refused by the name of what can't be carried out."""

from __future__ import annotations

import json

import pytest

from mobilescope.core.errors import ConfigError, PlanError
from mobilescope.plans.scan_plans import GridScan, PolygonScan, RectangleScan
from mobilescope.plans.useq_plans import load_useq, translate

YAML = """\
axis_order: tpgcz
stage_positions:
  - {x: 100, y: -50, name: left lung}
  - {x: 900, y: 0}
channels:
  - {config: Brightfield, exposure: 20}
  - {config: DAPI, exposure: 150}
z_plan: {range: 4, step: 1}
grid_plan: {rows: 2, columns: 3, overlap: 10}
"""


@pytest.fixture
def translated(tmp_path):
    def read(content):
        path = tmp_path / "plan.yaml"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return translate(load_useq(path), slide="lung", source=path.name).slides

    return read


def test_positions_channels_and_planes_are_carried_over(translated):
    left, right = translated(YAML)
    assert (left.name, right.name) == ("lung-left-lung", "lung-p001")
    assert left.mounted == right.mounted == "lung"
    assert left.centre_um == (100, -50)
    scan = left.scan
    assert isinstance(scan, GridScan)
    assert (scan.rows, scan.columns, scan.overlap, scan.serpentine) == (2, 3, 0.1, True)
    assert [(channel.name, channel.exposure_ms) for channel in scan.channels] == [("Brightfield", 20), ("DAPI", 150)]
    assert (scan.z.planes, scan.z.step_um, scan.z.centre_um) == (5, 1, 0)


def test_its_places_are_those_that_useq_itself_would_visit(translated):
    useq = pytest.importorskip("useq")
    grid = {"rows": 3, "columns": 4, "overlap": 10, "mode": "row_wise_snake"}
    (slide,) = translated({"grid_plan": grid, "stage_positions": [{"x": 30, "y": 70}]})
    area = slide.scan.area((200.0, 100.0), slide.centre_um, None)
    plan = useq.GridRowsColumns(**grid, fov_width=200, fov_height=100)
    theirs = sorted((round(30 + place.x, 6), round(70 + place.y, 6)) for place in plan)
    assert sorted((round(stop.x_um, 6), round(stop.y_um, 6)) for stop in area.positions()) == theirs


@pytest.mark.parametrize(
    ("grid", "kind"),
    [
        ({"top": 100, "left": -200, "bottom": -100, "right": 300}, RectangleScan),
        ({"width": 500, "height": 200}, RectangleScan),
        ({"vertices": [[0, 0], [500, 0], [0, 400]]}, PolygonScan),
    ],
)
def test_other_grids_become_regions(translated, grid, kind):
    (slide,) = translated({"grid_plan": grid})
    assert slide.name == slide.mounted == "lung"
    assert isinstance(slide.scan, kind)
    if kind is RectangleScan:
        assert slide.scan.rectangle_um[2:] == (500, 200)


def test_a_position_alone_is_one_tile_and_its_own_grid_stands_before_the_common_one(translated):
    one, several = translated({"stage_positions": [{"x": 1, "y": 2}, {
        "x": 5, "y": 5, "sequence": {"grid_plan": {"rows": 1, "columns": 4}},
    }]})
    assert (one.scan.rows, one.scan.columns) == (1, 1)
    assert (several.scan.rows, several.scan.columns) == (1, 4)


REFUSED = {
    "time": ({"time_plan": {"interval": 1, "loops": 3}}, "time_plan"),
    "random": ({"grid_plan": {"num_points": 5, "max_width": 100, "max_height": 100}}, "RandomPoints"),
    "absolute z": ({"z_plan": {"top": 10, "bottom": 0, "step": 1}}, "ZTopBottom"),
    "uneven z": ({"z_plan": {"relative": [-1, 0, 3]}}, "planes"),
    "no middle": ({"z_plan": {"above": 1, "below": 0, "step": 1}}, "planes"),
    "z of a position": ({"stage_positions": [{"x": 0, "y": 0, "z": 5}]}, "z of position"),
    "hardware autofocus": (
        {"autofocus_plan": {"autofocus_device_name": "Z", "autofocus_motor_offset": 1, "axes": ["p"]}}, "autofocus_plan"
    ),
    "channel by channel": (
        {"axis_order": "tcpgz", "channels": ["a", "b"], "grid_plan": {"rows": 1, "columns": 2}}, "axis_order"
    ),
    "skipped channels": ({"channels": [{"config": "a", "acquire_every": 2}]}, "acquire_every"),
    "spiral": ({"grid_plan": {"rows": 2, "columns": 2, "mode": "spiral"}}, "spiral"),
    "field of view": ({"grid_plan": {"rows": 2, "columns": 2, "fov_width": 10, "fov_height": 10}}, "fov_width"),
    "overlaps": ({"grid_plan": {"rows": 2, "columns": 2, "overlap": [10, 20]}}, "overlap"),
    "corner": ({"grid_plan": {"rows": 2, "columns": 2, "relative_to": "top_left"}}, "relative_to"),
}


@pytest.mark.parametrize(("plan", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_what_can_not_be_carried_out_is_refused_by_name(translated, plan, named):
    with pytest.raises(PlanError) as refused:
        translated(plan)
    assert named in str(refused.value)
    assert "plan.yaml" in str(refused.value)


MISTAKES = {
    "typo": ("chanels: [a]", "chanels"), "not YAML": ("channels: [a", "not valid"), "a list": ("- 1", "holds no plan"),
    "nonsense": ("z_plan: {range: tall, step: 1}", "z_plan"),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_names_file_and_key(translated, text, said):
    with pytest.raises(ConfigError) as refused:
        translated(text)
    assert said in str(refused.value)
    assert "plan.yaml" in str(refused.value)


def test_a_name_that_no_slide_can_have_is_refused_with_the_name(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("grid_plan: {rows: 1, columns: 1}\n")
    with pytest.raises(PlanError, match=r"name: String should match pattern .* \(got 'lung 3'\)"):
        translate(load_useq(path), slide="lung 3")
