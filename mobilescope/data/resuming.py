"""Going on with a session that is there: whether it may be, and what an earlier end left of it put right."""

from __future__ import annotations

from pathlib import Path

from mobilescope.core.errors import UserError
from mobilescope.core.progress import ProgressListener
from mobilescope.data import layout
from mobilescope.data.files import naming_write_failures, open_for_reading
from mobilescope.data.migration import migrate
from mobilescope.data.recovery import check_storage, clear_open_flags, is_open_flagged
from mobilescope.data.schema import SCHEMA_VERSION, SESSION_FORMAT, SessionHeader


def prepare_resume(path: Path, header: SessionHeader, on_progress: ProgressListener) -> bool:
    """Check that the file can be gone on with, and open it up after a kill; return whether there was one.

    Raises
    ------
    UserError
        It was begun with other slides, frame shapes or another instrument.
    InputFileError, NewerVersionError, OutputError, DiskSpaceError
        It is foreign, damaged or newer, or can't be brought up to date.
    """
    interrupted = is_open_flagged(path)
    with open_for_reading(path, SESSION_FORMAT, SCHEMA_VERSION, swmr=True) as file:
        difference = layout.read_header(file, path).difference(header)
        if difference:
            raise UserError(
                f"{path} was begun differently: {difference}",
                "give the same slides and instrument, or another file name",
            )
        if interrupted:
            check_storage(file, path)
    if not migrate(path, on_progress) and interrupted:
        with naming_write_failures(path):
            clear_open_flags(path)
    return interrupted
