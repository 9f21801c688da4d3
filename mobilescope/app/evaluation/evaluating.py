"""Evaluation of a model on a session's blind slides, with the measurements asked for beyond it, and its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilescope.app.evaluation.cross_stains import CrossCell, check_blind, cross_evaluate
from mobilescope.app.evaluation.focus_stack import FocusStack, measure_focus_stack
from mobilescope.app.evaluation.origins import developed_captures, instrument_of, resolved_half_pitch_um, session_of
from mobilescope.app.evaluation.report import ReportInputs, Section, write_report
from mobilescope.app.evaluation.report_curves import contrast_curve, focus_curve
from mobilescope.app.evaluation.resolution import Resolution, measure_resolution
from mobilescope.app.evaluation.score_files import check_report_place, write_score_files
from mobilescope.app.evaluation.score_tables import cross_tables, focus_table, jpeg_table, resolution_table
from mobilescope.app.pairs.pairing import registered_pairs
from mobilescope.core.errors import UserError
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.data.pairs import PairStore
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.learn.baselines import fit_baselines, has_training_pairs
from mobilescope.learn.evaluate import Evaluation, evaluate
from mobilescope.learn.jpeg_scores import JpegScores, score_jpeg


@dataclass(frozen=True)
class Extras:
    """What is measured beyond the scores of a model on a session.

    Attributes
    ----------
    jpeg : bool
        The same fields from inputs compressed to several sizes.
    target : bool
        A USAF 1951 target taken with the instrument.
    focus_stack : bool
        Blind fields taken again at a range of defocus.
    models, sessions : tuple of Path
        Others: every model is tested on every session.
    config : Path or None
        The instrument's file; without one, the instrument is the session's.
    """

    jpeg: bool = False
    target: bool = False
    focus_stack: bool = False
    models: tuple[Path, ...] = ()
    sessions: tuple[Path, ...] = ()
    config: Path | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """The scores, and what else was asked for."""

    evaluation: Evaluation
    jpeg: JpegScores | None = None
    cross: tuple[CrossCell, ...] = ()
    target: Resolution | None = None
    focus_stack: FocusStack | None = None

    def sections(self) -> tuple[Section, ...]:
        """Return what was asked for beyond the scores, as the report shows it."""
        sections = []
        if self.cross:
            sections.append(Section("Other stains", tuple(cross_tables(self.cross))))
        if self.jpeg is not None:
            sections.append(Section("JPEG input", (jpeg_table(self.jpeg),)))
        if self.target is not None:
            sections.append(Section("Resolution", (resolution_table(self.target),), contrast_curve(self.target)))
        if self.focus_stack is not None:
            sections.append(
                Section("Depth of field", (focus_table(self.focus_stack),), focus_curve(self.focus_stack))
            )
        return tuple(sections)


def evaluate_session(
    session: Path,
    model: Path,
    report: Path,
    seconds: dict[str, float],
    *,
    force: bool = False,
    device: str = "auto",
    extras: Extras | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> EvaluationResult:
    """Evaluate a model on the blind slides of a session and write the report, with the scores as CSV beside it.

    Parameters
    ----------
    session : Path
        A session, or a file of its pairs.
    seconds : dict
        Times of the stages so far, for the report.

    Raises
    ------
    UserError
        A blind slide was trained on and this is not forced, there is none, or something that was asked for can't be
        measured.
    OutputError
        The report would replace something else.
    """
    check_report_place(report)
    stop, extras = stop or StopToken(), extras or Extras()
    pairs = registered_pairs(session)
    origin = session_of(session, pairs)
    if extras.focus_stack and origin is None:
        raise UserError(f"the session of {pairs} is not beside it", "give the session itself for a stack of focus")
    others = bool(extras.models or extras.sessions)
    if others and not force:
        check_blind((model, *extras.models), (session, *extras.sessions))
    instrument = instrument_of(origin, extras.config) if extras.target or extras.focus_stack else None
    enhancer = Enhancer.from_checkpoint(model, device=device)
    with PairStore.open(pairs) as store:
        half_pitch_um = resolved_half_pitch_um(store.provenance, origin)
    baselines = fit_baselines(pairs) if has_training_pairs(pairs) else None
    common: dict[str, Any] = {"on_progress": on_progress, "stop": stop}
    with developed_captures(origin, pairs) as develop:
        evaluation = evaluate(
            pairs, enhancer, enhancer.card, cutoff_um=2 * half_pitch_um, force=force, develop=develop,
            baselines=baselines, **common,
        )
        jpeg = score_jpeg(pairs, enhancer, **common) if extras.jpeg else None
        cross: tuple[CrossCell, ...] = ()
        if others:
            cross = cross_evaluate(
                (model, *extras.models), (session, *extras.sessions), force=force, device=device,
                known={(model, session): evaluation}, **common,
            )
        target = stack = None
        if instrument is not None and extras.target:
            config, source = instrument
            target = measure_resolution(config, enhancer, source=source, **common)
        if instrument is not None and extras.focus_stack and origin is not None:
            config, source = instrument
            stack = measure_focus_stack(config, origin, pairs, enhancer, source=source, baselines=baselines, **common)
        result = EvaluationResult(evaluation, jpeg, cross, target, stack)
        inputs = ReportInputs(
            session=origin, pairs=pairs, model=model, card=enhancer.card, evaluation=evaluation, seconds=seconds,
            sections=result.sections(), develop=develop, baselines=baselines,
        )
        write_report(report, inputs, enhancer)
    write_score_files(
        report, evaluation, jpeg=result.jpeg, cross=result.cross, target=result.target, stack=result.focus_stack
    )
    return result
