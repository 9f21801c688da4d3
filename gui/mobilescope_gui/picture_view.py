"""A widget that draws one picture as fast as it comes, and lets it be looked at closely."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Event, Lock

from PyQt5.QtCore import QPoint, QRect, QSize, Qt, pyqtSignal
from PyQt5.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QResizeEvent, QWheelEvent
from PyQt5.QtWidgets import QSizePolicy, QWidget

from mobilescope_gui.bar_painting import paint_scale_bar
from mobilescope_gui.fitting import FittedPicture, Picture, size_within
from mobilescope_gui.zoom import Part, Zoom

_WAIT_S = 0.25
_BACKGROUND = QColor(24, 24, 24)
# A notch of a wheel, in Qt's eighths of a degree, and how many times closer it comes.
_NOTCH = 120
_NOTCH_CLOSER = 1.25


@dataclass(frozen=True, eq=False)
class _Shown:
    """A picture as `PictureView.present` is given it."""

    pixels: Picture
    pixel_um: float | None
    zooms: bool

    def under(self, zoom: Zoom) -> Zoom:
        """Return how closely this picture is looked at when others are so."""
        return zoom if self.zooms else Zoom()


class PictureView(QWidget):
    """Shows the newest picture, fitted into the widget; enlarged bicubically, or averaged where it is larger.

    `present` is called by other threads: it fits the picture to the widget there, so that the window's own thread has
    nothing to do but to draw it, and returns once that is done. The wheel comes closer to what is under the pointer,
    dragging moves; ``zoom_wished`` tells of either, and `look` does it, so that several views can go together.
    """

    zoom_wished = pyqtSignal(object)
    _arrived = pyqtSignal()
    _moving_buttons = Qt.MouseButton.LeftButton | Qt.MouseButton.MiddleButton | Qt.MouseButton.RightButton

    def __init__(self, hint: str) -> None:
        super().__init__()
        self._hint = hint
        self._lock = Lock()
        self._shown: _Shown | None = None
        self._fitted: FittedPicture | None = None
        self._zoom = Zoom()
        self._moved_from: QPoint | None = None
        self._room = QSize(1, 1)
        self._painted = Event()
        self._live = True
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(240, 240)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self._arrived.connect(self.update)

    def present(self, picture: Picture, *, pixel_um: float | None = None, zooms: bool = True) -> None:
        """Show a picture, from any thread but the window's.

        Parameters
        ----------
        picture : ndarray, shape (rows, columns, 3), uint8, RGB
        pixel_um : float, optional
            Pixel size at the specimen, for a scale bar.
        zooms : bool
            Show the part that is looked at; otherwise the whole.
        """
        shown = _Shown(picture, pixel_um, zooms)
        with self._lock:
            if not self._live:
                return
            room, zoom = QSize(self._room), shown.under(self._zoom)
        fitted = FittedPicture(picture, size_within(picture, room), zoom)
        with self._lock:
            if not self._live:  # frozen meanwhile
                return
            self._shown, self._fitted = shown, fitted
            self._painted.clear()
        self._arrived.emit()
        # A covered or minimised window paints nothing: nobody waits for it for long.
        self._painted.wait(_WAIT_S)

    def hold(self, picture: Picture | None, *, pixel_um: float | None = None, zooms: bool = True) -> None:
        """Show this picture (as `present` takes it) and no other until `go_on`; without one, what is shown already."""
        with self._lock:
            self._live = False
            if picture is not None:
                self._shown = _Shown(picture, pixel_um, zooms)
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
            return None if self._shown is None else self._shown.pixels

    @property
    def pixel_um(self) -> float | None:
        """The shown picture's pixel size at the specimen, None where it is not known."""
        with self._lock:
            return None if self._shown is None else self._shown.pixel_um

    def picture_rect(self) -> QRect:
        """Return where in the widget the picture lies; empty before the first."""
        picture = self.picture
        if picture is None:
            return QRect()
        size = size_within(picture, self.size())
        return QRect(QPoint((self.width() - size.width()) // 2, (self.height() - size.height()) // 2), size)

    @property
    def zooms(self) -> bool:
        """Whether there is a picture of which a part can be looked at."""
        with self._lock:
            return self._shown is not None and self._shown.zooms

    @property
    def zoom(self) -> Zoom:
        """How closely the picture is looked at; a picture that does not zoom is whole."""
        with self._lock:
            return self._zoom if self._shown is None else self._shown.under(self._zoom)

    def look(self, zoom: Zoom) -> None:
        """Look so closely from now on."""
        with self._lock:
            self._zoom = zoom
        self.update()

    def shown_part(self) -> Part:
        """Return the part of the picture that fills `picture_rect`."""
        picture = self.picture
        rows, columns = (1, 1) if picture is None else picture.shape[:2]
        return self.zoom.part_of(columns, rows)

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802 - Qt's name
        """Wish to come closer to what is under the pointer, or away from it."""
        place = self.picture_rect()
        if event is None or place.isEmpty() or not self.zooms:
            return
        at = event.pos() - place.topLeft()
        times = _NOTCH_CLOSER ** (event.angleDelta().y() / _NOTCH)
        self.zoom_wished.emit(self._zoom.closer(times, at.x() / place.width(), at.y() / place.height()))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Take hold of the picture."""
        if event is not None and event.button() & self._moving_buttons:
            self._moved_from = event.pos()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Wish that the picture goes with the pointer."""
        place = self.picture_rect()
        if event is None or self._moved_from is None or place.isEmpty() or not self.zooms:
            return
        way, self._moved_from = event.pos() - self._moved_from, event.pos()
        self.zoom_wished.emit(self._zoom.moved(-way.x() / place.width(), -way.y() / place.height()))

    def mouseReleaseEvent(self, _event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Let go of it."""
        self._moved_from = None

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
            if self.pixel_um is not None:
                paint_scale_bar(painter, place, self.shown_part().width * self.pixel_um)
        painter.end()
        self._painted.set()

    def paint_over(self, painter: QPainter, place: QRect) -> None:
        """Paint what lies over the picture; nothing here."""

    def _image_of(self, picture: Picture, size: QSize) -> QImage:
        zoom = self.zoom
        with self._lock:
            fitted = self._fitted
            if fitted is None or fitted.picture is not picture or fitted.size != size or fitted.zoom != zoom:
                fitted = self._fitted = FittedPicture(picture, size, zoom)
            return fitted.image
