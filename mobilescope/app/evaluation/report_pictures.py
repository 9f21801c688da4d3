"""Pictures of the report as data URIs: crops of fields by every method, and overviews of mosaics."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.app.evaluation.score_tables import METHOD_NAMES
from mobilescope.core.errors import OutputError
from mobilescope.data.mosaics import Mosaic
from mobilescope.imaging.colour import to_uint8
from mobilescope.imaging.scale_bar import ScaleBar, scale_bar
from mobilescope.learn.evaluate import FieldPictures

_CROP_PX = 300
_OVERVIEW_PX = 700


@dataclass(frozen=True)
class ReportPicture:
    """A picture as a data URI, and its scale bar."""

    title: str
    picture: str
    bar: ScaleBar


def crops(field: FieldPictures, pixel_um: float) -> list[ReportPicture]:
    """Return the same crop of each method and the label, where the label has most fine detail."""
    row, column = _busiest(field.label)
    cut = (slice(row, row + _CROP_PX), slice(column, column + _CROP_PX))
    named = [(METHOD_NAMES[m], field.by_method[m]) for m in field.by_method] + [("benchtop", field.label)]
    return [
        ReportPicture(title, png_uri(to_uint8(picture[cut])), scale_bar(picture[cut].shape[1] * pixel_um))
        for title, picture in named
    ]


def _busiest(label: NDArray[np.float32]) -> tuple[int, int]:
    """Return the corner of the crop with the largest local variation of the label's green channel."""
    green = np.ascontiguousarray(label[..., 1])
    energy = np.abs(cv2.Laplacian(green, cv2.CV_32F))
    rows, columns = green.shape
    best, place = -1.0, (0, 0)
    for row in range(0, max(1, rows - _CROP_PX + 1), 40):
        for column in range(0, max(1, columns - _CROP_PX + 1), 40):
            value = float(energy[row : row + _CROP_PX, column : column + _CROP_PX].mean())
            if value > best:
                best, place = value, (row, column)
    return place


def overview(session: Path, slide: str) -> ReportPicture:
    """Return a slide's mosaic, shrunk."""
    with Mosaic.open(session, slide) as mosaic:
        grid = mosaic.grid(mosaic.levels - 1)
        picture = mosaic.read(0, 0, grid.rows, grid.columns, level=mosaic.levels - 1)
    bar = scale_bar(grid.columns * grid.pixel_size_um)
    scale = _OVERVIEW_PX / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return ReportPicture(slide, jpeg_uri(picture), bar)


def png_uri(image: NDArray[np.uint8]) -> str:
    """Return an RGB image as a data URI, without loss."""
    return _uri(image, ".png", "image/png")


def jpeg_uri(image: NDArray[np.uint8]) -> str:
    """Return an RGB image as a data URI, as JPEG."""
    return _uri(image, ".jpg", "image/jpeg")


def _uri(image: NDArray[np.uint8], extension: str, mime: str) -> str:
    ok, data = cv2.imencode(extension, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not ok:
        raise OutputError("a picture of the report could not be encoded")
    return f"data:{mime};base64,{base64.b64encode(data.tobytes()).decode()}"
