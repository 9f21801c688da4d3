"""A dataset: which pair files it is made of, which slide stands on which side, and which blank patches are left out.

It holds no pixels: pairs stay in their files, and patches are windows of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError, UserError
from mobilescope.data.files import naming_write_failures, open_for_reading, read_json, read_part, replaced_when_whole
from mobilescope.data.schema import CODEC

DATASET_FORMAT = "mobilescope-dataset"
DATASET_VERSION = 1
_CHUNK_ROWS = 65_536
_SPARE_FILES = 256

Role = Literal["training", "validation", "blind"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Member:
    """One pair file of a dataset.

    Attributes
    ----------
    file : str
        Its path, from the dataset's folder.
    sha256, size_bytes, identity : str, int, str
        Of the whole file; its length; SHA-256 of what the file says of itself, see `identity_of`.
    roles : dict of str
        The role of each of its slides; slides that are not named are left out.
    """

    file: str
    sha256: str
    size_bytes: int
    identity: str
    roles: dict[str, Role]


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a dataset file says.

    Attributes
    ----------
    members : tuple of Member
    patch_px, overlap : int, float
        Side of a patch in input pixels, even; share of it that neighbours have in common.
    dropped : ndarray, shape (n, 3), int32
        Blank training patches that are left out: number of the pair among all pairs of the dataset, first row and first
        column in input pixels.
    card : dict
        JSON-ready: what is in it, for people and for models' cards.
    """

    members: tuple[Member, ...]
    patch_px: int
    overlap: float
    dropped: NDArray[np.int32]
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides a training on it: files, split and patches. One made again has the same."""
        text = json.dumps([[asdict(member) for member in self.members], self.patch_px, self.overlap], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8") + self.dropped.astype("<i4").tobytes()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all; DiskSpaceError or OutputError where it can't be."""
        texts = {
            "card": json.dumps(self.card).encode("utf-8"),
            "members": json.dumps([asdict(member) for member in self.members]).encode("utf-8"),
        }
        with replaced_when_whole(path, DATASET_FORMAT, DATASET_VERSION) as new, naming_write_failures(path):
            new.claim(sum(len(text) for text in texts.values()) + self.dropped.nbytes + 12 * _CHUNK_ROWS)
            for name, text in texts.items():
                new.file[name] = np.bytes_(text)
            new.file.attrs.update({"patch_px": self.patch_px, "overlap": self.overlap})
            chunks = (min(_CHUNK_ROWS, max(1, len(self.dropped))), 3)
            new.file.create_dataset(
                "dropped", data=self.dropped.astype(np.int32), maxshape=(None, 3), chunks=chunks, **CODEC
            )
            new.file.flush()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a dataset file; InputFileError where it is missing, foreign or damaged."""
        file = open_for_reading(path, DATASET_FORMAT, DATASET_VERSION)
        with file:
            try:
                members = tuple(Member(**entry) for entry in read_json(file["members"]))
                return cls(
                    members, int(file.attrs["patch_px"]), float(file.attrs["overlap"]),
                    read_part(file["dropped"], ...), read_json(file["card"]),
                )
            except (KeyError, OSError, TypeError, ValueError) as error:
                raise InputFileError(f"{path} is damaged: {error}", "make the dataset again") from error


def identity_of(file: h5py.File) -> str:
    """Return a SHA-256 that names the state of an open pair file without reading its pixels."""
    digest = hashlib.sha256(bytes(file["provenance"][()]))
    digest.update(str(len(file["pairs"])).encode("ascii"))
    return digest.hexdigest()


def member_path(dataset: Path, member: Member) -> Path:
    """Return where a member stands."""
    return dataset.parent / member.file


def path_beside(dataset: Path, pairs: Path) -> str:
    """Return a pair file's path from the dataset's folder, so that both can move together."""
    return os.path.relpath(pairs.absolute(), dataset.absolute().parent)


def check_member(dataset: Path, member: Member, file: h5py.File, path: Path) -> None:
    """Refuse a pair file that is no longer the one that the dataset was made of."""
    if path.stat().st_size != member.size_bytes or identity_of(file) != member.identity:
        raise InputFileError(
            f"{path} is no longer what the dataset {dataset} was made of", "make the dataset again"
        )


def allow_open_files(count: int) -> None:
    """Let this process hold so many files open beside those it has, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = len(list(Path("/proc/self/fd").iterdir())) + count + _SPARE_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def member_problems(dataset: Path, members: Sequence[Member]) -> list[str]:
    """Return which files of a dataset are missing or are no longer what they were, by their whole content."""
    problems = []
    for member in members:
        path = member_path(dataset, member)
        if not path.is_file():
            problems.append(f"{path} is not there")
            continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != member.sha256:
                problems.append(f"{path} is no longer what the dataset was made of")
    return problems


def joined_provenance(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the provenances of pair files that were made alike say together; what differs is joined or left out.

    A slide of the same name in two sessions keeps both stains.
    """
    first = dict(parts[0])
    joined = {key: value for key, value in first.items() if all(part.get(key) == value for part in parts)}
    for key in ("session", "session_digest"):
        joined.pop(key, None)
    joined["instrument"] = " + ".join(dict.fromkeys(str(part.get("instrument", "unknown")) for part in parts))
    joined["input"] = joined_input(parts)
    half_pitches_um = [part["phone_half_pitch_um"] for part in parts if "phone_half_pitch_um" in part]
    if half_pitches_um:
        joined["phone_half_pitch_um"] = max(half_pitches_um)
    stains: dict[str, dict[str, None]] = {}
    for part in parts:
        for slide, stain in (part.get("stains") or {}).items():
            stains.setdefault(slide, {})[str(stain or "unknown")] = None
    joined["stains"] = {slide: " + ".join(told) for slide, told in stains.items()}
    captures: dict[str, list[str]] = {}
    for part in parts:
        for slide, digests in (part.get("captures_sha256") or {}).items():
            captures.setdefault(slide, []).extend(digests)
    joined["captures_sha256"] = captures
    # Pixel sizes may differ by what two calibrations differ.
    for key in ("factor", "warp", "label_pixel_um", "input_pixel_um"):
        if key in first:
            joined[key] = first[key]
    return joined


def joined_input(parts: Sequence[Mapping[str, Any]]) -> str:
    """Return what the inputs of pair files are: raw, jpeg, or both."""
    return " + ".join(dict.fromkeys(kind for part in parts for kind in str(part.get("input", "raw")).split(" + ")))


def role_of(text: str) -> tuple[str, Role | None]:
    """Return the slide and the role that ``SLIDE=ROLE`` names; None for ``none``, which leaves the slide out.

    Raises
    ------
    UserError
        Another form or role.
    """
    slide, equals, name = text.rpartition("=")
    role = next((each for each in ROLES if each == name), None)
    if not equals or not slide or (role is None and name != "none"):
        raise UserError(f"{text!r} names no slide and role", f"write SLIDE=ROLE; roles are {', '.join(ROLES)} and none")
    return slide, role
