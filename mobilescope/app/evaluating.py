"""Evaluation of a model on a session's blind slides, with its report."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path

from mobilescope.app.acquiring import phone_half_pitch_um
from mobilescope.app.pairing import registered_pairs
from mobilescope.app.report import ReportInputs, write_report
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.data.session import Session
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.learn.evaluate import METHODS, Evaluation, evaluate


def evaluate_session(
    session: Path,
    model: Path,
    report: Path,
    seconds: dict[str, float],
    *,
    force: bool = False,
    device: str = "auto",
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> Evaluation:
    """Evaluate a model on the blind slides of a session and write the report, with the scores as CSV beside it.

    Parameters
    ----------
    seconds : dict
        Times of the stages so far, for the report.
    """
    pairs = registered_pairs(session)
    enhancer = Enhancer.from_checkpoint(model, device=device)
    with Session.open(session) as opened:
        slides = tuple(slide.name for slide in opened.slides)
        cutoff_um = 2 * phone_half_pitch_um(opened)
    evaluation = evaluate(
        pairs, enhancer, enhancer.card, cutoff_um=cutoff_um, force=force,
        on_progress=on_progress, stop=stop or StopToken(),
    )
    inputs = ReportInputs(
        session=session, pairs=pairs, slides=slides, model=model, card=enhancer.card,
        evaluation=evaluation, seconds=seconds,
    )
    write_report(report, inputs, enhancer)
    write_scores(report.with_suffix(".csv"), evaluation)
    return evaluation


def write_scores(path: Path, evaluation: Evaluation) -> None:
    """Write one row per field and method."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["slide", "capture", "method", "ssim", "ssim_rgb", "cie94", "psnr_db", "detail"])
        for field in evaluation.fields:
            for method in METHODS:
                values = asdict(field.scores[method]).values()
                writer.writerow([field.slide, field.capture, method, *(f"{value:.5f}" for value in values)])
