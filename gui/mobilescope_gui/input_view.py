"""A picture view on which a region is chosen."""

from __future__ import annotations

from PyQt5.QtCore import QPoint, QRect, Qt, pyqtSignal
from PyQt5.QtGui import QColor, QMouseEvent, QPainter, QPen

from mobilescope.enhance.live_values import Region
from mobilescope_gui.picture_view import PictureView

_LEAST_DRAG_PX = 4
_MARK = QColor(255, 210, 0)


class InputView(PictureView):
    """A picture view on which a region is chosen by dragging with the left button; a click alone lets it go."""

    region_chosen = pyqtSignal(object)
    _moving_buttons = Qt.MouseButton.MiddleButton | Qt.MouseButton.RightButton

    def __init__(self, hint: str) -> None:
        super().__init__(hint)
        self._region: Region | None = None
        self._drag: tuple[QPoint, QPoint] | None = None

    def mark(self, region: Region | None) -> None:
        """Draw a frame around a region."""
        if region != self._region:
            self._region = region
            self.update()

    def paint_over(self, painter: QPainter, place: QRect) -> None:
        """Frame the region, or what is being dragged."""
        if self._drag is not None:
            framed = QRect(*self._drag).normalized().intersected(place)
        elif self._region is not None and self.picture is not None:
            part = self.shown_part()
            across, down = place.width() / part.width, place.height() / part.height
            framed = QRect(
                place.left() + round((self._region.column - part.left) * across),
                place.top() + round((self._region.row - part.top) * down),
                round(self._region.columns * across), round(self._region.rows * down),
            )
        else:
            return
        painter.setClipRect(place)
        painter.setPen(QPen(_MARK, 2))
        painter.drawRect(framed)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Begin a region, or take hold of the picture."""
        super().mousePressEvent(event)
        if event is not None and event.button() == Qt.MouseButton.LeftButton and self.picture is not None:
            self._drag = (event.pos(), event.pos())

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Widen the region, or move the picture."""
        super().mouseMoveEvent(event)
        if event is not None and self._drag is not None:
            self._drag = (self._drag[0], event.pos())
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Choose the region, or let go of the picture."""
        super().mouseReleaseEvent(event)
        if event is None or self._drag is None:
            return
        dragged, self._drag = QRect(self._drag[0], event.pos()).normalized(), None
        self.update()
        self.region_chosen.emit(self._region_under(dragged))

    def _region_under(self, dragged: QRect) -> Region | None:
        """Return the region of the picture under a rectangle of the widget; None where that is next to nothing."""
        picture, place, part = self.picture, self.picture_rect(), self.shown_part()
        covered = dragged.intersected(place)
        if picture is None or min(covered.width(), covered.height()) < _LEAST_DRAG_PX:
            return None
        across, down = part.width / place.width(), part.height / place.height()
        # Another thread may have shown a picture of another size since `place` was asked for.
        column = min(max(0, int(part.left + (covered.left() - place.left()) * across)), picture.shape[1] - 1)
        row = min(max(0, int(part.top + (covered.top() - place.top()) * down)), picture.shape[0] - 1)
        columns = min(picture.shape[1] - column, max(1, round(covered.width() * across)))
        rows = min(picture.shape[0] - row, max(1, round(covered.height() * down)))
        return Region(row, column, rows, columns)
