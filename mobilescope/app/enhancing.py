"""Enhancement of files: one picture, a folder of them, or every capture of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from mobilescope.app.developing import develop_capture
from mobilescope.app.folders import prepare_folder
from mobilescope.app.images import SUFFIXES, read_rgb, write_rgb
from mobilescope.core.errors import InputFileError, OutputError, UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.session import Session
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.learn.device import Precision

Job = tuple[Path, Callable[[], NDArray[np.generic]]]


def enhance_path(
    model: Path,
    source: Path,
    target: Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> list[Path]:
    """Enhance what ``source`` holds and return the files written.

    A picture goes to ``target``, or into it where that is a folder; a folder's pictures and a session's captures go
    into the folder ``target`` under their own names.
    """
    stop = stop or StopToken()
    if precision not in get_args(Precision):
        raise UserError(f"there is no precision {precision!r}", f"choose one of {', '.join(get_args(Precision))}")
    if not source.exists():
        raise InputFileError(f"there is no file or folder {source}", "check the path")
    enhancer = Enhancer.from_checkpoint(model, device=device, precision=cast("Precision", precision))
    if source.is_file() and source.suffix.lower() == ".h5":
        with Session.open(source) as session:
            return _run(enhancer, list(_session_jobs(session, target)), on_progress, stop)
    if source.is_dir():
        pictures = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
        if not pictures:
            raise InputFileError(f"{source} holds no pictures", f"their names end in {', '.join(SUFFIXES)}")
        _check_names(pictures, target)
        jobs: list[Job] = [(target / f"{path.stem}.png", partial(read_rgb, path)) for path in pictures]
        return _run(enhancer, jobs, on_progress, stop)
    single = target / f"{source.stem}.png" if target.is_dir() else target
    if single.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{target} has no known picture ending", f"use one of {', '.join(SUFFIXES)}")
    if single.exists() and single.samefile(source):
        raise OutputError(f"{single} is the input itself", "give another output")
    return _run(enhancer, [(single, partial(read_rgb, source))], on_progress, stop)


def _check_names(pictures: list[Path], folder: Path) -> None:
    """Refuse a folder where results would replace pictures or each other."""
    if folder.exists() and folder.samefile(pictures[0].parent):
        raise OutputError(f"{folder} is the input folder itself", "give another output folder")
    stems = [path.stem for path in pictures]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise InputFileError(f"{pictures[0].parent} holds several pictures named {twice}", "rename all but one")


def _session_jobs(session: Session, folder: Path) -> Iterator[Job]:
    for slide in session.slides:
        for capture in session.captures(slide.name):
            yield folder / f"{slide.name}-{capture.index:04d}.png", partial(develop_capture, session, capture)


def _run(enhancer: Enhancer, jobs: list[Job], on_progress: ProgressListener, stop: StopToken) -> list[Path]:
    written = []
    for done, (path, read) in enumerate(jobs, start=1):
        stop.raise_if_requested("enhancing")
        prepare_folder(path.parent)
        write_rgb(path, enhancer(read()))
        written.append(path)
        on_progress(Progress("enhance", done, len(jobs), path.name))
    return written
