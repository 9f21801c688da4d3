"""Pair files put together into a dataset: which slide stands on which side, which blank patches are left out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.datasets.blank_patches import FilePatches, PatchPlan, Thin, ThinJob, thin_file
from mobilescope.app.datasets.dataset_card import dataset_card
from mobilescope.app.pairs.lineage import slide_digests
from mobilescope.app.pairs.pairing import registered_pairs
from mobilescope.app.pictures.folders import prepare_file
from mobilescope.core.errors import OutputError, UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.datasets import DATASET_FORMAT, Dataset, Member, Role, identity_of, path_beside
from mobilescope.data.files import file_format, open_for_reading
from mobilescope.data.pair_record import PAIRS_FORMAT, PAIRS_VERSION
from mobilescope.learn.sources import Source, Sources


@dataclass(frozen=True)
class DatasetResult:
    """The dataset's file and its card."""

    path: Path
    card: dict[str, Any]


def make_dataset(
    sessions: Sequence[Path],
    out: Path,
    plan: PatchPlan,
    *,
    roles: Mapping[str, Role | None] | None = None,
    thin: Thin | None = None,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> DatasetResult:
    """Write a dataset of registered sessions or pair files; it holds no pixels, and the files stay as they are.

    Parameters
    ----------
    roles : mapping, optional
        Slides that stand on another side than their session says, by name; None leaves a slide out.
    thin : callable, optional
        What looks for blank patches; without it they are looked for here, file by file.

    Raises
    ------
    UserError
        Files that don't go together, the same session twice, a slide on two sides, a name that no file has, or no
        training patch is left.
    """
    stop = stop or StopToken()
    _check_target(out)
    sources = Sources.open([registered_pairs(path) for path in sessions])
    _check_once(sources.files)
    given = dict(roles or {})
    _check_names(given, sources.files)
    split = [_roles_of(source, given) for source in sources.files]
    check_sides(sources.files, split)
    training = [frozenset(slide for slide, role in kept.items() if role == "training") for kept in split]
    thinned: list[FilePatches] = []
    jobs = [(source.path, slides, plan) for source, slides in zip(sources.files, training, strict=True)]
    for number, each in enumerate((thin or _thin_here)(jobs), start=1):
        thinned.append(each)
        on_progress(Progress("dataset", number, len(sources.files), sources.files[number - 1].path.name))
        stop.raise_if_requested("the dataset")
    _check_patches(sources, plan, thinned)
    members = tuple(_member(out, source, kept) for source, kept in zip(sources.files, split, strict=True))
    card = dataset_card(sources.files, split, thinned, plan, members)
    Dataset(members, plan.patch_px, plan.overlap, _dropped(sources.files, split, thinned), card).write(out)
    return DatasetResult(out, card)


def card_of(pairs: Path) -> dict[str, Any]:
    """Return the card that a dataset of one pair file would have, with every patch kept."""
    source = Source.open(pairs)
    plan, roles = PatchPlan(keep_blank=1.0), _roles_of(source, {})
    training = frozenset(slide for slide, role in roles.items() if role == "training")
    return dataset_card([source], [roles], [thin_file(pairs, training, plan)], plan, [_member(pairs, source, roles)])


def check_sides(files: Sequence[Source], split: Sequence[Mapping[str, Role]]) -> None:
    """Refuse a slide that stands on two sides, known by its name or by the digests of its pictures."""
    by_name: dict[str, tuple[Role, Source]] = {}
    by_digest: dict[str, tuple[Role, str, Source]] = {}
    for source, roles in zip(files, split, strict=True):
        for slide, role in roles.items():
            before, other = by_name.setdefault(slide, (role, source))
            if before != role:
                raise UserError(
                    f"slide {slide} is {before} in {other.path} and {role} in {source.path}",
                    f"decide with --role {slide}=ROLE, or leave it out with --role {slide}=none",
                )
        for digest, slide in slide_digests(source.provenance):
            if slide not in roles:
                continue
            seen, name, other = by_digest.setdefault(digest, (roles[slide], slide, source))
            if seen != roles[slide]:
                raise UserError(
                    f"slide {slide} ({roles[slide]}) of {source.path} is slide {name} ({seen}) of {other.path}: the "
                    "same pictures under two names",
                    f"put both on one side with --role, or leave one out with --role {slide}=none",
                )


def _check_target(out: Path) -> None:
    prepare_file(out)
    if out.exists() and file_format(out) != DATASET_FORMAT:
        raise OutputError(f"{out} is there and is no dataset", "give another name for the dataset")


def _check_once(files: Sequence[Source]) -> None:
    seen: dict[str, Source] = {}
    for source in files:
        if source.dataset is not None:
            raise UserError(f"{source.path} is a dataset itself", "give the sessions or pair files that it is made of")
        digest = source.provenance.get("session_digest")
        if digest is not None and digest in seen:
            raise UserError(
                f"{seen[digest].path} and {source.path} hold pairs of the same session", "give each session once"
            )
        if digest is not None:
            seen[digest] = source


def _check_patches(sources: Sources, plan: PatchPlan, thinned: Sequence[FilePatches]) -> None:
    """Refuse a dataset that nothing could be trained on; UserError says what would have to be otherwise."""
    places = sum(sum(each.patches.values()) for each in thinned)
    if places == 0:
        raise UserError(
            f"{sources.names} have no accepted training pair as large as a patch of {plan.patch_px} px",
            "give a smaller --patch-px, or a slide the role 'training' (--role SLIDE=training)",
        )
    if places == sum(len(each.dropped) for each in thinned):
        raise UserError(
            f"all {places} training patches of {sources.names} are blank and left out",
            "keep some (--keep-blank), or give a slide with specimen the role 'training'",
        )


def _check_names(given: Iterable[str], files: Sequence[Source]) -> None:
    known = {record.slide for source in files for record in source.records}
    for slide in given:
        if slide not in known:
            raise UserError(f"there is no slide {slide}", f"the slides are {', '.join(sorted(known))}")


def _roles_of(source: Source, given: Mapping[str, Role | None]) -> dict[str, Role]:
    """Return the role of each of a file's slides that is not left out."""
    roles: dict[str, Role] = {}
    for record in source.records:
        role = given.get(record.slide, record.role)
        if role is not None:
            roles[record.slide] = role
    return roles


def _thin_here(jobs: list[ThinJob]) -> Iterator[FilePatches]:
    yield from itertools.starmap(thin_file, jobs)


def _member(out: Path, source: Source, roles: dict[str, Role]) -> Member:
    with open_for_reading(source.path, PAIRS_FORMAT, PAIRS_VERSION) as file:
        identity = identity_of(file)
    return Member(
        path_beside(out, source.path), source.sha256, source.path.stat().st_size, identity, roles
    )


def _dropped(
    files: Sequence[Source], split: Sequence[Mapping[str, Role]], thinned: Sequence[FilePatches]
) -> NDArray[np.int32]:
    """Return the patches left out, by the numbers that pairs have in the dataset."""
    parts, start = [np.empty((0, 3), np.int32)], 0
    for source, roles, each in zip(files, split, thinned, strict=True):
        kept = np.array([record.slide in roles for record in source.records], dtype=bool)
        number = start + np.cumsum(kept) - 1
        part = each.dropped.copy()
        part[:, 0] = number[part[:, 0]]
        parts.append(part)
        start += int(kept.sum())
    return np.concatenate(parts)
