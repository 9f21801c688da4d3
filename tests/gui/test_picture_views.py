"""The live window's views: fitted, zoomed and moved together, with a scale bar that is true."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PyQt5.QtCore import QEvent, QPoint, QPointF, QRect, Qt
from PyQt5.QtGui import QMouseEvent, QWheelEvent
from PyQt5.QtWidgets import QApplication
from screen_colours import colour_at

from mobilescope_gui.zoom import Zoom

RED, GREEN, BLUE = (200, 0, 0), (0, 180, 0), (0, 0, 220)


def wheel(view, at, notches):
    event = QWheelEvent(
        QPointF(at), QPointF(view.mapToGlobal(at)), QPoint(), QPoint(0, 120 * notches), Qt.NoButton, Qt.NoModifier,
        Qt.NoScrollPhase, False,
    )
    QApplication.sendEvent(view, event)


def quarters(rows, columns):
    """A picture whose quarters are red, green, blue and grey."""
    picture = np.full((rows, columns, 3), 128, np.uint8)
    picture[: rows // 2, : columns // 2] = RED
    picture[: rows // 2, columns // 2 :] = GREEN
    picture[rows // 2 :, : columns // 2] = BLUE
    return picture


def test_the_wheel_brings_both_pictures_closer_to_the_same_place(window, qt):
    window.show()
    window.input_view.hold(quarters(60, 80))
    window.enhanced_view.hold(quarters(150, 200))
    qt.processEvents()
    place = window.input_view.picture_rect()
    assert colour_at(window.enhanced_view, 0.9, 0.1) == GREEN
    wheel(window.input_view, place.topLeft(), 4)
    for view in (window.input_view, window.enhanced_view):
        assert {colour_at(view, x, y) for x in (0.1, 0.9) for y in (0.1, 0.9)} == {RED}
    assert window.fit.text() == "Fit (now 2.4×)"
    window.fit.click()
    for view in (window.input_view, window.enhanced_view):
        assert colour_at(view, 0.9, 0.1) == GREEN
    assert not window.fit.isEnabled()


def test_dragging_moves_both_pictures(window, qt):
    window.show()
    window.input_view.hold(quarters(60, 80))
    window.enhanced_view.hold(quarters(150, 200))
    qt.processEvents()
    window.look(Zoom(2.0, 0.25, 0.25))
    place = window.enhanced_view.picture_rect()
    assert colour_at(window.input_view, 0.5, 0.5) == RED
    move(window.enhanced_view, Qt.LeftButton, place.topRight(), place.topLeft())
    for view in (window.input_view, window.enhanced_view):
        assert colour_at(view, 0.5, 0.5) == GREEN
    move(window.input_view, Qt.RightButton, place.bottomLeft(), place.topLeft())
    assert colour_at(window.input_view, 0.5, 0.5) == (128, 128, 128)
    send_mouse(window.input_view, QEvent.MouseMove, Qt.NoButton, place.bottomRight())
    assert colour_at(window.input_view, 0.5, 0.5) == (128, 128, 128)


def send_mouse(view, kind, button, at):
    held = Qt.NoButton if kind == QEvent.MouseButtonRelease else button
    QApplication.sendEvent(view, QMouseEvent(kind, QPointF(at), button, held, Qt.NoModifier))


def move(view, button, first, last):
    """Drag with the moves that a real pointer sends between press and release."""
    send_mouse(view, QEvent.MouseButtonPress, button, first)
    for part in (0.3, 0.7, 1.0):
        send_mouse(view, QEvent.MouseMove, button, first + (last - first) * part)
    send_mouse(view, QEvent.MouseButtonRelease, button, last)


def test_one_to_one_shows_each_enhanced_pixel_as_it_is(window, qt):
    window.show()
    fine = np.random.default_rng(0).integers(0, 255, (1800, 2400, 3), dtype=np.uint8)
    window.enhanced_view.hold(fine)
    qt.processEvents()
    window.true_size.click()
    place = window.enhanced_view.picture_rect()
    part = window.enhanced_view.shown_part()
    assert part.width == pytest.approx(place.width())
    column, row = round(part.left) + place.width() // 2, round(part.top) + place.height() // 2
    image = window.enhanced_view.grab().toImage()
    middle = [
        image.pixelColor(place.left() + place.width() // 2 + x, place.top() + place.height() // 2 + y).getRgb()[:3]
        for y in (0, 1) for x in (0, 1)
    ]
    around = fine[row - 2 : row + 4, column - 2 : column + 4]
    found = [
        (y, x) for y in range(5) for x in range(5)
        if [tuple(int(v) for v in around[y + b, x + a]) for b in (0, 1) for a in (0, 1)] == middle
    ]
    assert len(found) == 1


def white_run(view):
    """Return the length of the longest white line of the view, in pixels of the screen."""
    image = view.grab().toImage()
    best = 0
    for y in range(image.height()):
        run = 0
        for x in range(image.width()):
            run = run + 1 if image.pixelColor(x, y).getRgb()[:3] == (255, 255, 255) else 0
            best = max(best, run)
    return best


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_a_scale_bar_is_as_long_as_it_says(window, qt, factor):
    """0.9 µm in a picture of 400 pixels: 360 µm across, or 90, of which 50 or 20 µm are the longest that fit."""
    window.show()
    window.input_view.hold(np.full((300, 400, 3), 90, np.uint8), pixel_um=0.9)
    window.enhanced_view.hold(np.full((750, 1000, 3), 90, np.uint8), pixel_um=0.36)
    window.look(Zoom(factor))
    qt.processEvents()
    bar_um = {1.0: 50, 4.0: 20}[factor]
    for view in (window.input_view, window.enhanced_view):
        um_per_screen_px = 360 / factor / view.picture_rect().width()
        assert white_run(view) * um_per_screen_px == pytest.approx(bar_um, rel=0.02)


def test_without_a_pixel_size_there_is_no_scale_bar(window, qt):
    window.show()
    window.input_view.hold(np.full((300, 400, 3), 90, np.uint8))
    qt.processEvents()
    assert white_run(window.input_view) == 0


def test_a_picture_larger_than_the_widget_is_averaged_not_sampled(window, qt):
    view = window.enhanced_view
    window.show()
    stripes = np.zeros((2000, 2000, 3), np.uint8)
    stripes[:, ::2] = 200
    view.hold(stripes)
    qt.processEvents()
    assert colour_at(view) == pytest.approx((100, 100, 100), abs=12)


def test_a_small_picture_is_enlarged_bicubically(window, qt):
    view = window.input_view
    window.show()
    tiny = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    view.hold(tiny)
    qt.processEvents()
    place: QRect = view.picture_rect()
    expected = cv2.resize(tiny, (place.width(), place.height()), interpolation=cv2.INTER_CUBIC)
    for x_part, y_part in ((0.3, 0.3), (0.6, 0.2), (0.45, 0.8)):
        at = expected[int(y_part * place.height()), int(x_part * place.width())]
        assert colour_at(view, x_part, y_part) == tuple(int(value) for value in at)
