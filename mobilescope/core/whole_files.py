"""Files that are whole or not there: written under a temporary name, which no other writer shares, and then renamed."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mobilescope.core.errors import DiskSpaceError, MobilescopeError, OutputError

# More writers of one file than there ever are.
_MOST_AT_ONCE = 20
_LOCKED_BYTE = 2**62
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Temporary:
    """An empty file, or folder, that is this writer's own, and a descriptor of it."""

    path: Path
    descriptor: int


@contextmanager
def replaced_when_written(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes its name if the block ends well and is gone otherwise.

    What stood there stays whole until then. Of several writers at once, the last one's file stays.

    Raises
    ------
    DiskSpaceError, OutputError
        The file can't be written.
    """
    try:
        with own_temporary(path) as temporary:
            yield temporary.path
            temporary.path.replace(path)
    except OSError as error:
        raise write_failure(path, error) from error


@contextmanager
def folder_replaced_when_written(path: Path) -> Iterator[Path]:
    """Do for a folder what `replaced_when_written` does for a file; for a moment, none stands there."""
    try:
        with own_temporary(path, folder=True) as temporary:
            yield temporary.path
            _put_folder(temporary.path, path)
    except OSError as error:
        raise write_failure(path, error) from error


@contextmanager
def own_temporary(path: Path, *, mode: int = 0o666, folder: bool = False) -> Iterator[Temporary]:
    """Yield an empty file beside ``path``, under a name of its own; what still has that name at the end is deleted.

    A lock tells which names are in use: what a killed writer left behind is taken over by the next one. OSError comes
    through.

    Parameters
    ----------
    mode : int
        Permissions of a new file, less the user's mask.
    folder : bool
        Make a folder instead.
    """
    temporary = _claimed(path, mode, folder=folder)
    try:
        yield temporary
    finally:
        # Once it was renamed, the name may be another writer's.
        if _is_still(temporary.path, temporary.descriptor):
            if folder:
                shutil.rmtree(temporary.path, ignore_errors=True)
            else:
                temporary.path.unlink()
        os.close(temporary.descriptor)  # which lets the lock go


def is_temporary(path: Path) -> bool:
    """Tell whether a path has a name as `own_temporary` gives them."""
    return path.name.startswith(".") and path.name.endswith(".part")


def drop_abandoned(path: Path) -> None:
    """Delete a temporary file that a killed writer left; one that is being written stays."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _lock(descriptor, folder=False)
            if _is_still(path, descriptor):
                path.unlink()
        finally:
            os.close(descriptor)


def write_failure(path: Path, error: Exception) -> MobilescopeError:
    """Return the error to raise for a failed write: a full disk, or whatever else the system said."""
    if is_disk_full(error):
        return DiskSpaceError(f"the disk holding {path} is full", "free some space, then run the same command again")
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(f"{path} can't be written ({reason})", "check the folder and its permissions")


def is_disk_full(error: Exception) -> bool:
    """Tell whether an error, raised by the system or by HDF5, says that there is no room."""
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    return any(f"errno = {number}," in str(error) for number in _NO_SPACE)


def _claimed(path: Path, mode: int, *, folder: bool) -> Temporary:
    """Take the first name that no living writer holds; one of its own where the disk has no locks."""
    for number in range(1, _MOST_AT_ONCE + 1):
        own = path.with_name(f".{path.name}.part" if number == 1 else f".{path.name}.{number}.part")
        try:
            descriptor = _opened(own, mode, folder=folder)
        except PermissionError:
            if own.exists():  # another user's
                continue
            raise
        try:
            _lock(descriptor, folder=folder)
            if _is_still(own, descriptor):
                _empty(own, descriptor, folder=folder)
                return Temporary(own, descriptor)
        except (BlockingIOError, PermissionError):
            pass
        except OSError:  # nobody writes under this name here
            os.close(descriptor)
            _drop_empty(own, folder=folder)
            break
        os.close(descriptor)  # another's; or its holder ended between our open and our lock
    own = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    return Temporary(own, _opened(own, mode, folder=folder))


def _lock(descriptor: int, *, folder: bool) -> None:
    """Lock for as long as the descriptor is open, against other threads too; OSError where that can't be.

    On a Windows share a lock keeps everybody from writing what it covers, and the file is written through descriptors
    of others: so one byte is locked that no file reaches.
    """
    if folder:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    if sys.platform != "linux":
        raise OSError(errno.ENOLCK, "locks of a descriptor's own are Linux's alone")
    request = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _LOCKED_BYTE, 1, 0)  # struct flock
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)


def _opened(path: Path, mode: int, *, folder: bool) -> int:
    if not folder:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    path.mkdir(exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _empty(path: Path, descriptor: int, *, folder: bool) -> None:
    if not folder:
        os.ftruncate(descriptor, 0)
        return
    for left in path.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _drop_empty(path: Path, *, folder: bool) -> None:
    with suppress(OSError):
        if folder:
            path.rmdir()
        elif path.stat().st_size == 0:
            path.unlink()


def _put_folder(temporary: Path, path: Path) -> None:
    """Rename a folder to a name that another one may have, or get at this moment."""
    while True:
        try:
            temporary.replace(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
        try:
            path.rename(aside)
        except FileNotFoundError:  # another writer was first
            continue
        shutil.rmtree(aside)
