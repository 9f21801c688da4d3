"""A scale bar in the corner of a picture."""

from __future__ import annotations

from PyQt5.QtCore import QPoint, QRect, Qt
from PyQt5.QtGui import QColor, QPainter, QPen

from mobilescope.imaging.scale_bar import scale_bar

_MARGIN_PX = 10
_THICK_PX = 3
_GROUND = QColor(0, 0, 0, 120)
_LEAST_PLACE_PX = 120


def paint_scale_bar(painter: QPainter, place: QRect, width_um: float) -> None:
    """Paint a scale bar into the lower right corner of a place whose width shows so much of the specimen."""
    if place.width() < _LEAST_PLACE_PX:
        return
    bar = scale_bar(width_um)
    length = round(bar.share * place.width())
    text = painter.fontMetrics().boundingRect(str(bar))
    width, height = max(length, text.width()), text.height() + _THICK_PX + 3
    corner = place.bottomRight() - QPoint(_MARGIN_PX, _MARGIN_PX)
    box = QRect(corner - QPoint(width, height), corner)
    painter.setClipRect(place)
    painter.fillRect(box.adjusted(-6, -4, 6, 4), _GROUND)
    painter.setPen(QPen(Qt.GlobalColor.white))
    painter.drawText(box, int(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop), str(bar))
    middle = box.center().x()
    line = QRect(middle - length // 2, box.bottom() - _THICK_PX + 1, length, _THICK_PX)
    painter.fillRect(line, Qt.GlobalColor.white)
