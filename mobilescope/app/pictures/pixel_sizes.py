"""A pixel's size at the specimen inside PNG and JPEG files, where each format keeps the density of its dots."""

from __future__ import annotations

import struct

from mobilescope.app.pictures.picture_notes import with_png_chunk

_PNG_PER_METRE = 1
_JFIF_PER_CM = 2
_JFIF_UNITS_AT = 13
_JFIF_MOST = 0xFFFF


def pixel_size_in_png(encoded: bytes, pixel_size_um: float) -> bytes:
    """Return a PNG with its pixels' size (a chunk pHYs, in whole pixels a metre) behind its header."""
    per_metre = round(1e6 / pixel_size_um)
    return with_png_chunk(encoded, b"pHYs", struct.pack(">IIB", per_metre, per_metre, _PNG_PER_METRE))


def pixel_size_in_jpeg(encoded: bytes, pixel_size_um: float) -> bytes:
    """Return a JPEG with its pixels' size in its JFIF header, in whole pixels a centimetre.

    As it is where it has no such header, or where its pixels are too small for one: below 0.15 µm.
    """
    per_cm = round(1e4 / pixel_size_um)
    if encoded[6:11] != b"JFIF\0" or not 1 <= per_cm <= _JFIF_MOST:
        return encoded
    told = struct.pack(">BHH", _JFIF_PER_CM, per_cm, per_cm)
    return encoded[:_JFIF_UNITS_AT] + told + encoded[_JFIF_UNITS_AT + len(told) :]
