"""What is to be enhanced and where the results go: one picture, a folder of them, or a session's captures."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mobilescope.app.pictures.developing import develop_capture
from mobilescope.app.pictures.images import (
    INPUT_SUFFIXES,
    RAW_SUFFIX,
    SUFFIXES,
    Picture,
    can_be_written_as,
    is_pyramid,
    open_picture,
)
from mobilescope.core.errors import InputFileError, OutputError
from mobilescope.core.input_files import check_file
from mobilescope.data.records import CaptureRecord
from mobilescope.data.session import Session
from mobilescope.imaging.pixel_sources import ArraySource


@dataclass(frozen=True)
class Job:
    """A picture to enhance.

    Attributes
    ----------
    name : str
        What messages call it.
    targets : tuple of Path
        Where the result goes: into the first whose format can hold it.
    open : callable
        Opens the picture.
    digest : callable
        Returns the SHA-256 of what the picture was read from.
    digest_of : str
        What that is: the bytes of a file, or a session's raw frame or JPEG.
    """

    name: str
    targets: tuple[Path, ...]
    open: Callable[[], Picture]
    digest: Callable[[], str]
    digest_of: str

    def target(self, shape: tuple[int, ...]) -> Path:
        """Return where a result of that shape goes; OutputError where no target can hold it."""
        fitting = next((target for target in self.targets if can_be_written_as(target, shape)), None)
        if fitting is None:
            raise OutputError(
                f"{self.targets[0]} would be a picture of {shape[1]}×{shape[0]} px, more than its format takes",
                "give a name that ends in .ome.tif",
            )
        return fitting


@contextlib.contextmanager
def open_jobs(source: Path, target: Path) -> Iterator[list[Job]]:
    """Yield what is to be done with ``source``; a session stays open until the block ends.

    Raises
    ------
    InputFileError
        There is no such file or folder, or it holds no pictures, or two of one name.
    OutputError
        A result would replace its own picture, has a name of no known ending, or is one picture for many.
    """
    if not source.exists():
        raise InputFileError(f"there is no file or folder {source}", "check the path")
    if not source.is_dir():
        check_file(source, "picture or session")
    several = source.is_dir() or source.suffix.lower() == ".h5"
    if several and target.suffix.lower() in SUFFIXES and not target.is_dir():
        raise OutputError(f"{target} is a picture's name, and {source} may hold many", "give a folder for the results")
    if source.is_file() and source.suffix.lower() == ".h5":
        with Session.open(source) as session:
            session.warn_of_damaged_rows()
            yield [
                _capture_job(session, capture, target)
                for slide in session.slides for capture in session.captures(slide.name)
            ]
    elif source.is_dir():
        pictures = pictures_in(source)
        _check_names(pictures, target)
        yield [_file_job(path, _names_in(target, path)) for path in pictures]
    else:
        targets = _names_in(target, source) if target.is_dir() else (target,)
        if targets[0].suffix.lower() not in SUFFIXES:
            raise OutputError(f"{target} has no known picture ending", f"use one of {', '.join(SUFFIXES)}")
        same = next((path for path in targets if path.exists() and path.samefile(source)), None)
        if same is not None:
            raise OutputError(f"{same} is the input itself", "give another output")
        yield [_file_job(source, targets)]


def pictures_in(folder: Path) -> list[Path]:
    """Return a folder's pictures by name; InputFileError where there are none.

    Phones save a JPEG beside a raw file: of such two the raw one is taken.
    """
    found = [
        path for path in sorted(folder.iterdir())
        if path.suffix.lower() in INPUT_SUFFIXES and path.is_file() and not path.name.startswith(".")
    ]
    raw = {path.stem for path in found if path.suffix.lower() == RAW_SUFFIX}
    pictures = [path for path in found if path.suffix.lower() not in (".jpg", ".jpeg") or path.stem not in raw]
    if not pictures:
        raise InputFileError(f"{folder} holds no pictures", f"their names end in {', '.join(INPUT_SUFFIXES)}")
    return pictures


def _names_in(folder: Path, picture: Path) -> tuple[Path, ...]:
    """Return a result's names in a folder: PNG, or a pyramid where that is too small; a slide stays a pyramid."""
    stem = _stem(picture)
    pyramid = folder / f"{stem}.ome.tif"
    return (pyramid,) if is_pyramid(picture) or picture.suffix.lower() == ".svs" else (folder / f"{stem}.png", pyramid)


def _stem(picture: Path) -> str:
    return picture.stem.removesuffix(".ome") if is_pyramid(picture) else picture.stem


def _check_names(pictures: list[Path], folder: Path) -> None:
    """Refuse a folder where results would replace pictures or each other."""
    if folder.exists() and folder.samefile(pictures[0].parent):
        raise OutputError(f"{folder} is the input folder itself", "give another output folder")
    stems = [_stem(path) for path in pictures]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise InputFileError(f"{pictures[0].parent} holds several pictures named {twice}", "rename all but one")


def _file_job(path: Path, targets: tuple[Path, ...]) -> Job:
    return Job(str(path), targets, partial(open_picture, path), partial(file_digest, path), "file")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; InputFileError where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputFileError(f"{path} can't be read: {error.strerror}", "check the path and its permissions") from error


def _capture_job(session: Session, capture: CaptureRecord, folder: Path) -> Job:
    def developed() -> Picture:
        # Development halves the Bayer lattice.
        return Picture(ArraySource(develop_capture(session, capture)), 2 * capture.pixel_size_um)

    return Job(
        f"capture {capture.index} of slide {capture.slide}",
        (folder / f"{capture.slide}-{capture.index:04d}.png",),
        developed,
        lambda: capture.sha256 if capture.cfa else capture.jpeg_sha256,
        "raw frame" if capture.cfa else "JPEG",
    )
