"""File names of phone pictures: which count, which belong together, and which are not to be touched.

Names come from phones and sync apps, so nothing is taken for granted of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

RAW_SUFFIXES = (".dng",)
JPEG_SUFFIXES = (".jpg", ".jpeg")
DEVELOPED_SUFFIXES = (".tif", ".tiff", ".png")
# What phones save as well, and nothing here reads.
FOREIGN_SUFFIXES = (".heic", ".heif", ".avif", ".webp", ".jxl", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf")

_MOST_LETTERS = 200
# What copying programs call a file until it is whole; those that append a suffix are no picture's name anyway.
_TEMPORARY = re.compile(r"^(\.|~syncthing~|~\$)|\.(pending|trashed)-|(\.partial|\.part|\.tmp|\.!sync)\b", re.IGNORECASE)
# PXL_20261129.RAW-02.ORIGINAL.dng stands beside PXL_20261129.RAW-01.COVER.jpg; others write _RAW or -dng.
_DECORATION = re.compile(r"(\.RAW-\d+(\.[A-Z]+)?|[._-](RAW|DNG|JPE?G|COVER|ORIGINAL))+$", re.IGNORECASE)


@dataclass(frozen=True)
class PictureNames:
    """Names of one picture's files; one of both may be missing.

    ``by_name`` is false where the names alone don't say that both belong together.
    """

    dng: str | None
    jpeg: str | None
    by_name: bool = True

    @property
    def shown(self) -> str:
        """The names for people."""
        return " + ".join(name for name in (self.dng, self.jpeg) if name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are there."""
        return tuple(name for name in (self.dng, self.jpeg) if name)


def suffix_of(name: str) -> str:
    """Return a name's suffix in small letters."""
    return PurePosixPath(name).suffix.lower()


def foreign_reason(name: str) -> str:
    """Return why a picture of a kind that nothing here reads is left out, empty for other names."""
    suffix = suffix_of(name)
    return f"{suffix[1:].upper()} is not read: set the camera to DNG or JPEG" if suffix in FOREIGN_SUFFIXES else ""


def is_safe(name: str) -> bool:
    """Tell whether a name is one file's in a folder, and can be shown: no way elsewhere, no control characters."""
    return (
        0 < len(name) <= _MOST_LETTERS and name.isprintable() and "/" not in name and "\\" not in name
        and name not in (".", "..")
    )


def is_temporary(name: str) -> bool:
    """Tell whether a name is one of those under which files are kept while they are written."""
    return _TEMPORARY.search(name) is not None


def is_picture(name: str, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a name is that of a finished picture with one of the suffixes."""
    return suffix_of(name) in suffixes and is_safe(name) and not is_temporary(name)


def pair_key(name: str) -> str:
    """Return what the names of one picture's files have in common."""
    return _DECORATION.sub("", PurePosixPath(name).stem).lower()


def paired_by_name(names: Iterable[str]) -> list[PictureNames]:
    """Return the pictures that names stand for, in the order of the names; a file without a partner stands alone."""
    groups: dict[str, dict[str, list[str]]] = {}
    for name in sorted(names):
        kind = "dng" if suffix_of(name) in RAW_SUFFIXES else "jpeg"
        groups.setdefault(pair_key(name), {"dng": [], "jpeg": []})[kind].append(name)
    found = []
    for group in groups.values():
        raws, jpegs = group["dng"], group["jpeg"]
        if len(raws) == len(jpegs) == 1:
            found.append(PictureNames(raws[0], jpegs[0]))
            continue
        # Several of a kind have one stem: those whose whole stems agree belong together.
        left = list(jpegs)
        for raw in raws:
            stem = PurePosixPath(raw).stem.lower()
            beside = next((name for name in left if PurePosixPath(name).stem.lower() == stem), None)
            if beside is not None:
                left.remove(beside)
            found.append(PictureNames(raw, beside))
        found += [PictureNames(None, name) for name in left]
    return found
