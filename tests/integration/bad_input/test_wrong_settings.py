"""Plans and instrument files with a mistake: the line names the file and the key."""

from __future__ import annotations

import pytest
from bad_input_bench import CONFIG_ARGUMENTS, PLAN_ARGUMENTS
from integration.small_job import INSTRUMENT, plan_text

PLANS = {
    "duplicate slide": (lambda plan: plan.replace('"second"', '"first"'), "two slides are called 'first'"),
    "unknown key": (lambda plan: plan + "colour = 1\n", "colour"),
    "unknown table": (lambda plan: plan + "[colours]\n", "colours"),
    "wrong type": (lambda plan: plan.replace("rows = 3", 'rows = "three"', 1), "slides.0.scan.rows"),
    "out of range": (lambda plan: plan.replace("rows = 3", "rows = 0", 1), "slides.0.scan.rows"),
    "unknown role": (lambda plan: plan.replace('"blind"', '"test"'), "slides.2.role"),
    "no slides": (lambda _: "slides = []\n", "slides"),
    "name with a slash": (lambda plan: plan.replace('"first"', '"a/b"'), "slides.0.name"),
    "slide not on the rack": (lambda plan: plan.replace('"first"', '"absent"'), "(--config) as [twin.slides.absent]"),
}


@pytest.mark.parametrize("command", PLAN_ARGUMENTS)
@pytest.mark.parametrize("case", PLANS)
def test_a_plan_with_a_mistake_names_it(bench, refused, tmp_path, command, case):
    change, words = PLANS[case]
    plan = tmp_path / "plan.toml"
    plan.write_text(change(plan_text()))
    line = refused(*PLAN_ARGUMENTS[command](bench, plan))
    assert words in line
    assert case == "slide not on the rack" or str(plan) in line


INSTRUMENTS = {
    "unknown phone parameter": (lambda text: text.replace("bayer_rows", "bayer_rowz"), "twin.phone.bayer_rowz"),
    "unknown key": (lambda text: text + "[phone]\nlens = 2\n", "phone.lens"),
    "unknown preset": (lambda text: text + '[phone]\npreset = "r19"\n', "there is no preset 'r19'"),
    "unknown kind": (lambda text: text.replace("[benchtop]", '[benchtop]\nkind = "leica"'), "benchtop.kind"),
    "odd Bayer frame": (lambda text: text.replace("bayer_rows = 320", "bayer_rows = 321"), "twin.phone.bayer_rows"),
    "wrong type": (lambda text: text.replace("seed = 3", 'seed = "three"'), "twin.seed"),
    "unknown specimen": (lambda text: text.replace('"blood"', '"bone"', 1), "twin.slides.first.specimen"),
    "table that is none": (lambda _: "twin = 3\n", "twin"),
}


@pytest.mark.parametrize("case", INSTRUMENTS)
def test_an_instrument_file_with_a_mistake_names_it(bench, refused, tmp_path, case):
    change, words = INSTRUMENTS[case]
    config = tmp_path / "scope.toml"
    config.write_text(change(INSTRUMENT))
    line = refused(*CONFIG_ARGUMENTS["config"](bench, config))
    assert str(config) in line
    assert words in line
