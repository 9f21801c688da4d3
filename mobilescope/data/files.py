"""Opening and replacing this software's HDF5 files, with every failure named for the user."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from mobilescope.core.errors import ForeignFileError, InputFileError, MobilescopeError, NewerVersionError
from mobilescope.core.whole_files import own_temporary, write_failure
from mobilescope.data.lock import is_being_written
from mobilescope.data.recovery import read_superblock
from mobilescope.data.swmr import open_swmr_reading

# HDF5 1.10 is the oldest format that can be read while written, and older tools can open it.
LIBRARY_BOUNDS = ("v110", "v110")
# Room claimed beside a payload for table chunks, rounding to chunks and HDF5's own bookkeeping.
_OVERHEAD_BYTES = 1024**2
# What a zip archive begins with; torch writes models as such.
_ARCHIVE = b"PK\x03\x04"


def open_for_reading(path: Path, file_format: str, version: int, *, swmr: bool = False) -> h5py.File:
    """Open one of this software's files.

    Parameters
    ----------
    file_format : str
        The name that the file's attribute ``format`` must have.
    version : int
        The newest ``schema_version`` that the caller understands.
    swmr : bool
        Allow that the file is being written, or was when its writer was killed.

    Raises
    ------
    InputFileError
        Missing, truncated, foreign, damaged, or marked as open for writing while ``swmr`` is false.
    NewerVersionError
        Written by a newer version of this software.
    """
    written = read_superblock(path).flags != 0 and is_being_written(path)
    try:
        # HDF5's own locks fail on some network drives; the session's lock file stands in for them.
        file = (
            open_swmr_reading(path, written=written) if swmr
            else h5py.File(path, "r", libver=LIBRARY_BOUNDS, locking=False)
        )
    except (OSError, RuntimeError) as error:
        raise InputFileError(f"{path} can't be opened: {error}", "copy it again or restore a backup") from error
    try:
        check_format(file, path, file_format, version)
    except BaseException:
        file.close()
        raise
    return file


def file_format(path: Path) -> str:
    """Return the format that a file names itself, as `open_for_reading` compares it; empty where it names none."""
    try:
        with open_swmr_reading(path, written=False) as file:
            found = file.attrs.get("format", "")
    except (OSError, RuntimeError, KeyError):
        return ""
    return found.decode() if isinstance(found, bytes) else str(found)


def looks_like_model(path: Path) -> bool:
    """Return whether a file is named as a model is, or begins as one does, with a zip archive's first bytes."""
    if path.suffix.lower() == ".pt":
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_ARCHIVE)) == _ARCHIVE
    except OSError:
        return False


def check_format(file: h5py.File, path: Path, file_format: str, version: int) -> None:
    """Refuse a file of another format or of a newer version."""
    try:
        found, found_version = file.attrs.get("format"), int(file.attrs.get("schema_version", -1))
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputFileError(f"{path} is damaged: {error}", "restore it from a copy") from error
    if found is None or found_version < 0:
        raise ForeignFileError(
            f"{path} is HDF5, but mobilescope did not write it", "give a file that mobilescope wrote"
        )
    name = found.decode() if isinstance(found, bytes) else str(found)
    if name != file_format:
        raise ForeignFileError(f"{path} is a {name} file, not a {file_format} file", f"give a {file_format} file")
    if found_version > version:
        raise NewerVersionError(
            f"{path} has format version {found_version}, this software reads up to {version}",
            "update mobilescope",
        )


def file_state(path: Path) -> tuple[Any, ...]:
    """Return what differs once a file was written anew: path, inode, size and time; the path alone of one not there."""
    try:
        facts = path.stat()
    except OSError:
        return (path,)
    return path, facts.st_ino, facts.st_size, facts.st_mtime_ns


def stored(parent: h5py.Group, name: str, remedy: str) -> h5py.Dataset:
    """Return a dataset; one that is missing or can't be opened is an InputFileError naming file and dataset."""
    try:
        dataset = parent[name]
    except (KeyError, OSError, RuntimeError) as error:
        raise InputFileError(f"{parent.file.filename} is damaged: {parent.name}/{name} is missing", remedy) from error
    if not isinstance(dataset, h5py.Dataset):
        raise InputFileError(f"{parent.file.filename} is damaged: {dataset.name} holds no data", remedy)
    return dataset


def read_part(dataset: h5py.Dataset, index: Any, remedy: str = "restore it from a copy") -> NDArray[Any]:
    """Read ``dataset[index]``; bytes that can't be read or unpacked are an InputFileError naming file and dataset."""
    try:
        data: NDArray[Any] = dataset[index]
    except (OSError, RuntimeError, IndexError, ValueError) as error:
        raise InputFileError(
            f"{dataset.file.filename} is damaged: {dataset.name} can't be read: {error}", remedy
        ) from error
    return data


def mark_format(file: h5py.File, file_format: str, version: int) -> None:
    """Write what `check_format` reads."""
    file.attrs["format"] = file_format.encode("ascii")
    file.attrs["schema_version"] = version


@dataclass(frozen=True)
class PartialFile:
    """A new file under its temporary name. Before each write, `claim` the room that it can take at most."""

    path: Path
    file: h5py.File
    descriptor: int

    def claim(self, payload_bytes: int) -> None:
        """See `claim_room`."""
        claim_room(self.path, self.descriptor, self.file, payload_bytes)


def claim_room(path: Path, descriptor: int, file: h5py.File, payload_bytes: int) -> None:
    """Have the disk set aside room for a payload and the bookkeeping it brings.

    HDF5 that meets a full disk loses data without a word, or crashes; so it must never meet one. What was written
    before must be flushed, since only flushed data have their place in the file.

    Parameters
    ----------
    descriptor : int
        An own descriptor of the file, open for writing.

    Raises
    ------
    DiskSpaceError, OutputError
        There is no room, or the file can't be written; nothing was stored.
    """
    try:
        os.posix_fallocate(descriptor, file.id.get_filesize(), payload_bytes + _OVERHEAD_BYTES)
    except OSError as error:
        raise write_failure(path, error) from error


def give_back_room(path: Path, descriptor: int) -> None:
    """Cut room claimed but not used off a file that HDF5 has closed; one that is still open is left as it is."""
    superblock = read_superblock(path)
    if superblock.flags == 0:
        os.ftruncate(descriptor, superblock.end_of_file)


def stored_bytes(dataset: h5py.Dataset) -> int:
    """Return what a chunked dataset takes in the file at most: whole chunks, not compressed."""
    parts = zip(dataset.shape, dataset.chunks, strict=True)
    return math.prod(-(-side // chunk) * chunk for side, chunk in parts) * int(dataset.dtype.itemsize)


@contextlib.contextmanager
def replaced_when_whole(path: Path, file_format: str, version: int) -> Iterator[PartialFile]:
    """Yield a new file under a temporary name; it takes the name ``path`` only if the block ends without an error.

    Whatever stood under ``path`` stays until then, so a reader never sees half a file.

    Raises
    ------
    OutputError, DiskSpaceError
        The folder can't be written, or the disk is full.
    """
    with contextlib.ExitStack() as stack:
        with naming_write_failures(path):
            temporary = stack.enter_context(own_temporary(path))
            partial, descriptor = temporary.path, temporary.descriptor
            os.posix_fallocate(descriptor, 0, _OVERHEAD_BYTES)
            file = h5py.File(partial, "w", libver=LIBRARY_BOUNDS, locking=False)
        new = PartialFile(path, file, descriptor)
        try:
            new.claim(0)
            mark_format(file, file_format, version)
            file.flush()
            yield new
            new.claim(0)
        except BaseException as failure:
            try:
                file.close()
            except (OSError, RuntimeError) as second:
                failure.add_note(f"closing {partial} failed as well: {second}")
            raise
        with naming_write_failures(path):
            file.close()
            give_back_room(partial, descriptor)
            os.fsync(descriptor)
            partial.replace(path)
            _sync_folder(path.parent)


@contextlib.contextmanager
def naming_write_failures(path: Path) -> Iterator[None]:
    """Turn failures of writing ``path`` into DiskSpaceError or OutputError."""
    try:
        yield
    except MobilescopeError:
        raise
    except (OSError, RuntimeError) as error:
        raise write_failure(path, error) from error


def read_json(dataset: h5py.Dataset) -> Any:
    """Return the JSON kept as text in a scalar dataset."""
    return json.loads(bytes(dataset[()]))


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
