"""Raw files of phones and cameras (DNG): the Bayer mosaic as it was read out, with what develops it.

LibRaw (rawpy) decodes; the rest is that of a session's captures (`imaging.raw`), so that a file and a capture of the
same field come out alike.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from mobilescope.core.errors import InputFileError, UserError
from mobilescope.core.input_files import check_file
from mobilescope.imaging.raw import develop_srgb
from mobilescope.imaging.white_balance import Gains, preset_gains

_MOSAIC = 32803  # TIFF's photometric interpretation of a colour filter array
# No codec packs the noise of a sensor into less than this many bytes a pixel.
_LEAST_BYTES_PER_PX = 0.05


@dataclass(frozen=True, eq=False)
class RawFrame:
    """One raw picture.

    Attributes
    ----------
    bayer : ndarray, shape (rows, columns), uint16
        Even numbers of rows and columns; black is the same at all four sites.
    cfa : str
        Colours of the 2×2 mosaic read row by row, such as ``"RGGB"``.
    black_level, white_level : int
    white_balance : tuple of float
        Gains of red, green and blue as the camera recorded them, green 1; all 1 where it recorded none.
    camera : str
        Maker and model, empty where the file does not tell.
    iso : int or None
    exposure_ms : float or None
    captured : str
        Date and time as the camera wrote it, empty where it did not.
    presets : dict
        Gains for ``"daylight"`` (D55) and ``"cloudy"`` (D65) by the file's colour matrices; empty where it has none.
    sha256 : str
        Of the file's bytes.
    """

    bayer: NDArray[np.uint16]
    cfa: str
    black_level: int
    white_level: int
    white_balance: tuple[float, float, float]
    camera: str
    iso: int | None
    exposure_ms: float | None
    captured: str
    presets: dict[str, Gains] = field(default_factory=dict)
    sha256: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """What a session keeps of the file beside the frame."""
        gains = {preset_key(name): ",".join(f"{gain:.6g}" for gain in each) for name, each in self.presets.items()}
        return {"dng_sha256": self.sha256} | gains

    def develop(self, white_balance: Gains | None = None) -> NDArray[np.uint16]:
        """Return the picture at half size, 16-bit sRGB, (rows / 2, columns / 2, 3); the camera's gains if None."""
        return develop_srgb(
            self.bayer, cfa=self.cfa, black_level=self.black_level, white_level=self.white_level,
            white_balance=white_balance or self.white_balance,
        )


def preset_key(name: str) -> str:
    """Return under which name a capture's settings hold the gains of a white balance, red, green and blue by commas."""
    return f"gains_{name}"


def read_dng(path: Path) -> RawFrame:
    """Read a raw file.

    Raises
    ------
    InputFileError
        Missing, truncated, damaged, or no Bayer mosaic of red, green and blue.
    UserError
        rawpy is not installed.
    """
    check_file(path, "raw file")
    facts, tags = _facts(path)
    try:
        import rawpy  # not among what a bare server needs that trains only
    except ImportError as error:
        raise UserError("reading DNG needs the package rawpy", "pip install rawpy") from error
    try:
        with rawpy.imread(str(path)) as raw:
            if raw.raw_type != rawpy.RawType.Flat or raw.raw_pattern is None or raw.raw_pattern.shape != (2, 2):
                raise InputFileError(f"{path} holds no Bayer mosaic", "save raw pictures as unprocessed DNG")
            visible = np.asarray(raw.raw_image_visible)
            top, left = raw.sizes.top_margin, raw.sizes.left_margin
            sites = np.array([[raw.raw_color(top + row, left + column) for column in (0, 1)] for row in (0, 1)])
            names = raw.color_desc.decode("ascii", "replace")
            blacks, white = list(raw.black_level_per_channel), int(raw.white_level)
            gains = list(raw.camera_whitebalance)
            rows, columns = (side // 2 * 2 for side in visible.shape)
            bayer = visible[:rows, :columns].astype(np.uint16)
    except (rawpy.LibRawError, ValueError) as error:
        raise InputFileError(f"{path} can't be decoded as a raw picture ({error})", "copy it again") from error
    cfa = "".join(names[site] for site in sites.ravel())
    if sorted(cfa) != sorted("RGGB"):
        raise InputFileError(f"{path} has the colour filters {cfa}", "only red, green, green and blue are developed")
    black = _levelled(bayer, sites, blacks)
    if not white > black:
        raise InputFileError(f"{path} states a white level of {white} and a black level of {black}", "copy it again")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return RawFrame(
        bayer, cfa, black, white, _gains(gains), *facts, preset_gains(tags), digest
    )


def _levelled(bayer: NDArray[np.uint16], sites: NDArray[Any], blacks: list[int]) -> int:
    """Bring all four sites to the lowest of their black levels, in place, and return it."""
    lowest = min(blacks[site] for site in sites.ravel())
    for row in range(2):
        for column in range(2):
            above = blacks[sites[row, column]] - lowest
            if above:
                part = bayer[row::2, column::2]
                part -= np.minimum(part, np.uint16(above))
    return int(lowest)


def _gains(recorded: list[float]) -> tuple[float, float, float]:
    red, green, blue = recorded[:3]
    if not all(math.isfinite(gain) and gain > 0 for gain in (red, green, blue)):
        return 1.0, 1.0, 1.0
    return red / green, 1.0, blue / green


def _facts(path: Path) -> tuple[tuple[str, int | None, float | None, str], dict[str, Any]]:
    """Return camera, ISO, exposure, time and all tags, having checked that the file is as long as it says."""
    try:
        with tifffile.TiffFile(path) as tiff:
            first = tiff.pages.first
            mosaics = [page for page in (first, *(first.pages or [])) if int(page.photometric) == _MOSAIC]
            if not mosaics:
                raise InputFileError(f"{path} holds no raw mosaic", "give a DNG as the camera saved it")
            _check_length(path, mosaics[0])
            tags = {tag.name: tag.value for tag in first.tags.values()}
    except (tifffile.TiffFileError, ValueError, IndexError, KeyError, OSError) as error:
        raise InputFileError(f"{path} is no DNG file ({error})", "give a DNG as the camera saved it") from error
    exif = tags.get("ExifTag") or {}
    names = [str(tags.get(name, "")).strip() for name in ("Make", "Model")]
    camera = " ".join(name for name in names if name) or str(tags.get("UniqueCameraModel", ""))
    iso = exif.get("ISOSpeedRatings", tags.get("ISOSpeedRatings"))
    iso = iso[0] if isinstance(iso, tuple) and iso else iso
    exposure = exif.get("ExposureTime", tags.get("ExposureTime"))
    exposure_ms = 1000 * exposure[0] / exposure[1] if isinstance(exposure, tuple) and exposure[1] else None
    captured = str(exif.get("DateTimeOriginal") or tags.get("DateTime") or "")
    return (camera, int(iso) if isinstance(iso, int) else None, exposure_ms, captured), tags


def _check_length(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse a file whose mosaic is not all there: LibRaw would fill up with noise or black."""
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    pixels = int(page.imagelength) * int(page.imagewidth)
    if max(ends, default=0) > path.stat().st_size or sum(page.databytecounts) < _LEAST_BYTES_PER_PX * pixels:
        raise InputFileError(f"{path} is truncated", "copy it again")
