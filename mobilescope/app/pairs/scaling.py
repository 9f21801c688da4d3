"""Many sessions registered at once on a cluster, pair by pair."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mobilescope import __version__
from mobilescope.app.pairs.cluster import Crowd, Outcome
from mobilescope.app.pairs.pair_parts import (
    Counted,
    PartJob,
    begin_parts,
    join_parts,
    keep_distortion,
    made_before,
    make_part,
    parts_folder,
)
from mobilescope.app.pairs.pairing import PairingPlan, plan_pairing
from mobilescope.app.pictures.folders import prepare_file
from mobilescope.app.terminal.tables import Table
from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import MobilescopeError, UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.layout import pairs_path
from mobilescope.data.variants import DEFAULT_FACTOR, PairVariant, Warp
from mobilescope.imaging.distortion import DistortionMap
from mobilescope.imaging.quality import GateThresholds


@dataclass(frozen=True)
class SessionOutcome:
    """How one of many sessions came out.

    Attributes
    ----------
    state : str
        "registered", "done before" or "failed".
    made : int
        Pairs registered in this run; the others were there.
    reason : str
        Why it failed.
    """

    session: Path
    pairs: Path | None
    state: str
    accepted: int = 0
    refused: int = 0
    made: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        pairs = None if self.pairs is None else str(self.pairs)
        return asdict(self) | {"session": str(self.session), "pairs": pairs}


def outcome_table(outcomes: Sequence[SessionOutcome]) -> Table:
    """Return how sessions came out, as a table."""
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    note = f"{len(failed)} of {len(outcomes)} failed: {', '.join(str(each.session) for each in failed)}"
    rows = tuple(
        (str(each.session), each.state, str(each.accepted), str(each.refused), str(each.made), each.reason)
        for each in outcomes
    )
    columns = ("session", "state", "accepted", "refused", "made now", "reason")
    return Table("Registered sessions", columns, rows, note if failed else "")


@dataclass(frozen=True)
class _Asked:
    """How all sessions are to be registered."""

    variant: PairVariant
    thresholds: GateThresholds
    search: bool
    development: Callable[[Path], DevelopmentConfig] | None
    distortion: DistortionMap | None

    def plan(self, session: Path) -> PairingPlan:
        variant = self.variant
        if self.development is not None:
            variant = replace(variant, development=self.development(session))
        return plan_pairing(session, variant, self.thresholds, search=self.search, distortion=self.distortion)


@dataclass
class _Work:
    """A session that is being registered."""

    session: Path
    target: Path
    plan: PairingPlan
    missing: list[int]
    left: int
    distortion: Path | None
    problems: list[str] = field(default_factory=list)


def register_sessions(
    sessions: Sequence[Path],
    cluster: Callable[[], AbstractContextManager[Crowd]],
    *,
    warp: Warp = "phone",
    factor: float = DEFAULT_FACTOR,
    jpeg_ratio: float | None = None,
    thresholds: GateThresholds | None = None,
    search: bool = True,
    development: Callable[[Path], DevelopmentConfig] | None = None,
    distortion: DistortionMap | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> list[SessionOutcome]:
    """Register many sessions on a cluster, each into its own pair file, and tell of each how it came out.

    A session whose pair file was made of the same session, mosaics, settings and version is left as it is. Each pair is
    kept as soon as it is made, so that a run that was killed goes on. A session that fails, or whose pairs kill the
    workers, does not end the rest.

    Parameters
    ----------
    cluster : callable
        Opens the cluster; only where something is left to do.
    warp, factor, jpeg_ratio, search, distortion
        See `register_session`.
    development : callable, optional
        Says how the captures of a session are developed, where not as the session itself says.

    Raises
    ------
    UserError
        A variant that can't be, or a session given twice.
    CancelledError, ClusterError
        Stopped, or the cluster is gone; what was made is kept.
    """
    stop, thresholds = stop or StopToken(), thresholds or GateThresholds()
    asked = _Asked(PairVariant(warp, factor, jpeg_ratio), thresholds, search, development, distortion)
    _check_once(sessions)
    outcomes: dict[Path, SessionOutcome] = {}
    works: list[_Work] = []
    for session in sessions:
        stop.raise_if_requested("registration")
        try:
            found = _begun(session, asked)
        except (MobilescopeError, OSError) as error:
            outcomes[session] = SessionOutcome(session, None, "failed", reason=str(error))
            continue
        if isinstance(found, SessionOutcome):
            outcomes[session] = found
        else:
            works.append(found)
    if works:
        total = sum(work.left for work in works)
        with cluster() as crowd:
            _Run(crowd, thresholds, outcomes, total, on_progress, stop).go(works)
    return [outcomes[session] for session in sessions]


class _Run:
    """The works of one command: hands pairs to the workers, and has each session put together when it is complete."""

    def __init__(
        self, crowd: Crowd, thresholds: GateThresholds, outcomes: dict[Path, SessionOutcome],
        total: int, on_progress: ProgressListener, stop: StopToken,
    ) -> None:
        self._crowd, self._thresholds, self._outcomes = crowd, thresholds, outcomes
        self._total, self._on_progress, self._stop = total, on_progress, stop
        self._done = self._accepted = 0

    def go(self, works: list[_Work]) -> None:
        """Work until every session is put together or has failed."""
        for work in works:
            if not work.left:
                self._join(work)
        jobs = ((work, number) for work in works for number in work.missing)
        more = True
        while more or not self._crowd.is_idle:
            while more and self._crowd.has_room:
                following = next(jobs, None)
                if following is None:
                    more = False
                else:
                    self._hand_over(*following)
            outcome = self._crowd.next_ended(self._stop, "registration")
            if outcome is not None:
                self._take(outcome)

    def _hand_over(self, work: _Work, number: int) -> None:
        slide, capture = work.plan.jobs[number]
        cell = work.plan.cells.get((slide, capture.index))
        job = PartJob(
            work.session.absolute(), parts_folder(work.target), number, capture, cell, work.plan.roles[slide],
            work.plan.variant, self._thresholds, work.plan.searches.get(slide),
            work.plan.turns_deg.get((slide, capture.index), 0.0), work.distortion,
        )
        self._crowd.submit((work, number), make_part, job, __version__)

    def _take(self, outcome: Outcome) -> None:
        work, number = outcome.label
        if number is None:
            self._end(work, outcome)
            return
        work.left -= 1
        self._done += 1
        if outcome.error is not None:
            slide, capture = work.plan.jobs[number]
            work.problems.append(f"capture {capture.index} of slide {slide}: {outcome.error}")
        else:
            self._accepted += outcome.value
        self._on_progress(Progress("register", self._done, self._total, f"{self._accepted} accepted"))
        if not work.left:
            self._join(work)

    def _join(self, work: _Work) -> None:
        if work.problems:
            more = f" (and {len(work.problems) - 1} more)" if len(work.problems) > 1 else ""
            self._outcomes[work.session] = SessionOutcome(
                work.session, None, "failed", made=len(work.missing) - len(work.problems),
                reason=work.problems[0] + more,
            )
            return
        self._crowd.submit(
            (work, None), join_parts, parts_folder(work.target), len(work.plan.jobs), work.target, work.plan.provenance,
            first=True,
        )

    def _end(self, work: _Work, outcome: Outcome) -> None:
        counted = outcome.value
        self._outcomes[work.session] = (
            SessionOutcome(work.session, None, "failed", made=len(work.missing), reason=str(outcome.error))
            if not isinstance(counted, Counted) else
            SessionOutcome(
                work.session, work.target, "registered", counted.accepted, counted.refused, len(work.missing)
            )
        )


def _check_once(sessions: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for session in sessions:
        other = seen.setdefault(session.resolve(), session)
        if other is not session:
            raise UserError(f"{session} is given twice", "give each session once")


def _begun(session: Path, asked: _Asked) -> _Work | SessionOutcome:
    """Return what there is to do for a session, or how it came out if there is nothing."""
    plan = asked.plan(session.absolute())
    key, target = str(plan.provenance["made_of"]), pairs_path(session.absolute(), plan.variant)
    prepare_file(target)
    counted = made_before(target, key)
    if counted is not None:
        # A worker may have died between the joining and this.
        shutil.rmtree(parts_folder(target), ignore_errors=True)
        return SessionOutcome(session, target, "done before", counted.accepted, counted.refused)
    there = begin_parts(parts_folder(target), key)
    distortion = None if plan.distortion_yx is None else keep_distortion(parts_folder(target), plan.distortion_yx)
    missing = [number for number in range(len(plan.jobs)) if number not in there]
    return _Work(session, target, plan, missing, len(missing), distortion)
