"""A folder of pictures as a live stream: in the order of their names, at a steady pace."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from mobilescope.core.errors import InputFileError
from mobilescope.core.pacing import Pace
from mobilescope.core.protocols import Frame
from mobilescope.imaging.colour import to_float, to_uint8
from mobilescope.imaging.pixel_sources import open_pixels

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


class FolderFrames:
    """Implements `FrameSource` over a folder's pictures; grey becomes RGB, 16 bits become 8.

    Parameters
    ----------
    frames_per_s : float or None
        Pace; None shows each picture when it is asked for.
    loop : bool
        Begin again after the last picture.
    pixel_size_um : float, optional
        Pixel pitch of the pictures, instead of what a TIFF states.
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
        """Return the picture that is due; None after the last.

        Raises
        ------
        InputFileError, InputImageError
            For one that `enhance` could not read either.
        """
        index = self._pace.wait_after(self._index)
        if index is None or (index >= len(self._paths) and not self._loop):
            return None
        self._index = index
        captured_s = time.monotonic()
        path = self._paths[index % len(self._paths)]
        source, told_um = open_pixels(path)
        pixels = source.read(0, 0, *source.shape)
        if pixels.dtype != np.uint8:
            pixels = to_uint8(to_float(pixels))
        return Frame(np.asarray(pixels, dtype=np.uint8), index, captured_s, self._pixel_size_um or told_um)

    def close(self) -> None:
        """End the stream."""
        self._pace.close()
