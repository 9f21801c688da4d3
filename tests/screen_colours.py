"""What a view shows on the screen."""

from __future__ import annotations

from PyQt5.QtCore import QPoint


def colour_at(view, x_part=0.5, y_part=0.5):
    """Return the colour on the screen at a place of the shown picture."""
    place = view.picture_rect()
    grabbed = view.grab().toImage()
    at = QPoint(
        place.left() + int(x_part * place.width()), place.top() + int(y_part * place.height())
    )
    colour = grabbed.pixelColor(at)
    return colour.red(), colour.green(), colour.blue()
