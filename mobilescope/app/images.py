"""Picture files in and out, with errors that name the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError, InputImageError, OutputError

_TIFF = (".tif", ".tiff")
SUFFIXES = (".png", ".jpg", ".jpeg", *_TIFF)


def read_rgb(path: Path) -> NDArray[np.generic]:
    """Read a picture as RGB (rows, columns, 3), uint8 or uint16; grey becomes RGB and transparency is dropped.

    Raises
    ------
    InputFileError
        Missing, unreadable, truncated or of an unknown format.
    InputImageError
        A picture that is neither grey nor colour.
    """
    if not path.is_file():
        raise InputFileError(f"there is no image file {path}", "check the path")
    image: NDArray[np.generic] | None
    if path.suffix.lower() in _TIFF:
        image = _read_tiff(path)
    else:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is not None and image.ndim == 3:
            image = image[..., [2, 1, 0]]
    if image is None:
        raise InputFileError(f"{path} is not an image, or it is damaged", f"give one of {', '.join(SUFFIXES)}")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    if image.ndim != 3 or image.shape[-1] not in (3, 4) or image.dtype not in (np.uint8, np.uint16):
        raise InputImageError(
            f"{path} has shape {image.shape} and type {image.dtype}", "give an 8 or 16 bit grey or RGB image"
        )
    return np.ascontiguousarray(image[..., :3])


def _read_tiff(path: Path) -> NDArray[np.generic] | None:
    try:
        return np.asarray(tifffile.imread(path))
    except (tifffile.TiffFileError, ValueError, OSError, IndexError):
        return None


def write_rgb(path: Path, image: NDArray[np.generic]) -> None:
    """Write an RGB picture as PNG, JPEG (8 bit) or TIFF, by the name's ending; the file is whole or not there."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"{path} has no known picture ending", f"use one of {', '.join(SUFFIXES)}")
    if suffix in (".jpg", ".jpeg") and image.dtype == np.uint16:
        image = (np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8)
    temporary = path.with_name(f".{path.stem}.part{suffix}")
    try:
        if suffix in _TIFF:
            tifffile.imwrite(temporary, image, photometric="rgb", compression="zlib")
        elif not cv2.imwrite(str(temporary), np.asarray(image[..., ::-1], dtype=image.dtype.type)):
            raise OutputError(f"{path} could not be written", "check the folder and its free space")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path} could not be written: {error.strerror}", "check the folder") from error
