"""What a JPEG says of itself in its first bytes."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from mobilescope.core.errors import InputImageError


def jpeg_shape(data: bytes) -> tuple[int, int]:
    """Return rows and columns of a JPEG as it is stored, whichever way up it is shown.

    Raises
    ------
    InputImageError
        The bytes are no JPEG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            columns, rows = picture.size
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise InputImageError(f"{len(data)} bytes are not a JPEG", "set the phone to save JPEG pictures") from error
    return rows, columns
