"""Widgets that draw one picture as fast as it comes, and let a region be chosen on it."""

from __future__ import annotations

from threading import Event, Lock

import cv2
import numpy as np
from numpy.typing import NDArray
from PyQt5.QtCore import QPoint, QRect, QSize, Qt, pyqtSignal
from PyQt5.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PyQt5.QtWidgets import QSizePolicy, QWidget

from mobilescope.enhance.live_values import Region
from mobilescope.imaging.shrinking import shrink

_WAIT_S = 0.25
_LEAST_DRAG_PX = 4
_BACKGROUND = QColor(24, 24, 24)
_MARK = QColor(255, 210, 0)

Picture = NDArray[np.uint8]


class PictureView(QWidget):
    """Shows the newest picture, fitted into the widget; enlarged bicubically, or averaged where it is larger.

    `present` is called by other threads: it fits the picture to the widget there, so that the window's own thread has
    nothing to do but to draw it, and returns once that is done.
    """

    _arrived = pyqtSignal()

    def __init__(self, hint: str) -> None:
        super().__init__()
        self._hint = hint
        self._lock = Lock()
        self._picture: Picture | None = None
        self._fitted: _Fitted | None = None
        self._room = QSize(1, 1)
        self._painted = Event()
        self._live = True
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(240, 240)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self._arrived.connect(self.update)

    def present(self, picture: Picture) -> None:
        """Show a picture (rows, columns, 3) uint8 RGB; from any thread but the window's."""
        with self._lock:
            if not self._live:
                return
            room = QSize(self._room)
        fitted = _Fitted(picture, _size_within(picture, room))
        with self._lock:
            if not self._live:  # frozen meanwhile
                return
            self._picture, self._fitted = picture, fitted
            self._painted.clear()
        self._arrived.emit()
        # A covered or minimised window paints nothing: nobody waits for it for long.
        self._painted.wait(_WAIT_S)

    def hold(self, picture: Picture | None) -> None:
        """Show this picture and no other until `go_on`."""
        with self._lock:
            self._live = False
            self._picture = picture if picture is not None else self._picture
            self._painted.set()
        self.update()

    def go_on(self) -> None:
        """Show what comes again."""
        with self._lock:
            self._live = True

    @property
    def picture(self) -> Picture | None:
        """What is shown, None before the first."""
        with self._lock:
            return self._picture

    def picture_rect(self) -> QRect:
        """Return where in the widget the picture lies; empty before the first."""
        picture = self.picture
        if picture is None:
            return QRect()
        size = _size_within(picture, self.size())
        return QRect(QPoint((self.width() - size.width()) // 2, (self.height() - size.height()) // 2), size)

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Note how much room there is, for the threads that fit pictures into it."""
        super().resizeEvent(event)
        with self._lock:
            self._room = QSize(self.size())

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802 - Qt's name
        """Paint the newest picture, and tell whoever waits for that."""
        picture = self.picture
        painter = QPainter(self)
        painter.fillRect(self.rect(), _BACKGROUND)
        if picture is None:
            painter.setPen(Qt.GlobalColor.lightGray)
            painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignCenter), self._hint)
        else:
            place = self.picture_rect()
            painter.drawImage(place.topLeft(), self._image_of(picture, place.size()))
            self.paint_over(painter, place)
        painter.end()
        self._painted.set()

    def paint_over(self, painter: QPainter, place: QRect) -> None:
        """Paint what lies over the picture; nothing here."""

    def _image_of(self, picture: Picture, size: QSize) -> QImage:
        with self._lock:
            fitted = self._fitted
            if fitted is None or fitted.picture is not picture or fitted.size != size:
                fitted = self._fitted = _Fitted(picture, size)
            return fitted.image


class _Fitted:
    """A picture at the size at which it is drawn."""

    def __init__(self, picture: Picture, size: QSize) -> None:
        self.picture, self.size = picture, size
        columns, rows = size.width(), size.height()
        if columns < picture.shape[1]:
            fitted = shrink(picture, columns, rows)
        else:
            fitted = np.asarray(cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
        # The format that Qt draws without converting it: blue, green, red, unused.
        pixels = cv2.cvtColor(fitted, cv2.COLOR_RGB2BGRA).tobytes()
        self.image = QImage(pixels, columns, rows, 4 * columns, QImage.Format.Format_RGB32).copy()


def _size_within(picture: Picture, room: QSize) -> QSize:
    """Return the largest size of a picture's shape that fits, at least one pixel."""
    size = QSize(picture.shape[1], picture.shape[0])
    size.scale(room, Qt.AspectRatioMode.KeepAspectRatio)
    return size.expandedTo(QSize(1, 1))


class InputView(PictureView):
    """A picture view on which a region is chosen by dragging; a click alone lets it go."""

    region_chosen = pyqtSignal(object)

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
        picture = self.picture
        if self._drag is not None:
            framed = QRect(*self._drag).normalized().intersected(place)
        elif self._region is not None and picture is not None:
            across, down = place.width() / picture.shape[1], place.height() / picture.shape[0]
            framed = QRect(
                place.left() + round(self._region.column * across), place.top() + round(self._region.row * down),
                round(self._region.columns * across), round(self._region.rows * down),
            )
        else:
            return
        painter.setPen(QPen(_MARK, 2))
        painter.drawRect(framed)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Begin a region."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton and self.picture is not None:
            self._drag = (event.pos(), event.pos())

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Widen it."""
        if event is not None and self._drag is not None:
            self._drag = (self._drag[0], event.pos())
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Choose it."""
        if event is None or self._drag is None:
            return
        dragged, self._drag = QRect(self._drag[0], event.pos()).normalized(), None
        self.update()
        self.region_chosen.emit(self._region_under(dragged))

    def _region_under(self, dragged: QRect) -> Region | None:
        """Return the region of the picture under a rectangle of the widget; None where that is next to nothing."""
        picture, place = self.picture, self.picture_rect()
        covered = dragged.intersected(place)
        if picture is None or min(covered.width(), covered.height()) < _LEAST_DRAG_PX:
            return None
        across, down = picture.shape[1] / place.width(), picture.shape[0] / place.height()
        column, row = int((covered.left() - place.left()) * across), int((covered.top() - place.top()) * down)
        columns = min(picture.shape[1] - column, max(1, round(covered.width() * across)))
        rows = min(picture.shape[0] - row, max(1, round(covered.height() * down)))
        return Region(row, column, rows, columns)
