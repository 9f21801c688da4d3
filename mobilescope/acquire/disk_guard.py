"""Room on the disk for what a scan is going to store."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DiskGuard:
    """Compares the disk's free space with the frames to come.

    Parameters
    ----------
    folder : Path
        Where the session lies.
    frame_bytes : int
        What a frame takes at most.
    margin_bytes : int
        What must stay free beside them.
    """

    folder: Path
    frame_bytes: int
    margin_bytes: int

    def shortage(self, frames: int) -> str:
        """Return what is missing for so many frames, empty where there is room."""
        free = shutil.disk_usage(self.folder).free
        needed = frames * self.frame_bytes + self.margin_bytes
        if free >= needed:
            return ""
        noun = "frame" if frames == 1 else "frames"
        return (
            f"{self.folder} has {free / 1e6:.0f} MB free; {frames} {noun} take up to "
            f"{frames * self.frame_bytes / 1e6:.0f} MB and {self.margin_bytes / 1e6:.0f} MB stay free"
        )
