"""What JPEG costs: each field enhanced from inputs compressed to several sizes (R18's table of TIFF against JPEG)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.pairs import PairStore
from mobilescope.imaging.colour import cie94, luminance, to_float, to_uint8
from mobilescope.imaging.jpeg import compress_to_ratio, decompress, lossless_bytes
from mobilescope.imaging.metrics import Interval, bootstrap_interval, ssim
from mobilescope.learn.baselines import label_part, upsample_bicubic
from mobilescope.learn.evaluate import EnhanceFunction, is_evaluated

RATIOS = (1.0, 5.0, 10.0, 21.0, 40.0)


@dataclass(frozen=True)
class JpegField:
    """One field at one size.

    Attributes
    ----------
    wanted : float
        How many times smaller than without loss it was to be; 1 is the input without loss.
    ratio : float
        How many times smaller it came out.
    size_bytes : int
        Size of the whole input as JPEG, or without loss as 3 bytes a pixel.
    quality : int or None
        JPEG's quality; None without loss.
    """

    slide: str
    capture: int
    wanted: float
    ratio: float
    size_bytes: int
    quality: int | None
    ssim_bicubic: float
    ssim_network: float
    cie94_bicubic: float
    cie94_network: float


@dataclass(frozen=True)
class JpegScores:
    """Every field at every size."""

    fields: tuple[JpegField, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """The wanted ratios, growing."""
        return tuple(sorted({field.wanted for field in self.fields}))

    def interval(self, wanted: float, figure: str) -> Interval:
        """Return mean and 95 % interval over fields of a figure of `JpegField` at a wanted ratio."""
        return bootstrap_interval(
            np.array([getattr(field, figure) for field in self.fields if field.wanted == wanted], dtype=np.float64)
        )


def score_jpeg(
    pairs: Path,
    enhance: EnhanceFunction,
    *,
    role: str = "blind",
    ratios: Sequence[float] = RATIOS,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> JpegScores:
    """Score enlargement and network on the fields of a role, their inputs compressed to several sizes.

    It is the registered input that is compressed, on 8 bit: what a phone compresses before registration differs from it
    by a resampling at nearly its own pitch.

    Raises
    ------
    CancelledError
        Asked to stop.
    """
    stop = stop or StopToken()
    fields: list[JpegField] = []
    with PairStore.open(pairs) as store:
        chosen = [index for index, record in enumerate(store.records) if is_evaluated(record, role)]
        for done, index in enumerate(chosen, start=1):
            record, low, label = store.records[index], store.input(index), to_float(store.label(index))
            cut = label_part(record.bounds, low.shape, label.shape)
            target, target_luma = label[cut], luminance(label[cut])
            for wanted in ratios:
                stop.raise_if_requested("the scores of JPEG inputs")
                seen, size_bytes, quality, ratio = _compressed(low, wanted)
                pictures = {
                    "bicubic": upsample_bicubic(seen, label.shape[0], label.shape[1])[cut],
                    "network": to_float(enhance(to_float(seen)))[cut],
                }
                scores = {
                    name: (ssim(luminance(picture), target_luma), float(cie94(target, picture).mean()))
                    for name, picture in pictures.items()
                }
                fields.append(JpegField(
                    record.slide, record.capture, wanted, ratio, size_bytes, quality,
                    ssim_bicubic=scores["bicubic"][0], ssim_network=scores["network"][0],
                    cie94_bicubic=scores["bicubic"][1], cie94_network=scores["network"][1],
                ))
            on_progress(Progress("jpeg", done, len(chosen)))
    return JpegScores(tuple(fields))


def _compressed(
    low: NDArray[np.uint16], wanted: float
) -> tuple[NDArray[np.uint16] | NDArray[np.uint8], int, int | None, float]:
    """Return the input through a JPEG of the wanted ratio, its size, its quality and its real ratio."""
    picture = to_uint8(to_float(low))
    if wanted <= 1:
        return low, lossless_bytes(picture), None, 1.0
    jpeg = compress_to_ratio(picture, wanted)
    return decompress(jpeg.data), len(jpeg.data), jpeg.quality, jpeg.ratio
