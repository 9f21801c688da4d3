"""Which slides of a pair file a model has been trained on, by what they are and not only by what they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mobilescope.data.pairs import PairStore

# So many of a slide's captures name it: another file of the slide will hardly lack all of them.
_MARKS = 8


def picture_marks(provenance: Mapping[str, Any], slides: Iterable[str]) -> dict[str, list[str]]:
    """Return digests of a few captures of each slide, by which it is known again in any session and under any name.

    Parameters
    ----------
    provenance : mapping
        A pair file's; those of earlier versions keep no digests of captures.
    slides : iterable of str
        The slides wanted.
    """
    captures = provenance.get("captures_sha256") or {}
    return {slide: sorted(captures[slide])[:_MARKS] for slide in slides if captures.get(slide)}


def trained_slides(training: Mapping[str, Any], pairs: Path, slides: Iterable[str]) -> tuple[str, ...]:
    """Return which of a pair file's slides the model of a card was trained on.

    A slide counts where captures of it are among those of the card's training slides, whatever either is called and
    whatever became of the session; and where the card names a training slide so, in the same session or the same pair
    file. Another session may have a slide of the same name, and is told apart where both sides know the session's
    digest. Where they do not know it, the name decides: better a refusal too many than a figure that is not blind.

    Parameters
    ----------
    training : mapping
        The card's ``training``: ``sources`` (each with ``sha256``, ``slides`` and, if known, ``session_digest`` and
        ``pictures``, see `picture_marks`); older cards have ``pairs_sha256`` and ``slides`` alone.
    pairs : Path
        The pair file to be evaluated on.
    slides : iterable of str
        Names of its slides that are to be evaluated.
    """
    wanted = set(slides)
    sources = _sources(training)
    named = [(source, wanted & _training_names(source)) for source in sources]
    marks = {mark for source in sources for own in (source.get("pictures") or {}).values() for mark in own}
    if not marks and not any(found for _, found in named):
        return ()
    with PairStore.open(pairs) as store:
        session = store.provenance.get("session_digest")
        captures = store.provenance.get("captures_sha256") or {}
    digest = _sha256(pairs)
    seen = {slide for slide in wanted if not marks.isdisjoint(captures.get(slide, ()))}
    for source, found in named:
        if found and _may_be_same(source, digest, session):
            seen |= found
    return tuple(sorted(seen))


def _sources(training: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what the card tells of each source; slides that no source names come from one that is not known."""
    sources: list[Mapping[str, Any]] = list(training.get("sources") or ())
    if not sources:
        return [{"sha256": training.get("pairs_sha256"), "slides": training.get("slides")}]
    told = set().union(*(_training_names(source) for source in sources))
    return [*sources, {"slides": {"training": sorted(_training_names(training) - told)}}]


def _training_names(source: Mapping[str, Any]) -> set[str]:
    return set((source.get("slides") or {}).get("training") or ())


def _may_be_same(source: Mapping[str, Any], digest: str, session: str | None) -> bool:
    if source.get("sha256") == digest:
        return True
    theirs = source.get("session_digest")
    # A session that was registered anew has another pair file, so differing pair files say nothing.
    return theirs is None or session is None or theirs == session


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
