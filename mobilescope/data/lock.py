"""One writer per session: a lock file beside it that the operating system frees when the writer dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Self

from mobilescope.core.errors import OutputError, SessionLockedError


def lock_path(path: Path) -> Path:
    """Return the lock file's path for a session file."""
    return path.with_name(path.name + ".lock")


class WriterLock:
    """Held from `acquire` to `release`, or until the process ends however it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, session: Path) -> Self:
        """Take the lock of a session file.

        Raises
        ------
        SessionLockedError
            Another writer holds it, in this process or another.
        OutputError
            The folder is missing or can't be written, or its file system has no locks.
        """
        path = lock_path(session)
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise OutputError(
                    f"{session.parent} can't be written ({error.strerror})", "give a folder that exists and is writable"
                ) from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                os.close(descriptor)
                by = f" by process {holder}" if holder else ""
                raise SessionLockedError(f"{session} is being written{by}", "wait for it or stop it") from error
            except OSError as error:
                os.close(descriptor)
                path.unlink(missing_ok=True)
                raise OutputError(
                    f"the disk of {session.parent} has no file locks ({error.strerror}): nothing would keep two "
                    f"programs from writing {session.name} at once",
                    "write to a disk of this computer, and copy the session afterwards",
                ) from error
            # The last holder may have removed this very file between our open and our lock.
            if _is_same_file(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                return cls(path, descriptor)
            os.close(descriptor)

    def release(self) -> None:
        """Free the lock and remove its file."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def is_being_written(session: Path) -> bool:
    """Tell whether a live writer holds the session's lock."""
    try:
        descriptor = os.open(lock_path(session), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # without locks on this disk, no writer of ours can be at work there
        return False
    finally:
        os.close(descriptor)
    return False


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
