"""Pictures on which int8 measures the network's ranges: what the user gives, or else what is to be enhanced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mobilescope.app.enhancement.sampling import sample_windows
from mobilescope.app.pairs.pairing import registered_pairs
from mobilescope.app.pictures.enhance_jobs import pictures_in
from mobilescope.app.pictures.images import Picture, open_picture
from mobilescope.core.errors import InputFileError
from mobilescope.data.pairs import PairStore
from mobilescope.imaging.pixel_sources import ArraySource, Pixels

_SIDE_PX = 512
_LEAST_SIDE_PX = 64
_MOST = 8


def calibration_from(path: Path) -> list[Pixels]:
    """Return windows of a picture, of a folder's pictures, or of the training inputs of a session or a pair file.

    Raises
    ------
    InputFileError
        What ``path`` names is missing, or holds nothing to measure on.
    """
    if not path.exists():
        raise InputFileError(f"there is no file or folder {path}", "check the path")
    if path.suffix.lower() == ".h5":
        windows = list(_windows(_training_inputs(registered_pairs(path))))
    else:
        windows = list(_windows(open_picture(each) for each in (pictures_in(path) if path.is_dir() else [path])))
    if not windows:
        raise InputFileError(
            f"{path} holds no pictures to calibrate on", f"they need {_LEAST_SIDE_PX} px a side; training inputs count"
        )
    return windows


def calibration_of(pictures: Iterable[Picture]) -> list[Pixels]:
    """Return windows of the first pictures that are large enough; none where none is."""
    return list(_windows(pictures))


def _training_inputs(path: Path) -> Iterator[Picture]:
    with PairStore.open(path) as store:
        chosen = [index for index, each in enumerate(store.records) if each.role == "training" and each.accepted]
        for place in np.unique(np.linspace(0, len(chosen) - 1, min(_MOST, len(chosen))).round().astype(int)):
            yield Picture(ArraySource(store.input(chosen[place])))


def _windows(pictures: Iterable[Picture]) -> Iterator[Pixels]:
    """Yield windows, fewer of each picture the more there are, until there are enough."""
    left = _MOST
    for picture in pictures:
        if min(picture.shape[:2]) < _LEAST_SIDE_PX:
            continue
        windows = sample_windows(picture, _SIDE_PX, max(1, left // 2))
        yield from windows
        left -= len(windows)
        if left <= 0:
            return
