"""The scores as CSV beside the report, a row for each picture, and as JSON."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mobilescope.app.evaluation.cross_stains import CrossCell
from mobilescope.app.evaluation.focus_stack import FocusStack
from mobilescope.app.evaluation.resolution import SHOWN_BY, Resolution
from mobilescope.core.errors import OutputError
from mobilescope.core.whole_files import replaced_when_written
from mobilescope.imaging.metrics import ImageScores, Interval
from mobilescope.learn.evaluate import Evaluation
from mobilescope.learn.jpeg_scores import JpegField, JpegScores

_METRICS = tuple(field.name for field in fields(ImageScores))
# The tables beside a report, and what each begins with.
_FIRST_COLUMNS = {"": "slide", "-jpeg": "slide", "-stains": "model", "-target": "group", "-focus": "slide"}


def check_report_place(report: Path) -> None:
    """Refuse a report whose tables would replace something else beside it, such as a training log; OutputError."""
    for suffix, first in _FIRST_COLUMNS.items():
        path = _table_path(report, suffix)
        if path.exists() and not _begins_with(path, first):
            raise OutputError(
                f"{path}, where scores go, holds something else", "give the report another name, or move that away"
            )


def _begins_with(path: Path, column: str) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().partition(",")[0].strip() == column


def _table_path(report: Path, suffix: str) -> Path:
    return report.with_name(f"{report.stem}{suffix}.csv")


def write_score_files(
    report: Path,
    evaluation: Evaluation,
    *,
    jpeg: JpegScores | None = None,
    cross: Sequence[CrossCell] = (),
    target: Resolution | None = None,
    stack: FocusStack | None = None,
) -> list[Path]:
    """Write ``report.csv`` beside ``report.html``, and ``report-jpeg.csv`` and so on for what else there is."""
    written = [_write(report, "", ("slide", "capture", "method", *_METRICS, "label_noise", "blind"), (
        (field.slide, field.capture, method, *asdict(field.scores[method]).values(), field.label_noise,
         _blind(field.slide, evaluation))
        for field in evaluation.fields for method in evaluation.methods
    ))]
    if jpeg is not None:
        columns = tuple(field.name for field in fields(JpegField))
        written.append(_write(report, "-jpeg", columns, (asdict(field).values() for field in jpeg.fields)))
    if cross:
        written.append(_write(
            report, "-stains",
            ("model", "model_stain", "session", "session_stain", "slide", "capture", "method", *_METRICS, "blind"), (
                (cell.model, cell.model_stain, cell.session, cell.session_stain, field.slide, field.capture, method,
                 *asdict(field.scores[method]).values(), _blind(field.slide, cell.evaluation))
                for cell in cross for field in cell.evaluation.fields for method in ("bicubic", "network")
            ),
        ))
    if target is not None:
        figures = ((name, kind) for name in SHOWN_BY for kind in ("contrast", "deviation"))
        columns = ("group", "element", "line_width_um", "line_pairs_per_mm", *("_".join(pair) for pair in figures))
        written.append(_write(report, "-target", columns, (
            (element.group, element.element, element.bar_width_um, element.line_pairs_per_mm,
             *(value for name in SHOWN_BY for value in (element.contrast[name], element.deviation[name])))
            for element in target.elements
        )))
    if stack is not None:
        columns = ("slide", "capture", "defocus_um", "registered", *(f"ssim_{method}" for method in stack.methods))
        written.append(_write(report, "-focus", columns, (
            (score.slide, score.field, score.defocus_um, score.registered, *score.ssim.values())
            for score in stack.scores
        )))
    return written


def _blind(slide: str, evaluation: Evaluation) -> str:
    return "no" if slide in evaluation.trained_on else "yes"


def _write(report: Path, suffix: str, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> Path:
    """Write one file; the file on the disk is whole at any time."""
    path = _table_path(report, suffix)
    with replaced_when_written(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([_cell(value) for value in row] for row in rows)
    return path


def _cell(value: object) -> object:
    """Return a cell: five decimals for fractions, and nothing for what could not be measured."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.5f}"
    return "" if value is None else value


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return the scores: an interval for each metric under each method's name, and what is derived from them."""
    others = [method for method in evaluation.methods if method != "network"]
    return {
        "fields": len(evaluation.fields),
        "trained_on": list(evaluation.trained_on),
        "pixel_ratio": evaluation.pixel_ratio,
        "methods": list(evaluation.methods),
        **{
            method: {metric: _interval(evaluation.interval(method, metric)) for metric in _METRICS}
            for method in evaluation.methods
        },
        "benchtop": {"noise": _interval(evaluation.label_noise)},
        "gain": {
            method: {metric: _interval(evaluation.gain(method, metric)) for metric in ("ssim", "cie94", "detail")}
            for method in others
        },
        "colour_distance": {method: asdict(evaluation.colour(method)) for method in evaluation.methods},
    }


def jpeg_json(scores: JpegScores) -> list[dict[str, Any]]:
    """Return a row for each size of the input."""
    names = ("size_bytes", "ratio", "ssim_bicubic", "ssim_network", "cie94_bicubic", "cie94_network")
    return [
        {"wanted_ratio": wanted, **{name: _interval(scores.interval(wanted, name)) for name in names}}
        for wanted in scores.ratios
    ]


def cross_json(cells: Sequence[CrossCell]) -> list[dict[str, Any]]:
    """Return a cell for each model and session."""
    return [
        {
            "model": str(cell.model), "model_stain": cell.model_stain,
            "session": str(cell.session), "session_stain": cell.session_stain,
            "trained_on": list(cell.evaluation.trained_on), "fields": len(cell.evaluation.fields),
            **{
                method: {metric: _interval(cell.evaluation.interval(method, metric)) for metric in ("ssim", "cie94")}
                for method in ("bicubic", "network")
            },
            "gain": {metric: _interval(cell.evaluation.gain("bicubic", metric)) for metric in ("ssim", "cie94")},
        }
        for cell in cells
    ]


def target_json(resolution: Resolution) -> dict[str, Any]:
    """Return the contrast of each element, and the finest line width resolved."""
    return {
        "captures": resolution.captures,
        "elements": [
            asdict(element) | {"line_pairs_per_mm": element.line_pairs_per_mm} for element in resolution.elements
        ],
        "finest_um": {name: resolution.finest_um(name) for name in SHOWN_BY},
        "finer_than_target": {name: resolution.is_limit(name) for name in SHOWN_BY},
    }


def stack_json(stack: FocusStack) -> dict[str, Any]:
    """Return the curves over defocus, and the ranges."""
    def ranges(method: str) -> dict[str, Any]:
        depth, useful = stack.depth(method), stack.useful(method)
        return {
            "ssim": stack.curve(method).tolist(),
            "depth_um": depth.depth_um, "depth_whole": depth.whole,
            "useful_um": useful.depth_um, "useful_whole": useful.whole,
        }

    return {
        "defocus_um": stack.defocus_um.tolist(), "reference": stack.reference, "gain": stack.gain(),
        "methods": {method: ranges(method) for method in stack.methods},
    }


def _interval(interval: Interval) -> dict[str, Any]:
    return asdict(interval)
