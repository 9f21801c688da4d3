"""The files of one phone picture, read strictly: DNG, JPEG, both, or a developed TIFF or PNG.

Nothing is turned: a phone that lies on its back tells any orientation, and what counts is the sensor's own order of
pixels. The orientation that the files tell is kept beside the picture.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mobilescope.core.errors import InputFileError, InputImageError
from mobilescope.core.phone_picture import NO_RAW_WHITE, PhonePicture
from mobilescope.imaging.colour import srgb_decode, to_float
from mobilescope.imaging.dng import read_dng
from mobilescope.imaging.exif import CameraNotes, best_timed, camera_notes, seconds_apart
from mobilescope.imaging.pixel_sources import open_pixels

_NAME_LETTERS = 96
_MOST_SIDE_PX = 32_768
_FULL = 65_535
_ONE_PICTURE_S = 3.0


def read_capture_files(dng: Path | None, jpeg: Path | None, *, by_name: bool = True) -> PhonePicture:
    """Read a raw picture, the JPEG that the phone made beside it, or either alone.

    Parameters
    ----------
    by_name : bool
        Whether both files' names say that they belong together; else both times have to.

    Raises
    ------
    InputFileError
        A file is missing, truncated, damaged, or of another kind than its name says; two files are not of one picture.
    """
    if dng is None:
        assert jpeg is not None
        return jpeg_picture(_bytes_of(jpeg), jpeg.name)
    frame = read_dng(dng)
    notes = camera_notes(dng)
    beside, beside_notes = b"" if jpeg is None else _bytes_of(jpeg), CameraNotes()
    facts = {"dng_file": shown_name(dng.name), "orientation": str(notes.orientation)} | frame.settings
    if jpeg is not None:
        beside_notes, _ = _checked_jpeg(beside, jpeg.name)
        facts |= {
            "jpeg_file": shown_name(jpeg.name), "jpeg_sha256": hashlib.sha256(beside).hexdigest(),
            "jpeg_orientation": str(beside_notes.orientation),
        }
        apart_s = seconds_apart(notes, beside_notes)
        if apart_s is None and not by_name:
            raise InputFileError(
                f"whether {dng.name} and {jpeg.name} are of one picture can't be told: not both say when they were "
                "taken",
                "set the camera app to give both one name",
            )
        if apart_s is not None and apart_s > _ONE_PICTURE_S:
            raise InputFileError(
                f"{dng.name} was taken at {notes.captured} and {jpeg.name} at {beside_notes.captured}",
                "they are not of one picture: give them names of their own",
            )
    timed = best_timed(notes, beside_notes)
    captured_s = timed.captured_s if timed.captured_s is not None else _plain_time(frame.captured)
    return PhonePicture(
        frame.bayer, beside, frame.bayer.shape, frame.cfa, frame.black_level, frame.white_level, frame.white_balance,
        frame.camera or timed.camera, frame.iso or timed.iso,
        frame.exposure_ms if frame.exposure_ms is not None else timed.exposure_ms,
        timed.captured or frame.captured, captured_s, facts,
    )


def jpeg_picture(data: bytes, name: str) -> PhonePicture:
    """Return a JPEG, whole and strictly checked, as the picture of a phone that gives no raw one."""
    notes, shape = _checked_jpeg(data, name)
    facts = {
        "jpeg_file": shown_name(name), "jpeg_sha256": hashlib.sha256(data).hexdigest(),
        "orientation": str(notes.orientation),
    }
    if not notes.told:
        facts["exif"] = "none"
    return PhonePicture(
        None, data, shape, "", 0, NO_RAW_WHITE, (1.0, 1.0, 1.0), notes.camera, notes.iso, notes.exposure_ms,
        notes.captured, notes.captured_s, facts,
    )


def developed_picture(path: Path) -> PhonePicture:
    """Read a developed picture without loss (TIFF, PNG): RGB at the pitch of the Bayer lattice.

    What is stored is its mean over 2×2 pixels in linear light, on a mosaic that develops to just that: the same as
    comes of a JPEG.
    """
    source, _ = open_pixels(path)
    rows, columns = source.shape
    if min(rows, columns) < 2 or max(rows, columns) > _MOST_SIDE_PX:
        raise InputImageError(f"{path} has {columns}x{rows} px", f"between 2 and {_MOST_SIDE_PX} can be used")
    notes = camera_notes(path)
    facts = {
        "picture_file": shown_name(path.name), "picture_sha256": file_digest(path),
        "orientation": str(notes.orientation),
    }
    bayer = _mosaic_of(np.asarray(source.read(0, 0, rows // 2 * 2, columns // 2 * 2)))
    return PhonePicture(
        bayer, b"", bayer.shape, "RGGB", 0, _FULL, (1.0, 1.0, 1.0), notes.camera, notes.iso, notes.exposure_ms,
        notes.captured, notes.captured_s, facts,
    )


def file_digest(path: Path) -> str:
    """Return a file's SHA-256."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputFileError(f"{path} can't be read ({error.strerror})", "check the file") from error


def shown_name(name: str) -> str:
    """Return a file's name as it can be kept and shown: printable, and not too long."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain if len(plain) <= _NAME_LETTERS else plain[: _NAME_LETTERS - 1] + "…"


def _mosaic_of(rgb: NDArray[np.generic]) -> NDArray[np.uint16]:
    """Return RGB of even size as the RGGB mosaic of its 2×2 means in linear light, (rows, columns), uint16."""
    rows, columns = rgb.shape[:2]
    mosaic = np.empty((rows, columns), np.uint16)
    for channel, sites in enumerate((((0, 0),), ((0, 1), (1, 0)), ((1, 1),))):
        linear = srgb_decode(to_float(rgb[..., channel if rgb.shape[2] == 3 else 0]))
        cells = linear.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
        counts = np.round(cells * _FULL).astype(np.uint16)
        for row, column in sites:
            mosaic[row::2, column::2] = counts
    return mosaic


def _checked_jpeg(data: bytes, name: str) -> tuple[CameraNotes, tuple[int, int]]:
    """Return the notes and the stored rows and columns of a JPEG that decodes to its end."""
    shown = shown_name(name)
    if not data.startswith(b"\xff\xd8\xff"):
        raise InputFileError(f"{shown} is no JPEG", "give the picture as the phone saved it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=["JPEG", "MPO"]) as image:
                image.load()
                mode, rows, columns = image.mode, image.height, image.width
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise InputFileError(f"{shown} is damaged or not whole ({error})", "copy it again") from error
    if mode not in ("RGB", "L"):
        raise InputFileError(f"{shown} has colours of the kind {mode}", "only RGB and grey pictures can be used")
    return camera_notes(data), (rows, columns)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputFileError(f"{path} can't be read ({error.strerror})", "check the file") from error


def _plain_time(text: str) -> float | None:
    try:
        return datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S").timestamp()
    except (ValueError, OverflowError, OSError):
        return None


