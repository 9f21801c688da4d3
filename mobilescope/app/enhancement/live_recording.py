"""Pictures of a live run on the disk: what came in and what was made of it, side by side, with how it was made."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from mobilescope.app.pictures.folders import prepare_folder
from mobilescope.app.pictures.images import write_rgb
from mobilescope.core.errors import MobilescopeError, OutputError
from mobilescope.core.whole_files import drop_abandoned, write_failure
from mobilescope.enhance.live_values import LivePicture
from mobilescope.enhance.provenance import Provenance


class LiveRecorder:
    """Writes pairs ``<start>-<frame>-input.png`` and ``-enhanced.png`` into a folder.

    The names begin with the time of the run's start and the number of its process, so that no run replaces another's
    pictures, or mixes its own among them; half a picture that a killed run left is deleted. The input is cut to the
    region that the enhanced picture shows. Both carry their pixels' size where it is known, the enhanced one its
    record.

    Parameters
    ----------
    folder : Path
    describe : callable
        Returns the record of how a picture was made.
    """

    def __init__(self, folder: Path, describe: Callable[[LivePicture], Provenance]) -> None:
        self.folder = folder
        self._describe = describe
        self._start = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        self._lock = Lock()
        self._written: set[int] = set()
        for half in folder.glob(".*-*.png.part"):
            drop_abandoned(half)

    def __call__(self, picture: LivePicture) -> Path:
        """Write a pair and return the enhanced picture's file; OutputError where it can't be written."""
        index = picture.frame.index
        paths = {kind: self.folder / f"{self._start}-{index:06d}-{kind}.png" for kind in ("input", "enhanced")}
        with self._lock:
            note = json.dumps(self._describe(picture).to_json())
            prepare_folder(self.folder)
            size_um = picture.frame.pixel_size_um
            write_rgb(paths["input"], picture.enhanced.region.of(picture.frame.pixels), pixel_size_um=size_um)
            try:
                write_rgb(
                    paths["enhanced"], picture.enhanced.pixels, note=note, pixel_size_um=picture.enhanced_pixel_um
                )
            except MobilescopeError:
                with suppress(OSError):  # the first failure is the one to tell
                    paths["input"].unlink()
                raise
            self._written.add(index)
        return paths["enhanced"]

    @property
    def count(self) -> int:
        """How many pairs were written; one that was written again counts once."""
        with self._lock:
            return len(self._written)


class Recording:
    """Takes a run's pictures as long as its folder does. Where that fails it stops for good, and the run goes on.

    Parameters
    ----------
    recorder : LiveRecorder
        Its folder is there.
    on_stop : callable
        Told once what happened and what to do, from the thread that records.
    """

    def __init__(self, recorder: LiveRecorder, on_stop: Callable[[str], None]) -> None:
        self._recorder, self._on_stop = recorder, on_stop
        self._place = _place(recorder.folder)
        self._stopped = ""

    def __call__(self, picture: LivePicture) -> None:
        """Write a pair, unless recording has stopped."""
        if self._stopped:
            return
        try:
            self._check_place()
            self._recorder(picture)
        except MobilescopeError as error:
            self._stop(error)
        except OSError as error:
            self._stop(write_failure(self._recorder.folder, error))

    @property
    def stopped(self) -> str:
        """What stopped it and what to do; empty while it goes on."""
        return self._stopped

    def _check_place(self) -> None:
        """Refuse a folder that was removed, or whose disk was: a new one of its name would lack the first pictures."""
        if _place(self._recorder.folder) != self._place:
            raise OutputError(
                f"the folder {self._recorder.folder} was removed, or its disk was",
                "look for the pictures recorded so far, and start again with a folder that stays",
            )

    def _stop(self, error: MobilescopeError) -> None:
        self._stopped = str(error)
        self._on_stop(self._stopped)


def _place(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another one of its name; None where there is none."""
    try:
        facts = folder.stat()
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino
