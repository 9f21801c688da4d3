"""A folder of pictures as a live stream: in the order of their names, at a steady pace."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from mobilescope.core.errors import InputFileError
from mobilescope.core.pacing import Pace
from mobilescope.core.protocols import Frame

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


class FolderFrames:
    """Implements `FrameSource` over a folder's pictures; grey becomes RGB, 16 bits become 8.

    Parameters
    ----------
    frames_per_s : float or None
        Pace; None shows each picture when it is asked for.
    loop : bool
        Begin again after the last picture.
    """

    def __init__(
        self, folder: Path, *, frames_per_s: float | None, loop: bool = False, pixel_size_um: float | None = None
    ) -> None:
        if not folder.is_dir():
            raise InputFileError(f"there is no folder {folder}", "check the path")
        self._paths = sorted(
            path for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
        if not self._paths:
            raise InputFileError(f"{folder} holds no pictures", f"their names end in {', '.join(SUFFIXES)}")
        self._folder = folder
        self._loop = loop
        self._pixel_size_um = pixel_size_um
        self._pace = Pace(None if frames_per_s is None else 1 / frames_per_s)
        self._index = -1
        self.on_demand = frames_per_s is None

    @property
    def name(self) -> str:
        """The folder and how many pictures it holds."""
        return f"folder {self._folder} ({len(self._paths)} pictures)"

    def read(self) -> Frame | None:
        """Return the picture that is due; None after the last; InputFileError for one that can't be read."""
        index = self._pace.wait_after(self._index)
        if index is None or (index >= len(self._paths) and not self._loop):
            return None
        self._index = index
        captured_s = time.monotonic()
        path = self._paths[index % len(self._paths)]
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise InputFileError(f"{path} is not an image, or it is damaged", "remove it from the folder")
        pixels = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        return Frame(pixels, index, captured_s, self._pixel_size_um)

    def close(self) -> None:
        """End the stream."""
        self._pace.close()
