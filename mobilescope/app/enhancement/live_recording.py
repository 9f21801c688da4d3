"""Pictures of a live run on the disk: what came in and what was made of it, side by side, with how it was made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from mobilescope.app.pictures.folders import prepare_folder
from mobilescope.app.pictures.images import write_rgb
from mobilescope.enhance.live_values import LivePicture
from mobilescope.enhance.provenance import Provenance


class LiveRecorder:
    """Writes pairs ``<start>-<frame>-input.png`` and ``-enhanced.png`` into a folder.

    The names begin with the time of the run's start, so that no run replaces another's pictures. The input is cut to
    the region that the enhanced picture shows. Both carry their pixels' size where it is known, the enhanced one its
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
        self._start = time.strftime("%Y%m%d-%H%M%S")
        self._lock = Lock()
        self._count = 0

    def __call__(self, picture: LivePicture) -> Path:
        """Write a pair and return the enhanced picture's file; OutputError where it can't be written."""
        index = picture.frame.index
        paths = {kind: self.folder / f"{self._start}-{index:06d}-{kind}.png" for kind in ("input", "enhanced")}
        with self._lock:
            note = json.dumps(self._describe(picture).to_json())
            prepare_folder(self.folder)
            size_um = picture.frame.pixel_size_um
            write_rgb(paths["input"], picture.enhanced.region.of(picture.frame.pixels), pixel_size_um=size_um)
            write_rgb(paths["enhanced"], picture.enhanced.pixels, note=note, pixel_size_um=picture.enhanced_pixel_um)
            self._count += 1
        return paths["enhanced"]

    @property
    def count(self) -> int:
        """How many pairs were written."""
        with self._lock:
            return self._count
