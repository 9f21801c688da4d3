"""A plan file says which slides to take and what each is for; a mistake in it names file and key."""

from __future__ import annotations

import pytest

from mobilescope.core.errors import ConfigError, PlanError
from mobilescope.core.geometry import RegionUm
from mobilescope.plans.job import load_plan

PLAN = """
[[slides]]
name = "lung-1"
role = "training"
scan = { rows = 3, columns = 4, overlap = 0.1 }
capture = { rows = 2, columns = 2, overlap = -0.2 }
centre_um = [500.0, -250.0]
content_um = [-1000.0, -500.0, 3000.0, 500.0]

[[slides]]
name = "lung-2"
role = "blind"
scan = { rows = 1, columns = 1, overlap = 0.1 }
capture = { rows = 1, columns = 1, overlap = 0.0 }
"""


@pytest.fixture
def plan_file(tmp_path):
    def write(text):
        path = tmp_path / "plan.toml"
        path.write_text(text)
        return path

    return write


def test_slides_keep_their_order_and_their_keys(plan_file):
    plan = load_plan(plan_file(PLAN))
    assert [(slide.name, slide.role) for slide in plan.slides] == [("lung-1", "training"), ("lung-2", "blind")]
    first, second = plan.slides
    assert first.content == RegionUm(-1000, -500, 3000, 500)
    assert second.content is None
    assert second.centre_um == (0, 0)


def test_a_grid_is_laid_around_the_centre(plan_file):
    slide = load_plan(plan_file(PLAN)).slide("lung-1")
    grid = slide.scan.grid(400.0, 300.0, slide.centre_um)
    assert len(grid) == 12
    assert grid.region.centre_um == pytest.approx((500, -250))
    assert grid.pitch_um == pytest.approx((360, 270))
    assert slide.capture.grid(200, 200).pitch_um == pytest.approx((240, 240))


def test_an_unknown_slide_brings_the_known_ones(plan_file):
    with pytest.raises(PlanError, match=r"'lung-9'.*lung-1, lung-2") as refused:
        load_plan(plan_file(PLAN)).slide("lung-9")
    assert refused.value.exit_status == 2


MISTAKES = {
    "unknown key": (("role =", "roll = 3\nrole ="), "slides.0.roll"),
    "unknown role": (('"blind"', '"test"'), "slides.1.role"),
    "no columns": (("columns = 4", "columns = 0"), "slides.0.scan.columns"),
    "missing key": (("rows = 3, ", ""), "slides.0.scan.rows"),
    "not a whole number": (("rows = 3", "rows = 3.5"), "slides.0.scan.rows"),
    "overlap that does not advance": (("overlap = 0.1 }", "overlap = 1.0 }"), "slides.0.scan.overlap"),
    "name with a slash": (('"lung-1"', '"lung/1"'), "slides.0.name"),
    "empty name": (('"lung-1"', '""'), "slides.0.name"),
    "centre of one number": (("[500.0, -250.0]", "[500.0]"), "slides.0.centre_um"),
    "two slides of one name": (('"lung-2"', '"lung-1"'), "two slides are called 'lung-1'"),
}


@pytest.mark.parametrize(("change", "named"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_names_file_and_key(plan_file, change, named):
    path = plan_file(PLAN.replace(*change, 1))
    with pytest.raises(ConfigError) as refused:
        load_plan(path)
    assert refused.value.exit_status == 2
    assert str(path) in str(refused.value)
    assert named in str(refused.value)


@pytest.mark.parametrize("text", ["", "slides = []"])
def test_a_plan_without_slides_is_refused(plan_file, text):
    with pytest.raises(ConfigError, match="slides"):
        load_plan(plan_file(text))


def test_a_plan_can_not_be_changed(plan_file):
    with pytest.raises(ValueError, match="frozen"):
        load_plan(plan_file(PLAN)).slides[0].role = "blind"
