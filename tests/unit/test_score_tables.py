"""Tables say what was measured, on a terminal as in the report, and what was not measured is a dash."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobilescope.app.evaluation.cross_stains import CrossCell
from mobilescope.app.evaluation.focus_stack import FocusStack, StackScore
from mobilescope.app.evaluation.resolution import ElementContrast, Resolution
from mobilescope.app.evaluation.score_files import (
    cross_json,
    evaluation_json,
    stack_json,
    target_json,
    write_score_files,
)
from mobilescope.app.evaluation.score_tables import (
    cross_tables,
    finest_text,
    focus_table,
    gain_table,
    method_table,
    resolution_table,
    score_table,
)
from mobilescope.app.terminal.tables import Table, figure, spread
from mobilescope.core.errors import OutputError
from mobilescope.imaging.metrics import ImageScores, Interval
from mobilescope.learn.evaluate import Evaluation, FieldScores


def evaluation(gain=0.2, *, trained_on=(), methods=("bicubic", "network"), fields=4):
    scores = []
    for number in range(fields):
        bicubic = 0.6 + 0.01 * number
        by_method = {
            method: ImageScores(
                ssim=bicubic + (gain if method == "network" else 0), ssim_rgb=0.5,
                cie94=20.0 if method == "bicubic" else 4.0, psnr_db=25.0, detail=0.1, noise=math.nan,
            )
            for method in methods
        }
        labs = {name: (70.0, 1.0 * (name == "bicubic"), 0.0) for name in (*methods, "benchtop")}
        scores.append(FieldScores("c", number, by_method, labs, 0.003))
    return Evaluation(tuple(scores), trained_on, 0.37, methods, 1.0)


def test_figures_that_could_not_be_measured_are_dashes():
    assert figure(math.nan, 3) == "–"
    assert figure(1.23456, 3, sign=True) == "+1.235"
    assert spread(Interval(0.5, 0.4, 0.6, 5), 2) == "0.50 [0.40, 0.60]"
    assert spread(Interval(0.5, math.nan, math.nan, 1), 2) == "0.50"
    assert spread(Interval(math.nan, math.nan, math.nan, 0), 2) == "–"


def test_a_table_lines_up():
    lines = Table("title", ("", "wide column"), (("a", "1"), ("longer", "2")), "note").lines()
    assert lines == ["title", "        wide column", "a       1", "longer  2", "note"]


def test_the_scores_stand_by_method_and_metric():
    table = score_table(evaluation())
    assert table.columns == ("", "phone, bicubic", "network", "benchtop")
    (ssim,) = (row for row in table.rows if row[0].startswith("SSIM (lum"))
    assert ssim[1].startswith("0.6150 [")
    assert ssim[2].startswith("0.8150 [")
    (noise,) = (row for row in table.rows if row[0].startswith("noise"))
    assert noise[1:] == ("–", "–", "0.0030 [0.0030, 0.0030]")
    assert len(method_table(evaluation()).rows[0]) == len(method_table(evaluation()).columns)
    assert gain_table(evaluation()).rows == (
        ("phone, bicubic", "+0.200 [+0.200, +0.200]", "5.0×", "+0.000 [+0.000, +0.000]"),
    )


def test_a_forced_evaluation_says_so_in_every_table():
    forced = evaluation(trained_on=("c",))
    warning = "NOT BLIND: the model was trained on c."
    assert score_table(forced).note == method_table(forced).note == warning
    assert score_table(evaluation()).note == ""
    coarse = replace(evaluation(), pixel_ratio=1.3)
    assert "OTHER SAMPLING" in score_table(coarse).note
    assert "1.30 times" in method_table(coarse).note


def test_the_matrix_marks_what_was_not_blind():
    a, b, one, two = (Path(name) for name in ("a.pt", "b.pt", "one.h5", "two.h5"))
    cells = (
        CrossCell(a, "blood", one, "blood", evaluation(0.2)), CrossCell(a, "blood", two, "h&e", evaluation(0.1)),
        CrossCell(b, "unknown", one, "blood", evaluation(0.05)),
        CrossCell(b, "unknown", two, "h&e", evaluation(0.25, trained_on=("c",))),
    )
    ssim, colour = cross_tables(cells)
    assert ssim.columns[1:] == ("one.h5 (blood)", "two.h5 (h&e)")
    assert [row[0] for row in ssim.rows] == ["phone, bicubic", "a.pt (blood)", "b.pt"]
    assert ssim.rows[1][1] == "0.815 (+0.200 [+0.200, +0.200])"
    assert ssim.rows[2][2] == "0.865 (+0.250 [+0.250, +0.250]) *"
    assert "* NOT BLIND: the model was trained on c" in ssim.note
    assert colour.rows[1][1].startswith("4.00 (-16.00")
    told = cross_json(cells)
    assert [cell["trained_on"] for cell in told] == [[], [], [], ["c"]]
    assert told[1]["gain"]["ssim"]["mean"] == pytest.approx(0.1)


def target():
    contrasts = {"phone": (0.8, 0.4, 0.05), "network": (0.9, 0.6, 0.2), "benchtop": (1.0, 0.9, 0.8)}
    return Resolution(tuple(
        ElementContrast(8, number + 1, width, {name: values[number] for name, values in contrasts.items()},
                        dict.fromkeys(contrasts, 0.0))
        for number, width in enumerate((2.0, 1.0, 0.5))
    ), 3)


def test_the_target_names_the_finest_bars_of_each():
    table = resolution_table(target())
    assert table.rows[0] == ("8-1", "2.000", "250", "0.800", "0.900", "1.000")
    assert table.rows[-1] == ("finest with 10 %", "", "", finest_text(target(), "phone"), "≤ 0.50 µm", "≤ 0.50 µm")
    assert finest_text(target(), "phone") == f"{2 ** (-0.3 / 0.35):.2f} µm"
    told = target_json(target())
    assert told["finer_than_target"] == {"phone": False, "network": True, "benchtop": True}


def stack(lost=False):
    scores = []
    for z in range(-8, 9, 2):
        ssim = {
            "bicubic": 0.6 - 0.02 * abs(z), "colour": 0.8 - 0.02 * abs(z), "network": 0.9 - 0.02 * abs(z),
        }
        scores.append(StackScore("c", 0, float(z), not lost or z < 8, ssim))
    return FocusStack(tuple(scores))


def test_the_useful_depth_is_measured_by_the_phones_best():
    taken = stack()
    assert taken.depth("network").depth_um == pytest.approx(2 * 4.5)
    # 0.9 of the best corrected picture, 0.72, is reached 4 µm out by it, at 9 µm by the network, never by the raw one.
    assert taken.useful("colour").depth_um == pytest.approx(8)
    assert not taken.useful("network").whole
    assert taken.useful("bicubic").depth_um == 0
    assert taken.gain() == pytest.approx(16 / 8)
    table = focus_table(taken)
    assert [row[-1] for row in table.rows] == ["–", "8.0", "≥ 16.0"]
    assert "2.0 times" in table.note
    assert "too blurred" not in table.note
    assert "1 captures were too blurred" in focus_table(stack(lost=True)).note
    assert stack_json(taken)["gain"] == pytest.approx(2)


def test_each_table_has_a_file_with_a_row_for_each_picture(tmp_path):
    report = tmp_path / "report.html"
    cell = CrossCell(Path("a.pt"), "blood", Path("one.h5"), "blood", evaluation(0.2))
    written = write_score_files(report, evaluation(), cross=(cell,), target=target(), stack=stack())
    assert [path.name for path in written] == [
        "report.csv", "report-stains.csv", "report-target.csv", "report-focus.csv",
    ]
    rows = {}
    for path in written:
        with path.open(newline="", encoding="utf-8") as file:
            rows[path.name] = list(csv.DictReader(file))
    assert [len(table) for table in rows.values()] == [8, 8, 3, 9]
    assert rows["report.csv"][0]["noise"] == ""
    assert rows["report.csv"][0]["blind"] == "yes"
    mean = np.mean([float(row["ssim"]) for row in rows["report.csv"] if row["method"] == "network"])
    assert mean == pytest.approx(evaluation_json(evaluation())["network"]["ssim"]["mean"], abs=1e-5)
    (tmp_path / "held.csv").mkdir()
    with pytest.raises(OutputError, match=r"held\.csv can't be written"):
        write_score_files(tmp_path / "held.html", evaluation())
