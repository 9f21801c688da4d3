"""Every model on every session's blind slides: trained on one stain, tested on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilescope.app.evaluation.origins import resolved_half_pitch_um, session_of
from mobilescope.app.pairs.pairing import registered_pairs
from mobilescope.core.errors import UserError
from mobilescope.core.progress import ProgressListener, StopToken, ignore_progress
from mobilescope.data.pairs import PairStore
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.learn.blindness import trained_slides
from mobilescope.learn.checkpoint import read_card
from mobilescope.learn.evaluate import Evaluation, evaluate

_METHODS = ("bicubic", "network")


@dataclass(frozen=True)
class CrossCell:
    """One model on one session; stains are "unknown" where nobody said."""

    model: Path
    model_stain: str
    session: Path
    session_stain: str
    evaluation: Evaluation


def check_blind(models: Sequence[Path], sessions: Sequence[Path]) -> None:
    """Refuse models with a session whose blind slides they were trained on, before any work starts.

    Raises
    ------
    UserError
        Names the first model, session and slides.
    """
    for model in models:
        training = read_card(model).training
        for session in sessions:
            pairs = registered_pairs(session)
            with PairStore.open(pairs) as store:
                slides = {record.slide for record in store.records if record.role == "blind"}
            seen = trained_slides(training, pairs, slides)
            if seen:
                raise UserError(
                    f"{model} was trained on {', '.join(seen)} of {session}, so these are not blind",
                    "leave out one of the two, or force it",
                )


def cross_evaluate(
    models: Sequence[Path],
    sessions: Sequence[Path],
    *,
    force: bool = False,
    device: str = "auto",
    known: Mapping[tuple[Path, Path], Evaluation] | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> tuple[CrossCell, ...]:
    """Evaluate every model on every session's blind slides, model by model.

    Parameters
    ----------
    known : mapping, optional
        Evaluations by model and session that are there already.

    Raises
    ------
    UserError
        A model was trained on a slide that it is to be tested on, and this is not forced, or a session has no blind
        field.
    """
    cells = []
    for number, model in enumerate(dict.fromkeys(models)):
        enhancer = Enhancer.from_checkpoint(model, device=device)
        for place, session in enumerate(dict.fromkeys(sessions)):
            pairs = registered_pairs(session)
            with PairStore.open(pairs) as store:
                stain = _stain(store)
                half_pitch_um = resolved_half_pitch_um(store.provenance, session_of(session, pairs))
            evaluation = (known or {}).get((model, session)) or evaluate(
                pairs, enhancer, enhancer.card, cutoff_um=2 * half_pitch_um, force=force,
                methods=_METHODS, on_progress=on_progress, stop=stop,
                stage=f"model {number + 1} on session {place + 1}",
            )
            cells.append(CrossCell(model, enhancer.card.stain, session, stain, evaluation))
    return tuple(cells)


def _stain(store: PairStore) -> str:
    """Return the stains of a file's blind slides, or "unknown"."""
    told = store.provenance.get("stains") or {}
    blind = dict.fromkeys(record.slide for record in store.records if record.role == "blind")
    return " + ".join(dict.fromkeys(str(told.get(slide) or "unknown") for slide in blind)) or "unknown"
