"""A folder in which a phone's pictures arrive, by cable, adb pull or a sync app."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection
from pathlib import Path

from mobilescope.core.errors import DeviceError, UserError
from mobilescope.core.phone_config import Pictures
from mobilescope.core.phone_picture import PhonePicture
from mobilescope.core.progress import StopToken
from mobilescope.devices.phones.arrivals import Arrivals, Stamp
from mobilescope.devices.phones.names import PictureNames
from mobilescope.imaging.capture_files import read_capture_files


class FolderPictures:
    """Implements `PictureSource` over a folder.

    Parameters
    ----------
    tell : callable
        Shows a line to the person.
    settle_s : float
        How long a file must not grow to count as whole.
    """

    waits_for_person = True

    def __init__(
        self, folder: Path, *, pictures: Pictures, settle_s: float, patience_s: float, tell: Callable[[str], None]
    ) -> None:
        self._folder, self._patience_s = folder, patience_s
        self._arrivals = Arrivals(
            lambda: look(folder), self._read, pictures=pictures, settle_s=settle_s, tell=tell, where=str(folder),
            pause_s=min(0.2, settle_s / 2),
        )

    @property
    def name(self) -> str:
        """The folder."""
        return f"phone through folder {self._folder.name}"

    def shape(self) -> tuple[int, int]:
        """Return the frame of the newest picture that lies in the folder."""
        newest = self._arrivals.newest()
        if newest is None:
            raise UserError(
                f"{self._folder} holds no picture yet to learn the phone's frame from",
                "take one picture into it, or give frame_rows and frame_columns in the instrument file's [phone]",
            )
        return newest.shape

    def prepare(self) -> None:
        """Leave aside what lies in the folder now."""
        self._arrivals.mark_old()

    def take(self, stop: StopToken, known: Collection[str]) -> PhonePicture:
        """Return the next picture that arrives."""
        return self._arrivals.wait(stop, self._patience_s, known)

    def close(self) -> None:
        """Nothing is held."""

    def _read(self, names: PictureNames) -> PhonePicture:
        dng, jpeg = (None if name is None else self._folder / name for name in (names.dng, names.jpeg))
        return read_capture_files(dng, jpeg, by_name=names.by_name)


def look(folder: Path) -> dict[str, Stamp]:
    """Return a folder's regular files; links are left alone, since they may lead anywhere.

    Raises
    ------
    DeviceError
        The folder is gone.
    """
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    facts = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(facts.st_mode):
                    found[entry.name] = Stamp(facts.st_size, facts.st_mtime)
    except OSError as error:
        raise DeviceError(
            f"the folder {folder} can't be read ({error.strerror})", "check the path, and that its disk is there"
        ) from error
    return found
