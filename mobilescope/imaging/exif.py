"""What a camera wrote into its files beside the picture: when, with which exposure, held how.

Of JPEG and TIFF alike (DNG is TIFF). Nothing here fails on a file without such notes: what is not told stays empty.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import tifffile
from PIL import ExifTags, Image

_TIME_FORM = "%Y:%m:%d %H:%M:%S"
_UPRIGHT = 1
_MOST_FRACTION = 6
_NO_TIME = ("", None, None, False)


@dataclass(frozen=True)
class CameraNotes:
    """The notes of one file.

    Attributes
    ----------
    camera : str
        Maker and model.
    captured : str
        ``YYYY:MM:DD HH:MM:SS`` with the fraction of a second and the zone behind it where they are told.
    captured_s : float or None
        The same in seconds since the epoch; local time where the camera names no zone.
    dial_s : float or None
        The same as the camera's clock showed it, in seconds since 1970 on that clock, whatever its zone.
    zone_told : bool
        Whether the camera names the zone of its clock.
    iso : int
        0 where it is not told; ``exposure_ms`` is NaN there.
    orientation : int
        1 to 8 as EXIF numbers them; 1 is upright, and what a file without it is taken for.
    told : bool
        Whether the file has any such notes.
    """

    camera: str = ""
    captured: str = ""
    captured_s: float | None = None
    dial_s: float | None = None
    zone_told: bool = False
    iso: int = 0
    exposure_ms: float = math.nan
    orientation: int = _UPRIGHT
    told: bool = False


def camera_notes(source: Path | bytes) -> CameraNotes:
    """Read the notes of a JPEG or TIFF file, or of its bytes; empty ones where there are none."""
    try:
        if isinstance(source, Path) and _is_tiff(source):
            return _notes(_tiff_tags(source))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                tags = image.getexif()
                exif = dict(tags.get_ifd(ExifTags.IFD.Exif))
                return _notes(dict(tags) | exif)
    except (
        OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error, Image.DecompressionBombError,
        tifffile.TiffFileError,
    ):
        return CameraNotes()


def seconds_apart(first: CameraNotes, second: CameraNotes) -> float | None:
    """Return how far apart two pictures of one camera were taken; None where one of them does not tell.

    Where one file alone names the zone, the camera's clock is compared as it stood: this computer's zone says nothing
    of the phone's.
    """
    alike = first.zone_told == second.zone_told
    one_s, other_s = (each.captured_s if alike else each.dial_s for each in (first, second))
    return None if one_s is None or other_s is None else abs(one_s - other_s)


def best_timed(*notes: CameraNotes) -> CameraNotes:
    """Return those of one picture's notes that tell its time best: with its zone, else at all, else the first."""
    return max(notes, key=lambda each: (each.captured_s is not None, each.zone_told))


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"II", b"MM")


def _tiff_tags(path: Path) -> dict[int, Any]:
    """Return the tags of a TIFF and its EXIF part by number; Pillow opens no raw pictures."""
    with tifffile.TiffFile(path) as tiff:
        tags = {int(tag.code): tag.value for tag in tiff.pages.first.tags.values()}
    named = tags.get(int(ExifTags.IFD.Exif))
    numbers = {base.name.lower(): int(base) for base in ExifTags.Base}
    inner = {} if not isinstance(named, dict) else {
        numbers[name.lower()]: value for name, value in named.items() if name.lower() in numbers
    }
    exposure = {**tags, **inner}.get(int(ExifTags.Base.ExposureTime))
    if isinstance(exposure, tuple) and len(exposure) == 2:
        inner[int(ExifTags.Base.ExposureTime)] = exposure[0] / exposure[1] if exposure[1] else None
    return tags | inner


def _notes(tags: dict[int, Any]) -> CameraNotes:
    base = ExifTags.Base
    if not tags:
        return CameraNotes()
    names = [_text(tags.get(tag)) for tag in (base.Make, base.Model)]
    captured, captured_s, dial_s, zone_told = _time(tags)
    orientation = _number(tags.get(base.Orientation))
    exposure_s, iso = _number(tags.get(base.ExposureTime)), _number(tags.get(base.ISOSpeedRatings))
    return CameraNotes(
        camera=" ".join(name for name in names if name),
        captured=captured,
        captured_s=captured_s,
        dial_s=dial_s,
        zone_told=zone_told,
        iso=int(iso) if iso and 0 < iso < 1e7 else 0,
        exposure_ms=1000 * exposure_s if exposure_s and exposure_s > 0 else math.nan,
        orientation=int(orientation) if orientation and 1 <= orientation <= 8 else _UPRIGHT,
        told=True,
    )


def _time(tags: dict[int, Any]) -> tuple[str, float | None, float | None, bool]:
    """Return when a picture was taken: as written, in seconds, in seconds of the camera's dial, and if with a zone."""
    base = ExifTags.Base
    written = _text(tags.get(base.DateTimeOriginal)) or _text(tags.get(base.DateTime))
    try:
        moment = datetime.strptime(written[:19], _TIME_FORM)
    except ValueError:
        return _NO_TIME
    fraction = "".join(c for c in _text(tags.get(base.SubsecTimeOriginal)) if c.isdigit())[:_MOST_FRACTION]
    zone = _text(tags.get(base.OffsetTimeOriginal)) or _text(tags.get(base.OffsetTime))
    moment += timedelta(seconds=int(fraction) / 10 ** len(fraction) if fraction else 0)
    offset = _zone(zone)
    try:
        seconds = (moment if offset is None else moment.replace(tzinfo=offset)).timestamp()
    except (OverflowError, OSError, ValueError):
        return _NO_TIME
    shown = written[:19] + (f".{fraction}" if fraction else "") + (zone if offset is not None else "")
    return shown, seconds, moment.replace(tzinfo=UTC).timestamp(), offset is not None


def _zone(text: str) -> timezone | None:
    """Return a zone written as +02:00, None for anything else."""
    try:
        sign = {"+": 1, "-": -1}[text[:1]]
        hours, minutes = text[1:].split(":")
        return timezone(sign * timedelta(hours=int(hours), minutes=int(minutes)))
    except (KeyError, ValueError):
        return None


def _number(value: Any) -> float | None:
    """Return a tag as a number, the first of several; None where it is none, or not finite."""
    if isinstance(value, tuple):
        value = value[0] if value else None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    """Return a tag as printable text, at most 64 letters of it: files come from anywhere."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    return "".join(c for c in value.strip("\0 ") if c.isprintable())[:64].strip()
