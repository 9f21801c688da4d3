"""R17's self-feeding at inference: a picture is enhanced, and the result is enhanced again."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.pictures import check_shape, from_engine, to_engine
from mobilescope.imaging.colour import to_float, to_uint8

Refeed = Literal["none", "downsampled", "finer"]
REFEEDS: tuple[Refeed, ...] = get_args(Refeed)


def enhance_twice(
    enhancer: Enhancer,
    image: NDArray[np.generic],
    grid: Literal["downsampled", "finer"],
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> NDArray[np.generic]:
    """Enhance a picture twice; between the passes nothing is rounded.

    Parameters
    ----------
    image : ndarray, shape (rows, columns, 3)
        As `Enhancer` takes it.
    grid : str
        "downsampled": the first result is averaged onto the picture's own grid before it is fed in, so that the second
        has the size of the first. "finer": it is fed in as it is, so that the second is larger again by the factor.

    Returns
    -------
    ndarray, shape (rows', columns', 3)
        Of the picture's type.
    """
    check_shape(image.shape)
    first = enhancer(to_float(to_engine(image)), on_progress=_named(on_progress, "first pass"), stop=stop)
    fed = to_float(first)
    if grid == "downsampled":
        fed = _onto_grid(fed, (image.shape[0], image.shape[1]))
    second = to_float(enhancer(np.clip(fed, 0, 1), on_progress=_named(on_progress, "second pass"), stop=stop))
    return to_uint8(second) if image.dtype == np.uint8 else from_engine(second, image.dtype)


def _onto_grid(picture: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return a picture on a coarser grid of the same field, with the filter that training feeds back through."""
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None]
    smaller = functional.interpolate(tensor, size=shape, mode="bilinear", antialias=True)
    return np.ascontiguousarray(smaller[0].permute(1, 2, 0).numpy())


def _named(listener: ProgressListener, stage: str) -> ProgressListener:
    return lambda progress: listener(Progress(stage, progress.done, progress.total, progress.note))
