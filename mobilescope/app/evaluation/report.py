"""The blind evaluation as one self-contained HTML page: pictures, tables, and how far to trust each step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

import mobilescope
from mobilescope.app.evaluation.report_curves import training_curve
from mobilescope.app.evaluation.report_pictures import ReportPicture, crops, overview
from mobilescope.app.evaluation.score_tables import METHOD_NAMES, colour_table, gain_table, score_table
from mobilescope.app.terminal.tables import Table, spread
from mobilescope.core.whole_files import replaced_when_written
from mobilescope.data.layout import mosaic_path
from mobilescope.data.pairs import PairStore
from mobilescope.data.session import Session
from mobilescope.learn.baselines import Baselines
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.evaluate import DevelopFunction, EnhanceFunction, Evaluation, picture_fields


@dataclass(frozen=True)
class Section:
    """Tables that were asked for beyond the scores, with a curve as a data URI where there is one."""

    heading: str
    tables: tuple[Table, ...]
    curve: str = ""


@dataclass(frozen=True)
class ReportInputs:
    """Everything that a report tells about.

    ``session`` is None where only its pairs are at hand: slides, focus and mosaics are left out then. ``seconds`` are
    the times of the stages so far.
    """

    session: Path | None
    pairs: Path
    model: Path
    card: ModelCard
    evaluation: Evaluation
    seconds: dict[str, float]
    sections: tuple[Section, ...] = ()
    develop: DevelopFunction | None = None
    baselines: Baselines | None = None


def write_report(path: Path, inputs: ReportInputs, enhance: EnhanceFunction) -> None:
    """Write the report; the file on the disk is whole at any time."""
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        version=mobilescope.__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        source=(inputs.session or inputs.pairs).name,
        model=inputs.model.name,
        card=inputs.card,
        training=inputs.card.training,
        scores=score_table(inputs.evaluation),
        gains=_headline(inputs.evaluation),
        gain_table=gain_table(inputs.evaluation),
        colours=colour_table(inputs.evaluation),
        sections=inputs.sections,
        evaluation=inputs.evaluation,
        fields=_fields(inputs, enhance),
        provenance=_provenance(inputs),
        **_session_facts(inputs.session),
        **_pair_facts(inputs.pairs),
        curve=training_curve(inputs.model.with_name(f"{inputs.model.stem}.csv")),
        seconds=inputs.seconds,
    )
    with replaced_when_written(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _headline(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Return title, figure and small print of the figures that stand at the top."""
    boxes = []
    for method in ("bicubic", "colour", "rl"):
        if method in evaluation.methods:
            gain = spread(evaluation.gain(method, "ssim"), 3, sign=True)
            mean, _, interval = gain.partition(" ")
            boxes.append((f"SSIM over {METHOD_NAMES[method].removeprefix('phone, ')}", mean, interval))
    ratio = evaluation.interval("bicubic", "cie94").mean / evaluation.interval("network", "cie94").mean
    boxes.append(("CIE-94 lower by", f"{ratio:.1f}×", "registered phone to network"))
    slides = f"{'slide' if len(evaluation.slides) == 1 else 'slides'} {', '.join(evaluation.slides)}"
    where = slides if evaluation.trained_on else f"{slides}, never trained on"
    boxes.append(("Fields", str(len(evaluation.fields)), where))
    return boxes


def _fields(inputs: ReportInputs, enhance: EnhanceFunction) -> list[dict[str, object]]:
    """Return crops of the fields where the network did worst, in the middle, and best."""
    evaluation = inputs.evaluation
    ranked = sorted(evaluation.fields, key=lambda field: field.scores["network"].ssim)
    chosen = {"worst field": ranked[0], "median field": ranked[len(ranked) // 2], "best field": ranked[-1]}
    wanted = {(field.slide, field.capture) for field in chosen.values()}
    pictures = {
        field.pair: field
        for field in picture_fields(
            inputs.pairs, enhance, only=wanted, methods=evaluation.methods, develop=inputs.develop,
            baselines=inputs.baselines,
        )
    }
    shown: list[dict[str, object]] = []
    for title, field in chosen.items():
        shown.append({
            "title": title,
            "where": f"slide {field.slide}, capture {field.capture}",
            "ssim": {METHOD_NAMES[m]: f"{field.scores[m].ssim:.3f}" for m in evaluation.methods},
            "pictures": crops(pictures[field.pair], evaluation.output_pixel_um),
        })
    return shown


def _provenance(inputs: ReportInputs) -> list[tuple[str, str]]:
    """Return what went into the figures, so that they can be made again."""
    card = inputs.card
    with PairStore.open(inputs.pairs) as store:
        told = store.provenance
    facts = [
        ("model", f"{inputs.model.name}, SHA-256 {_sha256(inputs.model)}"),
        ("trained with", f"mobilescope {card.software_version}; stain {card.stain}; instrument {card.instrument}"),
        ("pairs", f"{inputs.pairs.name}, SHA-256 {_sha256(inputs.pairs)}"),
        ("registered with", f"mobilescope {told['software_version']}" if "software_version" in told else ""),
        ("session", str(told.get("session", ""))),
        ("session's digest", str(told.get("session_digest", ""))),
        ("warp", str(told.get("warp", ""))),
        ("input", f"JPEG, {told['jpeg_ratio']:g}× smaller" if told.get("jpeg_ratio")
                  else f"{told.get('input', 'raw')}, as developed"),
    ]
    if inputs.baselines is not None:
        deblurring = inputs.baselines.deblurring
        text = f"σ {deblurring.sigma_px:g} input pixels, {deblurring.steps} steps, chosen on training pairs"
        facts.append(("Richardson–Lucy", text))
    return [(name, text) for name, text in facts if text]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _session_facts(path: Path | None) -> dict[str, object]:
    """Return the focus of each slide (verdicts, range of z, images per search), and its mosaic."""
    rows: list[dict[str, object]] = []
    overviews: list[ReportPicture] = []
    if path is None:
        return {"slides": rows, "overviews": overviews}
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
            if mosaic_path(path, slide.name).exists():
                overviews.append(overview(path, slide.name))
    return {"slides": rows, "overviews": overviews}


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
