"""Folders of phone pictures taken elsewhere: which files are pictures or copies, which belong together, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mobilescope.app.mosaics.tile_folders import natural_key
from mobilescope.core.errors import InputFileError
from mobilescope.core.phone_picture import PhonePicture
from mobilescope.core.progress import Progress, ProgressListener, StopToken
from mobilescope.devices.phones.folder_pictures import look
from mobilescope.devices.phones.names import (
    DEVELOPED_SUFFIXES,
    FOREIGN_SUFFIXES,
    JPEG_SUFFIXES,
    RAW_SUFFIXES,
    PictureNames,
    foreign_reason,
    is_safe,
    is_temporary,
    paired_by_name,
    suffix_of,
)
from mobilescope.imaging.capture_files import developed_picture, file_digest, read_capture_files, shown_name
from mobilescope.imaging.exif import CameraNotes, best_timed, camera_notes, seconds_apart

_SAME_MOMENT_S = 1.0


@dataclass(frozen=True)
class FoundPicture:
    """One picture of a folder, not yet read; ``time_s`` is when it was taken, ``time_from`` what tells so.

    ``digests`` are the SHA-256 of its files.
    """

    dng: Path | None
    jpeg: Path | None
    developed: Path | None
    digests: dict[Path, str]
    time_s: float
    time_from: str

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are there."""
        return tuple(path for path in (self.dng, self.jpeg, self.developed) if path is not None)

    @property
    def shown(self) -> str:
        """The files' names for people."""
        return " + ".join(shown_name(path.name) for path in self.files)

    def read(self) -> PhonePicture:
        """Read the files; InputFileError or InputImageError names one that can't be used."""
        if self.developed is not None:
            return developed_picture(self.developed)
        return read_capture_files(self.dng, self.jpeg)


@dataclass(frozen=True)
class Skipped:
    """A file that is left out, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Survey:
    """What a folder holds: pictures in the order of their time, copies with the file they equal, what can't be used."""

    pictures: tuple[FoundPicture, ...]
    duplicates: tuple[tuple[str, str], ...]
    skipped: tuple[Skipped, ...]


def survey(folder: Path, *, on_progress: ProgressListener, stop: StopToken) -> Survey:
    """Look through a folder, not into its folders.

    Raises
    ------
    InputFileError
        There is no such folder, or no picture in it.
    """
    if folder.is_file():
        raise InputFileError(f"{folder} is a file", "give the folder that it lies in")
    if not folder.is_dir():
        raise InputFileError(f"there is no folder {folder}", "check the path")
    known = RAW_SUFFIXES + JPEG_SUFFIXES + DEVELOPED_SUFFIXES + FOREIGN_SUFFIXES
    there = look(folder)
    names = sorted((name for name in there if suffix_of(name) in known and not name.startswith(".")), key=natural_key)
    skipped: list[Skipped] = []
    alike: dict[str, list[str]] = {}
    for done, name in enumerate(names, start=1):
        stop.raise_if_requested("ingesting")
        reason = _unusable(name, there[name].size)
        if reason:
            skipped.append(Skipped(shown_name(name), reason))
            continue
        try:
            alike.setdefault(file_digest(folder / name), []).append(name)
        except InputFileError as error:
            skipped.append(Skipped(shown_name(name), error.cause))
        on_progress(Progress("look", done, len(names)))
    if not names:
        read = RAW_SUFFIXES + JPEG_SUFFIXES + DEVELOPED_SUFFIXES
        raise InputFileError(f"{folder} holds no picture", f"their names end in {', '.join(read)}")
    digests, duplicates = _originals(alike)
    apart = [name for name in digests if suffix_of(name) in DEVELOPED_SUFFIXES]
    found = [_found(folder, PictureNames(None, None), digests, there[name].changed, name) for name in apart]
    pairs = _paired(folder, [name for name in digests if name not in set(apart)])
    found += [_found(folder, pair, digests, there[pair.names[0]].changed) for pair in pairs]
    found.sort(key=lambda picture: (picture.time_s, natural_key(picture.files[0].name)))
    return Survey(tuple(found), tuple(duplicates), tuple(skipped))


def _originals(alike: dict[str, list[str]]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the digest of each file that is no copy, and the copies with what they are copies of.

    Of files with the same bytes, the original is the one that has a partner, or the plainest name.
    """
    paired = {name for pair in paired_by_name(_camera_files(alike)) if pair.dng and pair.jpeg for name in pair.names}
    digests: dict[str, str] = {}
    duplicates: list[tuple[str, str]] = []
    for digest, names in alike.items():
        original, *copies = sorted(names, key=lambda name: (name not in paired, len(name), natural_key(name)))
        digests[original] = digest
        duplicates += [(shown_name(copy), shown_name(original)) for copy in copies]
    return digests, duplicates


def _camera_files(alike: dict[str, list[str]]) -> list[str]:
    return [name for names in alike.values() for name in names if suffix_of(name) not in DEVELOPED_SUFFIXES]


def _unusable(name: str, size: int) -> str:
    """Return why a file is not even looked into, empty where it is."""
    if not is_safe(name):
        return "its name has characters that no picture's name needs"
    if is_temporary(name):
        return "its name is that of a file which is still being written"
    return foreign_reason(name) or ("" if size else "it is empty")


def _paired(folder: Path, names: Iterable[str]) -> list[PictureNames]:
    """Return raw pictures with their JPEGs: by name, and those left over by the moment at which they were taken."""
    pairs = paired_by_name(names)
    raws = {pair.dng: camera_notes(folder / pair.dng) for pair in pairs if pair.dng and not pair.jpeg}
    jpegs = {pair.jpeg: camera_notes(folder / pair.jpeg) for pair in pairs if pair.jpeg and not pair.dng}
    joined = [pair for pair in pairs if pair.dng and pair.jpeg]
    for raw, notes in raws.items():
        partner = _only_near(notes, jpegs)
        if partner is not None and _only_near(jpegs[partner], raws) == raw:
            joined.append(PictureNames(raw, partner))
            del jpegs[partner]
        else:
            joined.append(PictureNames(raw, None))
    return joined + [PictureNames(None, jpeg) for jpeg in jpegs]


def _only_near(notes: CameraNotes, others: dict[str, CameraNotes]) -> str | None:
    """Return the one file that was taken at the moment of another, None where there is none or more."""
    apart_s = {name: seconds_apart(notes, each) for name, each in others.items()}
    near = [name for name, apart in apart_s.items() if apart is not None and apart <= _SAME_MOMENT_S]
    return near[0] if len(near) == 1 else None


def _found(
    folder: Path, pair: PictureNames, digests: dict[str, str], changed_s: float, developed: str | None = None
) -> FoundPicture:
    dng, jpeg, other = (None if name is None else folder / name for name in (pair.dng, pair.jpeg, developed))
    files = [path for path in (dng, jpeg, other) if path is not None]
    told_s = best_timed(*map(camera_notes, files)).captured_s
    return FoundPicture(
        dng, jpeg, other, {path: digests[path.name] for path in files},
        changed_s if told_s is None else told_s, "file date" if told_s is None else "camera",
    )
