"""8-bit integer convolutions, offered only where pictures show that they are as good."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError, UserError
from mobilescope.enhance.folding import fold_tail, folding_pays
from mobilescope.enhance.openvino_engine import OpenVinoEngine
from mobilescope.enhance.pictures import check_shape, to_engine
from mobilescope.enhance.ranges import balanced, measure_ranges, residual_blocks
from mobilescope.enhance.torch_engine import TorchEngine
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.metrics import psnr_db, ssim
from mobilescope.learn.networks import EnhancementNetwork

LEAST_SSIM = 0.995
LEAST_PSNR_DB = 45.0
# Errors of single convolutions add up, so sets that are far from holding need not be tried.
_ERROR_BUDGET = 10 ** (-LEAST_PSNR_DB / 10)
_CALIBRATION_PX = 512
_LEAST_SIDE_PX = 64


@dataclass(frozen=True)
class Agreement:
    """How close a fast mode comes to fp32 on the worst of some pictures."""

    ssim: float
    psnr_db: float

    @property
    def holds(self) -> bool:
        """Whether it is close enough to be offered."""
        return self.ssim >= LEAST_SSIM and self.psnr_db >= LEAST_PSNR_DB


def int8_engine(
    network: EnhancementNetwork, pictures: Sequence[NDArray[np.generic]], dtype: torch.dtype
) -> tuple[OpenVinoEngine, Agreement]:
    """Return an engine that convolves 8-bit integers, and how close it comes to fp32.

    Of the convolutions, those that err most for the work they save stay in ``dtype``, as many as it takes for the
    agreement to hold; so do the first one always, and the last stages where they are not folded into one.

    Parameters
    ----------
    pictures : sequence of ndarray (rows, columns, 3)
        What ranges are measured on; at most the middle 512 px of each are used.

    Raises
    ------
    UserError
        Where no choice holds on every picture; the message has the figures of the best.
    """
    crops = [_middle(picture) for picture in pictures]
    if not crops:
        raise UserError(
            "int8 needs pictures to measure the network's ranges on", "give some, or choose another precision"
        )
    wanted = TorchEngine(network, torch.device("cpu"), torch.float32)
    references = [to_float(wanted.run(crop[None])[0]) for crop in crops]
    even = balanced(network, crops)
    ranges = measure_ranges(even, crops)

    def agreement(engine: OpenVinoEngine) -> Agreement:
        found = [to_float(engine.run(crop[None])[0]) for crop in crops]
        return Agreement(
            min(ssim(luminance(a), luminance(b)) for a, b in zip(found, references, strict=True)),
            min(psnr_db(a, b) for a, b in zip(found, references, strict=True)),
        )

    work = _work(even)
    count = len(work)
    none, *alone = (
        10 ** (-agreement(OpenVinoEngine(even, dtype, ranges.only(kept))).psnr_db / 10)
        for kept in (set(), *({index} for index in range(count)))
    )
    errors = [max(0.0, error - none) for error in alone]
    best = Agreement(-1.0, -math.inf)
    for kept in _choices(errors, work):
        engine = OpenVinoEngine(even, dtype, ranges.only(kept))
        reached = agreement(engine)
        if reached.holds:
            return engine, reached
        best = max(best, reached, key=lambda each: each.psnr_db)
    raise UserError(
        f"int8 does not hold with this model: SSIM {best.ssim:.4f} and {best.psnr_db:.1f} dB against fp32, where "
        f"{LEAST_SSIM} and {LEAST_PSNR_DB:g} dB are asked for",
        "choose bf16 or auto",
    )


def _choices(errors: list[float], work: list[float]) -> Iterator[set[int]]:
    """Yield sets of convolutions to do in integers, ever smaller, from where their errors' sum is small enough."""
    kept = set(range(len(errors)))
    while kept:
        if sum(errors[index] for index in kept) <= _ERROR_BUDGET:
            yield set(kept)
        kept.remove(max(kept, key=lambda index: errors[index] / work[index]))


def _work(network: EnhancementNetwork) -> list[float]:
    """Return the multiplications for each pixel of the convolutions that can count in integers, in their order."""
    layers = [layer for block in residual_blocks(network) for layer in (block.first, block.second)]
    work = [float(layer.weight.numel()) for layer in layers]
    if folding_pays(network.config):
        tail = fold_tail(network)
        work.append(tail.weight.numel() / tail.stride**2)
    return work


def _middle(picture: NDArray[np.generic]) -> NDArray[np.float32]:
    check_shape(picture.shape)
    rows, columns = picture.shape[:2]
    if min(rows, columns) < _LEAST_SIDE_PX:
        raise InputImageError(
            f"an image of {columns}×{rows} px is too small to measure ranges on", f"give {_LEAST_SIDE_PX} px a side"
        )
    top, left = max(0, rows - _CALIBRATION_PX) // 2, max(0, columns - _CALIBRATION_PX) // 2
    return to_float(to_engine(picture[top : top + _CALIBRATION_PX, left : left + _CALIBRATION_PX]))
