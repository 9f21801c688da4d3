"""The blind evaluation as one self-contained HTML page: pictures, tables, and how far to trust each step."""

from __future__ import annotations

import base64
import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import NDArray

import mobilescope
from mobilescope.core.errors import OutputError
from mobilescope.data.mosaics import Mosaic
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.imaging.colour import to_uint8
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.evaluate import METHODS, EnhanceFunction, Evaluation, FieldPictures, picture_fields

METHOD_NAMES = {
    "bicubic": "phone, bicubic",
    "colour": "phone, bicubic + colour matrix",
    "network": "network",
}
_METRICS = (
    ("ssim", "SSIM (luminance)", 4),
    ("ssim_rgb", "SSIM (mean of channels)", 4),
    ("cie94", "CIE-94", 3),
    ("psnr_db", "PSNR, dB", 2),
    ("detail", "detail beyond the phone's cut-off (correlation)", 3),
)
_CROP_PX = 300
_OVERVIEW_PX = 700


@dataclass(frozen=True)
class ReportInputs:
    """Everything that a report tells about."""

    session: Path
    pairs: Path
    slides: tuple[str, ...]
    model: Path
    card: ModelCard
    evaluation: Evaluation
    seconds: dict[str, float]


@dataclass(frozen=True)
class _ScoreRow:
    title: str
    cells: list[str]


def write_report(path: Path, inputs: ReportInputs, enhance: EnhanceFunction) -> None:
    """Write the report; the file on the disk is whole at any time."""
    environment = Environment(
        loader=PackageLoader("mobilescope.app"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        version=mobilescope.__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        session=inputs.session.name,
        model=inputs.model.name,
        card=inputs.card,
        training=inputs.card.training,
        methods=[METHOD_NAMES[method] for method in METHODS],
        table=_score_table(inputs.evaluation),
        gains=_gains(inputs.evaluation),
        evaluation=inputs.evaluation,
        fields=_fields(inputs, enhance),
        overviews=[{"name": name, "picture": _overview(inputs.session, name)} for name in inputs.slides],
        **_session_facts(inputs.session),
        **_pair_facts(inputs.pairs),
        curve=_training_curve(inputs.model.with_name(f"{inputs.model.stem}.csv")),
        seconds=inputs.seconds,
    )
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"the report {path} can't be written: {error.strerror}", "check the folder") from error


def _score_table(evaluation: Evaluation) -> list[_ScoreRow]:
    """Return a row per metric with mean and interval per method."""
    rows = []
    for metric, title, digits in _METRICS:
        cells = []
        for method in METHODS:
            interval = evaluation.interval(method, metric)
            cells.append(
                f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"
            )
        rows.append(_ScoreRow(title, cells))
    return rows


def score_lines(evaluation: Evaluation) -> list[str]:
    """Return the table of scores as lines of text, with how many fields and which slides are behind it."""
    width = max(len(title) for _, title, _ in _METRICS)
    lines = [f"{len(evaluation.fields)} fields of {', '.join(evaluation.slides)}, mean [95 % interval by field]"]
    if evaluation.trained_on:
        lines.append(f"NOT BLIND: the model was trained on {', '.join(evaluation.trained_on)}")
    lines.append(" " * width + "".join(f"  {METHOD_NAMES[method]:<30}" for method in METHODS))
    lines.extend(
        f"{row.title:<{width}}" + "".join(f"  {cell:<30}" for cell in row.cells) for row in _score_table(evaluation)
    )
    return lines


def _gains(evaluation: Evaluation) -> dict[str, str]:
    over_bicubic, over_colour = evaluation.gain("bicubic", "ssim"), evaluation.gain("colour", "ssim")
    ratio = evaluation.interval("bicubic", "cie94").mean / evaluation.interval("network", "cie94").mean
    return {
        "ssim_over_bicubic": f"{over_bicubic.mean:+.3f} [{over_bicubic.low:+.3f}, {over_bicubic.high:+.3f}]",
        "ssim_over_colour": f"{over_colour.mean:+.3f} [{over_colour.low:+.3f}, {over_colour.high:+.3f}]",
        "cie94_ratio": f"{ratio:.1f}",
    }


def _fields(inputs: ReportInputs, enhance: EnhanceFunction) -> list[dict[str, object]]:
    """Return crops of the fields where the network did worst, in the middle, and best."""
    ranked = sorted(inputs.evaluation.fields, key=lambda field: field.scores["network"].ssim)
    chosen = {"worst field": ranked[0], "median field": ranked[len(ranked) // 2], "best field": ranked[-1]}
    wanted = {(field.slide, field.capture) for field in chosen.values()}
    pictures = {
        (field.slide, field.capture): field for field in picture_fields(inputs.pairs, enhance, only=wanted)
    }
    shown: list[dict[str, object]] = []
    for title, field in chosen.items():
        shown.append({
            "title": title,
            "where": f"slide {field.slide}, capture {field.capture}",
            "ssim": {METHOD_NAMES[m]: f"{field.scores[m].ssim:.3f}" for m in METHODS},
            "pictures": _crops(pictures[field.slide, field.capture]),
        })
    return shown


def _crops(field: FieldPictures) -> list[dict[str, str]]:
    """Return the same crop of each method and the label, where the label has most fine detail."""
    row, column = _busiest(field.label)
    cut = (slice(row, row + _CROP_PX), slice(column, column + _CROP_PX))
    named = [(METHOD_NAMES[m], field.by_method[m]) for m in METHODS] + [("benchtop", field.label)]
    return [{"title": title, "picture": png_uri(to_uint8(picture[cut]))} for title, picture in named]


def _busiest(label: NDArray[np.float32]) -> tuple[int, int]:
    """Return the corner of the crop with the largest local variation of the label's green channel."""
    green = np.ascontiguousarray(label[..., 1])
    energy = np.abs(cv2.Laplacian(green, cv2.CV_32F))
    rows, columns = green.shape
    best, place = -1.0, (0, 0)
    for row in range(0, max(1, rows - _CROP_PX + 1), 40):
        for column in range(0, max(1, columns - _CROP_PX + 1), 40):
            value = float(energy[row : row + _CROP_PX, column : column + _CROP_PX].mean())
            if value > best:
                best, place = value, (row, column)
    return place


def _overview(session: Path, slide: str) -> str:
    with Mosaic.open(session, slide) as mosaic:
        grid = mosaic.grid(mosaic.levels - 1)
        picture = mosaic.read(0, 0, grid.rows, grid.columns, level=mosaic.levels - 1)
    scale = _OVERVIEW_PX / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return jpeg_uri(picture)


def _session_facts(path: Path) -> dict[str, object]:
    """Return the focus of each slide: verdicts, range of z, images per search."""
    rows = []
    with Session.open(path) as session:
        for slide in session.slides:
            tiles = session.tiles(slide.name)
            searches = [tile for tile in tiles if tile.focus.verdict != "predicted"]
            focused = sum(tile.focus.verdict == "focused" for tile in searches)
            z = [tile.position.z_um for tile in tiles]
            rows.append({
                "slide": slide.name,
                "role": slide.role,
                "tiles": len(tiles),
                "captures": len(session.captures(slide.name)),
                "focused": f"{focused} of {len(searches)}",
                "z": f"{min(z):.1f} to {max(z):.1f}" if z else "",
                "images": f"{np.mean([tile.focus.images_taken for tile in searches]):.1f}" if searches else "",
            })
    return {"slides": rows}


def _pair_facts(path: Path) -> dict[str, object]:
    """Return the pairs of each slide: accepted, refused with reasons, residuals."""
    by_slide: dict[str, list[dict[str, float]]] = {}
    refused: list[dict[str, object]] = []
    with PairStore.open(path) as store:
        for record in store.records:
            kept = by_slide.setdefault(record.slide, [])
            if record.accepted:
                kept.append(dict(record.quality))
            else:
                refused.append({"slide": record.slide, "capture": record.capture, "reason": record.reason})
    rows = []
    for slide, qualities in by_slide.items():
        def middle(key: str, values: list[dict[str, float]] = qualities) -> str:
            return f"{np.median([value[key] for value in values]):.3f}" if values else ""

        rows.append({
            "slide": slide,
            "accepted": len(qualities),
            "refused": sum(entry["slide"] == slide for entry in refused),
            "residual": middle("residual_median_px"),
            "residual_p95": middle("residual_p95_px"),
            "pearson": middle("pearson"),
        })
    return {"pairs": rows, "refused": refused}


def _training_curve(log: Path) -> str:
    """Return the validation curve as an SVG, or nothing where there is no log."""
    if not log.exists():
        return ""
    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    steps = [int(row["step"]) for row in rows]
    axes.plot(steps, [float(row["validation_ssim"]) for row in rows], color="#1f5f8b", marker="o", markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel("validation SSIM")
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def png_uri(image: NDArray[np.uint8]) -> str:
    """Return an RGB image as a data URI, without loss."""
    return _uri(image, ".png", "image/png")


def jpeg_uri(image: NDArray[np.uint8]) -> str:
    """Return an RGB image as a data URI, as JPEG."""
    return _uri(image, ".jpg", "image/jpeg")


def _uri(image: NDArray[np.uint8], extension: str, mime: str) -> str:
    ok, data = cv2.imencode(extension, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not ok:
        raise OutputError("a picture of the report could not be encoded")
    return f"data:{mime};base64,{base64.b64encode(data.tobytes()).decode()}"
