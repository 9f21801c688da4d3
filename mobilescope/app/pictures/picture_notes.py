"""A text of ours inside picture files: PNG, JPEG, TIFF and OME-TIFF carry it where each format keeps comments."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile
from PIL import Image

from mobilescope.core.errors import InputFileError, OutputError

NAMESPACE = "mobilescope/provenance"
_KEYWORD = "mobilescope"
_PNG_HEADER_BYTES = 8 + 25
_JPEG_START = b"\xff\xd8"
_JPEG_APPLICATION_0 = 0xE0
_JPEG_MOST_BYTES = 65533
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def note_in_png(encoded: bytes, text: str) -> bytes:
    """Return a PNG with the text as an international text chunk (iTXt) behind its header."""
    return with_png_chunk(encoded, b"iTXt", _KEYWORD.encode() + b"\0\0\0\0\0" + text.encode())


def with_png_chunk(encoded: bytes, kind: bytes, content: bytes) -> bytes:
    """Return a PNG with a chunk behind its header."""
    named = kind + content
    chunk = struct.pack(">I", len(content)) + named + struct.pack(">I", zlib.crc32(named))
    return encoded[:_PNG_HEADER_BYTES] + chunk + encoded[_PNG_HEADER_BYTES:]


def note_in_jpeg(encoded: bytes, text: str) -> bytes:
    """Return a JPEG with the text as a comment (COM) behind its first application marker; OutputError if too long."""
    content = f"{_KEYWORD}:{text}".encode()
    if len(content) > _JPEG_MOST_BYTES:
        raise OutputError("the record of how the picture was made is too long for a JPEG", "write PNG or TIFF")
    start = len(_JPEG_START)
    if encoded[start : start + 2] == bytes([0xFF, _JPEG_APPLICATION_0]):  # readers want JFIF's marker first
        start += 2 + int(struct.unpack_from(">H", encoded, start + 2)[0])
    return encoded[:start] + b"\xff\xfe" + struct.pack(">H", len(content) + 2) + content + encoded[start:]


def note_for_ome(text: str, summary: str) -> dict[str, object]:
    """Return the metadata by which `tifffile` writes the text as a structured annotation."""
    return {"CommentAnnotation": {"Namespace": NAMESPACE, "Description": summary, "Value": text}}


def read_note(path: Path) -> str | None:
    """Return the text that a picture carries; None where it has none.

    Raises
    ------
    InputFileError
        Missing, or not a picture.
    """
    try:
        with path.open("rb") as file:
            is_tiff = file.read(4) in _TIFF_STARTS
        return _from_tiff(path) if is_tiff else _from_plain(path)
    except FileNotFoundError as error:
        raise InputFileError(f"there is no image file {path}", "check the path") from error
    except (OSError, SyntaxError, ValueError, IndexError, struct.error, tifffile.TiffFileError) as error:
        raise InputFileError(f"{path} can't be read as an image ({error})", "give a PNG, JPEG or TIFF") from error


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record of how a picture was made; None where it carries none, InputFileError where it is damaged."""
    note = read_note(path)
    if note is None:
        return None
    try:
        record = json.loads(note)
    except ValueError as error:
        raise InputFileError(f"the record of how {path} was made is damaged", "enhance its input again") from error
    return record if isinstance(record, dict) else None


def _from_plain(path: Path) -> str | None:
    with Image.open(path) as image:
        if image.format == "PNG":
            return _text(image.info.get(_KEYWORD))
        comment = image.info.get("comment", b"")
    prefix = f"{_KEYWORD}:".encode()
    return comment.removeprefix(prefix).decode() if comment.startswith(prefix) else None


def _from_tiff(path: Path) -> str | None:
    with tifffile.TiffFile(path) as tiff:
        if tiff.is_ome and tiff.ome_metadata:
            for element in ElementTree.fromstring(tiff.ome_metadata).iter():
                if element.tag.endswith("CommentAnnotation") and element.get("Namespace") == NAMESPACE:
                    return _text(next((part.text for part in element if part.tag.endswith("Value")), None))
            return None
        description = tiff.pages.first.description
    prefix = f"{_KEYWORD}:"
    return description.removeprefix(prefix) if description.startswith(prefix) else None


def note_in_description(text: str) -> str:
    """Return a TIFF's image description that holds the text."""
    return f"{_KEYWORD}:{text}"


def _text(value: object) -> str | None:
    return None if value is None else str(value)
