"""JPEG as a phone would send it: compressing an image so that it shrinks by a wanted ratio, and decoding it again.

Baseline JPEG with halved colour resolution (4:2:0), all in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError

BEST_QUALITY = 100


@dataclass(frozen=True)
class JpegImage:
    """An image as JPEG bytes.

    Attributes
    ----------
    data : bytes
    quality : int
        1 to 100, as libjpeg counts it.
    ratio : float
        How many times smaller it is than the lossless size, see `lossless_bytes`.
    """

    data: bytes
    quality: int
    ratio: float


def lossless_bytes(image: NDArray[np.uint8]) -> int:
    """Return the size of an RGB image without loss: 3 bytes a pixel.

    That is an uncompressed 8-bit TIFF. R18's average image of 0.1 mm² at 0.404 µm has 0.613 megapixels, and its TIFF
    1.846 MB.
    """
    return 3 * image.shape[0] * image.shape[1]


def compress(image: NDArray[np.uint8], quality: int) -> bytes:
    """Return an RGB image (rows, columns, 3), uint8, as JPEG of a quality from 1 to 100.

    Raises
    ------
    InputImageError
        For an image of another type or shape, or larger than JPEG allows.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputImageError(f"an image of type {image.dtype} and shape {image.shape}", "give RGB bytes")
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
                cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise InputImageError(f"an image of shape {image.shape} can't be a JPEG", "cut it in parts")
    return bytes(data.tobytes())


def decompress(data: bytes) -> NDArray[np.uint8]:
    """Decode JPEG bytes to RGB, shape (rows, columns, 3), uint8; InputImageError where they are damaged.

    Rows and columns are the sensor's: how the phone was held (EXIF's orientation) does not turn the picture.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    decoded: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if decoded is None:
        raise InputImageError(f"{len(data)} bytes are not a JPEG")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def compress_to_ratio(image: NDArray[np.uint8], ratio: float) -> JpegImage:
    """Compress an RGB image at the quality that brings it closest to a ratio of its lossless size.

    Parameters
    ----------
    image : ndarray, shape (rows, columns, 3), uint8
    ratio : float
        Lossless size over JPEG size; 21 is R18's. Where no quality reaches it, the nearest end of the scale is taken,
        so read what came out from the result.
    """
    tried: dict[int, JpegImage] = {}

    def at(quality: int) -> JpegImage:
        if quality not in tried:
            data = compress(image, quality)
            tried[quality] = JpegImage(data, quality, lossless_bytes(image) / len(data))
        return tried[quality]

    # A better quality never makes the file smaller, so the ratio falls along the scale.
    low, high = 1, BEST_QUALITY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at(middle).ratio >= ratio else (low, middle)
    return min(at(low), at(high), key=lambda jpeg: abs(jpeg.ratio - ratio))
