"""A small picture of a scan while it grows, made by a process of its own that the scan never waits for.

The process reads the session as any reader does, at the lowest priority, and ends with the scan, however that ends.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobilescope.app.terminal.console import say
from mobilescope.core.errors import InputFileError
from mobilescope.core.whole_files import replaced_when_written
from mobilescope.data.records import TileRecord
from mobilescope.data.session import Session
from mobilescope.imaging.shrinking import shrink

INTERVAL_S = 2.0
_TILE_PX = 96
_LARGEST_PX = 2048
_END_WITHIN_S = 5.0
_BACKGROUND = 235


@contextmanager
def previewing(session: Path, picture: Path, *, interval_s: float = INTERVAL_S) -> Iterator[None]:
    """Keep a preview of a session in a picture file while the block runs; say so if that failed."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(session), str(picture), str(interval_s)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        try:
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()  # which ends it, as the scan's death does
            try:
                status = process.wait(_END_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
            if status:
                said.seek(0)
                lines = said.read().decode("utf-8", "replace").splitlines() or [f"status {status}"]
                say(f"warning: the preview stopped: {lines[-1]}")


class ScanPreview:
    """Small tiles of the slide that is being scanned, placed where the stage was."""

    def __init__(self) -> None:
        self._small: dict[int, tuple[TileRecord, NDArray[np.uint8]]] = {}
        self._slide = ""
        self._columns = 1

    def update(self, session: Session) -> bool:
        """Read the tiles that are new; return whether there were any."""
        slide, tiles = _latest(session)
        if slide != self._slide:
            self._slide, self._small = slide, {}
        new = [tile for tile in tiles if tile.frame not in self._small]
        for tile in new:
            pixels = session.tile_pixels(tile)
            rows, columns = pixels.shape[:2]
            self._small[tile.frame] = tile, shrink(pixels, _TILE_PX, max(1, round(_TILE_PX * rows / columns)))
        return bool(new)

    def picture(self) -> NDArray[np.uint8]:
        """Return the slide as far as it is scanned, (rows, columns, 3) uint8."""
        kept = list(self._small.values())
        first, small = kept[0]
        um_per_px = first.pixel_size_um * self._columns / small.shape[1]
        x = np.array([tile.position.x_um for tile, _ in kept]) / um_per_px
        y = np.array([tile.position.y_um for tile, _ in kept]) / um_per_px
        left, top = np.rint(x - x.min()).astype(int), np.rint(y - y.min()).astype(int)
        canvas = np.full((top.max() + small.shape[0], left.max() + small.shape[1], 3), _BACKGROUND, dtype=np.uint8)
        for (_, pixels), row, column in zip(kept, top, left, strict=True):
            canvas[row : row + pixels.shape[0], column : column + pixels.shape[1]] = pixels
        largest = max(canvas.shape)
        if largest > _LARGEST_PX:
            columns, rows = (max(1, round(side * _LARGEST_PX / largest)) for side in (canvas.shape[1], canvas.shape[0]))
            return shrink(canvas, columns, rows)
        return canvas

    def read(self, path: Path) -> bool:
        """Read what is new in a session file; a moment at which it can't be read passes."""
        try:
            with Session.open(path) as session:
                self._columns = session.header.benchtop_shape[1]
                return self.update(session)
        except (InputFileError, OSError):
            return False


def _latest(session: Session) -> tuple[str, list[TileRecord]]:
    """Return the slide whose tile came last, and the tiles to show of it."""
    best: tuple[int, str] = (-1, "")
    for slide in session.slides:
        tiles = session.tiles(slide.name)
        if tiles:
            best = max(best, (max(tile.frame for tile in tiles), slide.name))
    return best[1], session.mosaic_tiles(best[1]) if best[1] else []


def write_picture(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write a PNG under a temporary name first, so that a viewer never sees half of it."""
    with replaced_when_written(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def main() -> None:
    """Write the preview again and again until standard input is closed."""
    session, picture, interval_s = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    cv2.setNumThreads(1)
    preview, ended = ScanPreview(), False
    while not ended:
        # Waiting on the pipe that the scan holds open: it closes when the scan ends, or dies.
        ended = bool(select.select([sys.stdin], [], [], interval_s)[0])
        if preview.read(session):
            write_picture(preview.picture(), picture)


if __name__ == "__main__":
    main()
