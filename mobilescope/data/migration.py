"""Sessions of earlier versions brought up to date: copied whole into a new file, which then takes the old one's place.

At every instant one of the two stands under the session's name, so a process killed at any of them loses nothing.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import time
from pathlib import Path

from mobilescope.core.errors import DiskSpaceError, OutputError
from mobilescope.core.progress import Progress, ProgressListener, ignore_progress
from mobilescope.core.whole_files import replaced_when_written
from mobilescope.data.copying import SERIES, new_session
from mobilescope.data.files import naming_write_failures
from mobilescope.data.records import event_row, sealed
from mobilescope.data.schema import SCHEMA_VERSION
from mobilescope.data.session import Session


def backup_path(path: Path, version: int) -> Path:
    """Return the name under which a session stays as it was before it was brought up to date."""
    return path.with_name(f"{path.stem}.v{version}{path.suffix}")


def migrate(path: Path, on_progress: ProgressListener = ignore_progress) -> bool:
    """Bring a session up to this version; return whether it was of an earlier one. The caller holds its lock.

    Raises
    ------
    InputFileError, NewerVersionError
        It can't be read, or is damaged; nothing was changed.
    OutputError, DiskSpaceError
        The folder can't be written, or holds another file under the backup's name.
    """
    with Session.open(path) as session:
        version = session.schema_version
        if version >= SCHEMA_VERSION:
            return False
        backup = backup_path(path, version)
        if backup.exists() and not _same(backup, path):
            raise OutputError(
                f"{path} is of version {version}, and {backup}, where it would be kept, exists already", "move it away"
            )
        _check_room(path)
        with new_session(path, session.header, compress=session.is_compressed) as copy:
            counts = {name: session.count(name) for name in SERIES}
            done = 0
            for name in SERIES:
                for row, frame, jpeg in session.stored(name):
                    copy.add_image(name, frame, row, jpeg)
                    done += 1
                    on_progress(Progress(f"bring {path.name} up to date", done, sum(counts.values())))
            for row in session.stored_links():
                copy.add_link(row)
            for row in session.stored_events():
                copy.add_event(row)
            text = f"brought from version {version} to {SCHEMA_VERSION}; {backup.name} is the file as it was"
            copy.add_event(sealed(event_row(time.time(), "info", text)))
            with naming_write_failures(backup):
                _keep(path, backup)
    return True


def _keep(path: Path, backup: Path) -> None:
    """Give a file a second name, or, where the disk has no such thing, make a copy of it."""
    if backup.exists():
        return
    try:
        os.link(path, backup)
    except OSError:
        with replaced_when_written(backup) as temporary:
            shutil.copyfile(path, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())


def _same(backup: Path, path: Path) -> bool:
    return backup.samefile(path) or filecmp.cmp(backup, path, shallow=False)


def _check_room(path: Path) -> None:
    free, needed = shutil.disk_usage(path.parent).free, path.stat().st_size
    if free < needed:
        raise DiskSpaceError(
            f"{path} must be copied to be brought up to date, and {path.parent} has {free / 1e6:.0f} MB free of "
            f"{needed / 1e6:.0f} MB needed", "free some space, then run the same command again",
        )
