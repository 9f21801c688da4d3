"""Output folders: made, checked for permission and room before any work starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from mobilescope.core.errors import DiskSpaceError, OutputError


def prepare_file(path: Path, what: str = "", endings: Sequence[str] = ()) -> None:
    """Make the folder of an output file and check that the file can be written; OutputError if not.

    Where ``endings`` are given, another one is refused: a file of another kind may lie there, and would be replaced.
    ``what`` says what the file will be.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder", "give a file name inside it")
    if endings and path.suffix.lower() not in endings:
        raise OutputError(f"{path} is no name for {what}", f"give a name that ends in {' or '.join(endings)}")
    prepare_folder(path.parent)


def prepare_folder(folder: Path, *, needed_bytes: int = 0) -> None:
    """Make an output folder and check that it can be written and has room; OutputError or DiskSpaceError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        read_only, free = os.statvfs(folder).f_flag & os.ST_RDONLY, shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputError(f"the folder {folder} can't be made: {error.strerror}", "choose another place") from error
    if read_only:
        raise OutputError(f"the folder {folder} lies on a disk that can only be read", "choose another place")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"the folder {folder} may not be written", "choose another place or change its permissions")
    if free < needed_bytes:
        raise DiskSpaceError(
            f"{folder} has {free / 1e9:.1f} GB free and {needed_bytes / 1e9:.1f} GB are needed",
            "free some space or choose another place",
        )


def prepare_session(path: Path) -> None:
    """Make a session's folder and check that a session can be written there, or gone on with; OutputError if not."""
    prepare_file(path)
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(
            f"the session {path} may only be read", "change its permissions, or choose another place with --session"
        )


_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "fuse.sshfs", "fuse.s3fs", "glusterfs", "lustre", "beegfs")


def network_disk(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the kind of network disk that a path lies on, empty for a local one or where the system doesn't say.

    Parameters
    ----------
    mounts : Path
        Linux's list of what is mounted where, see proc_pid_mountinfo(5).
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    place = path.absolute().parent.resolve()
    for line in lines:
        left, _, right = line.partition(" - ")
        if len(left.split()) < 5 or not right:
            continue
        point = Path(left.split()[4].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split()[0]
    return kind if kind.startswith(_NETWORK) else ""
