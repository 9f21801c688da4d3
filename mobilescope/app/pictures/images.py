"""Picture files in and out, with errors that name the file."""

from __future__ import annotations

import contextlib
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from mobilescope.app.pictures.picture_notes import note_in_description, note_in_jpeg, note_in_png
from mobilescope.app.pictures.pixel_sizes import pixel_size_in_jpeg, pixel_size_in_png
from mobilescope.core.errors import InputFileError, InputImageError, OutputError
from mobilescope.core.input_files import check_file
from mobilescope.core.whole_files import replaced_when_written
from mobilescope.imaging.colour import to_float
from mobilescope.imaging.dng import read_dng
from mobilescope.imaging.pixel_sources import ArraySource, Pixels, PixelSource, open_pixels

_TIFF = (".tif", ".tiff")
_JPEG = (".jpg", ".jpeg")
SUFFIXES = (".png", *_JPEG, *_TIFF)
RAW_SUFFIX = ".dng"
INPUT_SUFFIXES = (*SUFFIXES, ".svs", RAW_SUFFIX)
# A whole picture beyond this is some gigabytes; a pyramid is written in parts, and viewers need it anyway.
MOST_PIXELS_AT_ONCE = 200_000_000
_JPEG_LONGEST_PX = 65_500


@dataclass(frozen=True, eq=False)
class Picture:
    """An opened picture: its pixels where they are asked for, and the pixel pitch that the file states, if it does."""

    source: PixelSource
    pixel_size_um: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels."""
        return (*self.source.shape, 3)

    def read(self) -> Pixels:
        """Return the whole picture, (rows, columns, 3)."""
        return self.source.read(0, 0, *self.source.shape)


def open_picture(path: Path) -> Picture:
    """Open a picture as RGB, uint8, uint16 or float32; grey becomes RGB and transparency is laid over white.

    A raw file (DNG) is developed at half size with the white balance that the camera recorded.

    Raises
    ------
    InputFileError
        Missing, unreadable, truncated or of an unknown format.
    InputImageError
        An animation, CMYK, a stack of planes, or samples of another type.
    """
    check_file(path, "image file")
    if path.stat().st_size == 0:
        raise InputFileError(f"{path} is empty", "copy it again")
    if path.suffix.lower() == RAW_SUFFIX:
        return Picture(ArraySource(read_dng(path).develop()))
    if path.suffix.lower() in (".png", *_JPEG):
        _check_plain(path)
    else:
        _check_tiff(path)
    source, pixel_size_um = open_pixels(path, floats=True)
    return Picture(source, pixel_size_um)


def read_rgb(path: Path) -> Pixels:
    """Read a whole picture; see `open_picture`."""
    return open_picture(path).read()


def _check_plain(path: Path) -> None:
    """Refuse what would be decoded to other colours than it shows, or in part."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                mode, frames, file_format = image.mode, getattr(image, "n_frames", 1), image.format
    except Image.DecompressionBombError:
        return  # what is too large is refused, with a way out, when the pixels are opened
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise InputFileError(f"{path} can't be read as an image ({error})", "give a PNG, JPEG or TIFF") from error
    if mode == "CMYK":
        raise _no_rgb(path)
    if frames > 1 and file_format != "MPO":  # phones put a second, small picture behind a JPEG
        raise InputImageError(f"{path} is an animation of {frames} pictures", "save one of them")


def _check_tiff(path: Path) -> None:
    """Refuse inks; whatever else is wrong is found when the pixels are opened."""
    with contextlib.suppress(tifffile.TiffFileError, OSError, ValueError, IndexError), tifffile.TiffFile(path) as tiff:
        if tiff.pages.first.photometric == tifffile.PHOTOMETRIC.SEPARATED:
            raise _no_rgb(path)


def _no_rgb(path: Path) -> InputImageError:
    return InputImageError(f"{path} holds CMYK colours", "convert it to RGB with its colour profile")


def can_be_written_as(path: Path, shape: tuple[int, ...]) -> bool:
    """Return whether an output's format can hold a picture of that shape, which is not held whole in vain."""
    if is_pyramid(path):
        return True
    longest = _JPEG_LONGEST_PX if path.suffix.lower() in _JPEG else MOST_PIXELS_AT_ONCE
    return shape[0] * shape[1] <= MOST_PIXELS_AT_ONCE and max(shape) <= longest


def is_pyramid(path: Path) -> bool:
    """Return whether an output is written as a pyramidal OME-TIFF: its name says so."""
    return path.name.lower().endswith((".ome.tif", ".ome.tiff"))


def write_rgb(
    path: Path, image: NDArray[np.generic], *, note: str | None = None, pixel_size_um: float | None = None
) -> None:
    """Write an RGB picture as PNG, JPEG (8 bit) or TIFF, by the name's ending; the file is whole or not there.

    Parameters
    ----------
    image : ndarray, shape (rows, columns, 3), uint8, uint16 or float32 0–1
        Floats go into a TIFF as they are, and into a PNG as 16 bit.
    note : str, optional
        Text that the file carries; see `mobilescope.app.pictures.picture_notes`.
    pixel_size_um : float, optional
        Written down where the format keeps the density of dots.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"{path} has no known picture ending", f"use one of {', '.join(SUFFIXES)}")
    with replaced_when_written(path) as temporary:
        if suffix in _TIFF:
            options: dict[str, Any] = {}
            if note is not None:
                options |= {"description": note_in_description(note), "metadata": None}
            if pixel_size_um is not None:
                options |= {"resolution": (1e4 / pixel_size_um, 1e4 / pixel_size_um), "resolutionunit": "CENTIMETER"}
            tifffile.imwrite(temporary, image, photometric="rgb", compression="zlib", **options)
        else:
            temporary.write_bytes(_encoded(suffix, image, note, pixel_size_um))


def _encoded(suffix: str, image: NDArray[np.generic], note: str | None, pixel_size_um: float | None) -> bytes:
    jpeg = suffix in _JPEG
    done, buffer = cv2.imencode(suffix, as_integers(image, 8 if jpeg else 16)[..., ::-1])
    if not done:
        raise OSError(f"OpenCV can't encode {suffix}")
    encoded = buffer.tobytes()
    if pixel_size_um is not None:
        encoded = (pixel_size_in_jpeg if jpeg else pixel_size_in_png)(encoded, pixel_size_um)
    if note is None:
        return encoded
    return note_in_jpeg(encoded, note) if jpeg else note_in_png(encoded, note)


def as_integers(image: NDArray[np.generic], most_bits: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return a picture as integers of so many bits at most, rounded; bytes stay as they are."""
    if image.dtype == np.uint8 or (image.dtype == np.uint16 and most_bits == 16):
        return image  # type: ignore[return-value]
    scaled = np.clip(to_float(image), 0, 1)
    return np.round(scaled * 255).astype(np.uint8) if most_bits == 8 else np.round(scaled * 65535).astype(np.uint16)
