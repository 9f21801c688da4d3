"""What a paired session has come to: pairs by quality, what of the specimen they cover, what to take again and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobilescope.acquire.pairing import FieldKey, WalkResult
from mobilescope.app.acquisition.acquiring import plan_of
from mobilescope.app.acquisition.slide_content import SlideContent, slide_content
from mobilescope.core.geometry import RegionUm
from mobilescope.core.pair_link import PairLink, field_name
from mobilescope.data.link_records import current_fields
from mobilescope.data.session import Session
from mobilescope.plans.job import SlidePlan

# Below these residuals (median, in phone pixels) a pair is called fine, or fair; the gate refuses above 0.5.
GRADES = (("fine", 0.1), ("fair", 0.25), ("rough", float("inf")))


@dataclass(frozen=True)
class FieldState:
    """One field on the map: its region in the benchtop's frame, and what became of it.

    ``state`` is a grade for an accepted pair, "refused", or "open".
    """

    row: int
    column: int
    region: RegionUm
    state: str
    reason: str = ""
    advice: str = ""


@dataclass(frozen=True, eq=False)
class SlideSummary:
    """One slide of a paired session.

    ``covered`` is the share of the specimen seen by the benchtop that lies in accepted pairs, None where nothing was
    seen; ``link_residual_um`` is None for a link that rests on no place.
    """

    slide: str
    fields: tuple[FieldState, ...]
    captures: int
    seconds: tuple[float, ...]
    residual_um: tuple[float, ...]
    link_points: int
    link_residual_um: float | None
    link: tuple[float, ...] | None
    covered: float | None
    content: SlideContent | None = field(default=None, repr=False)

    def count(self, *states: str) -> int:
        """Return how many fields are in one of some states."""
        return sum(each.state in states for each in self.fields)

    @property
    def accepted(self) -> int:
        """Fields with a good pair."""
        return self.count(*(name for name, _ in GRADES))

    @property
    def to_retake(self) -> list[FieldState]:
        """Fields that were refused, or were left with a reason."""
        return [each for each in self.fields if each.reason]

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {
            "fields": len(self.fields), "accepted": self.accepted, "refused": self.count("refused"),
            "open": self.count("open"), "quality": {name: self.count(name) for name, _ in GRADES},
            "captures": self.captures,
            "residual_um": float(np.median(self.residual_um)) if self.residual_um else None,
            "seconds_per_field": float(np.median(self.seconds)) if self.seconds else None,
            "covered": self.covered, "link": None if self.link is None else [
                list(self.link[:3]), list(self.link[3:])
            ],
            "link_points": self.link_points, "link_residual_um": self.link_residual_um,
            "retake": [
                {"row": each.row, "column": each.column, "reason": each.reason, "advice": each.advice}
                for each in self.to_retake
            ],
        }

    def lines(self) -> Iterator[str]:
        """Yield it for a person."""
        grades = ", ".join(f"{self.count(name)} {name}" for name, _ in GRADES if self.count(name))
        covered = "" if self.covered is None else f"; {self.covered:.0%} of the specimen seen is covered"
        yield (
            f"{self.slide}: {self.accepted} of {len(self.fields)} fields paired{f' ({grades})' if grades else ''}, "
            f"{self.count('refused')} refused, {self.count('open')} open{covered}"
        )
        if self.link_points and self.link_residual_um is not None:
            yield f"  link: {self.link_points} places, residual {self.link_residual_um:.1f} µm"
        for each in self.to_retake:
            name = field_name(each.row, each.column)
            yield f"  retake {name}: {each.reason}{f' ({each.advice})' if each.advice else ''}"


def grade_of(link: PairLink) -> str:
    """Return what an accepted pair's residual is called."""
    residual = link.quality.get("residual_median_px", float("inf"))
    return next(name for name, limit in GRADES if residual <= limit)


def summarise(
    session_path: Path, results: dict[str, WalkResult] | None = None, slides: Sequence[str] = ()
) -> list[SlideSummary]:
    """Return what a session's pairs have come to, slide by slide, with what the run at hand knows beside it."""
    summaries = []
    with Session.open(session_path) as session:
        plan = plan_of(session)
        chosen = [plan.slide(name) for name in slides] or list(plan.slides)
        for slide in chosen:
            links, captures = session.pair_links(slide.name), session.captures(slide.name)
            size = _field_size(session, slide, links)
            summaries.append(_summary(
                session_path, slide, links, len(captures), size, (results or {}).get(slide.name, WalkResult())
            ))
    return summaries


def _summary(
    path: Path, slide: SlidePlan, links: list[PairLink], captures: int, size_um: tuple[float, float] | None,
    result: WalkResult,
) -> SlideSummary:
    current = current_fields(links)
    fields = [] if size_um is None else list(_fields(slide, current, size_um, result))
    content = slide_content(path, slide.name)
    good = [each.region for each in fields if each.state in {name for name, _ in GRADES}]
    accepted = [link for link in current if link.accepted]
    last = links[-1] if links else None
    known = result.link if result.link is not None and result.link.points else None
    residual = known.residual_um if known is not None else float("nan") if last is None else last.link_residual_um
    return SlideSummary(
        slide.name, tuple(fields), captures, tuple(link.seconds for link in current),
        tuple(link.quality["residual_median_um"] for link in accepted if "residual_median_um" in link.quality),
        len(known.points) if known is not None else 0 if last is None else last.link_points,
        residual if np.isfinite(residual) else None,
        tuple(float(value) for value in known.to_benchtop.matrix.ravel()) if known is not None
        else None if last is None else last.link,
        None if content is None else content.content.covered_share(good), content,
    )


def _fields(
    slide: SlidePlan, current: list[PairLink], size_um: tuple[float, float], result: WalkResult
) -> Iterator[FieldState]:
    """Yield the paired fields, then the plan's that are open."""
    seen: set[FieldKey] = set()
    for link in current:
        seen.add((link.row, link.column))
        centre = link.found_um if np.isfinite(link.found_um).all() else link.planned_um
        yield FieldState(
            link.row, link.column, RegionUm.centred(*centre, *size_um), grade_of(link) if link.accepted else "refused",
            link.reason, "" if link.accepted else result.advice.get((link.row, link.column), ""),
        )
    if slide.capture is None:
        return
    for stop in slide.capture.grid(*size_um, slide.centre_um):
        key = stop.row, stop.column
        if key not in seen:
            yield FieldState(
                *key, RegionUm.centred(stop.x_um, stop.y_um, *size_um), "open", result.left.get(key, ""),
                result.advice.get(key, ""),
            )


def _field_size(session: Session, slide: SlidePlan, links: list[PairLink]) -> tuple[float, float] | None:
    """Return width and height of a phone's field; None where no capture tells the pitch."""
    captures = session.captures(slide.name) or [
        capture for entry in session.slides for capture in session.captures(entry.name)
    ]
    if not captures:
        return None
    rows, columns = session.header.phone_shape
    return columns * captures[0].pixel_size_um, rows * captures[0].pixel_size_um
