"""The window of the live view: what came in beside what was made of it, with rate, delay, rung and trust."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol

from PyQt5.QtCore import Qt, QTimer, pyqtSignal
from PyQt5.QtGui import QCloseEvent
from PyQt5.QtWidgets import (
    QApplication,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from mobilescope.core.errors import MobilescopeError
from mobilescope.core.protocols import Frame
from mobilescope.enhance.ladder import LadderStatus
from mobilescope.enhance.live_values import LivePicture, LiveSnapshot, Region, Verdict
from mobilescope.enhance.live_words import (
    NOT_FOR_DIAGNOSIS,
    delay_words,
    rate_words,
    rung_words,
    silence_words,
    trust_words,
)
from mobilescope.enhance.rung_controller import RUNG_TITLES, Rung
from mobilescope_gui.display_loss import end_at_once_with_the_display
from mobilescope_gui.input_view import InputView
from mobilescope_gui.picture_view import PictureView
from mobilescope_gui.qt_environment import keep_to_pyqt
from mobilescope_gui.zoom import Zoom

_REFRESH_MS = 100
_MESSAGE_MS, _ERROR_MS = 5_000, 10_000
_NOTE_PX = 22
_INPUT_HINT = "wheel: zoom; right button: move; drag: a region to enhance alone"
_AUTO = "automatic"
_NOTHING_YET = "no enhanced picture has come yet"
_ENDED = "THE STREAM HAS ENDED: what was frozen stays until 'Go on', which closes the window"
_TRUST_COLOURS = {"trusted": "#2e7d32", "caution": "#b26a00", "not for use": "#b3261e"}
_UNJUDGED_COLOUR = "#555555"


class _Pipeline(Protocol):
    def snapshot(self) -> LiveSnapshot: ...


class _Ladder(Protocol):
    def status(self) -> LadderStatus: ...

    def demand(self, rung: Rung | None) -> None: ...

    def look_at(self, region: Region | None) -> None: ...


class LiveControls(Protocol):
    """What the window shows and steers."""

    @property
    def title(self) -> str:
        """What is looked at."""

    @property
    def pipeline(self) -> _Pipeline:
        """What is measured."""

    @property
    def ladder(self) -> _Ladder:
        """What enhances."""

    @property
    def trouble(self) -> str:
        """What went wrong beside the picture; empty where nothing did."""

    def save(self, picture: LivePicture) -> Path:
        """Write a pair of pictures; return where."""


@contextmanager
def application() -> Iterator[QApplication]:
    """Yield the Qt application, made where there is none yet."""
    keep_to_pyqt()
    made = QApplication.instance() or QApplication(["mobilescope"])
    assert isinstance(made, QApplication)
    yield made


class LiveWindow(QMainWindow):
    """Shows a live run; `show_input` and `show_enhanced` are called by its threads, all else by the window's own."""

    _saved = pyqtSignal(str, int)

    def __init__(self) -> None:
        super().__init__()
        self._controls: LiveControls | None = None
        self._latest: LivePicture | None = None
        self._held: LivePicture | None = None
        self._held_verdict: Verdict | None = None
        self._saving: threading.Thread | None = None
        self.input_view = InputView("waiting for the first frame")
        self.enhanced_view = PictureView("waiting for the first enhanced frame")
        self.trust = QLabel("not judged yet")
        self.trouble = QLabel()
        self.enhanced_title = QLabel("enhanced")
        self.freeze = QPushButton("Freeze")
        self.save = QPushButton("Save")
        self.whole_field = QPushButton("Whole field")
        self.true_size = QPushButton("1:1")
        self.fit = QPushButton("Fit")
        self.rungs = QComboBox()
        self.facts = QLabel()
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._refresh)

    def show_input(self, frame: Frame) -> None:
        """Show a frame as it came; returns when it is painted. For the run's threads."""
        self.input_view.present(frame.pixels, pixel_um=frame.pixel_size_um)

    def show_enhanced(self, picture: LivePicture) -> None:
        """Show what was made of a frame; returns when it is painted. For the run's threads."""
        self._latest = picture
        self.enhanced_view.present(
            picture.enhanced.pixels, pixel_um=picture.enhanced_pixel_um, zooms=_is_whole(picture)
        )

    def look(self, zoom: Zoom) -> None:
        """Look so closely at both pictures, at the same place of the field."""
        for view in (self.input_view, self.enhanced_view):
            view.look(zoom)
        self.fit.setEnabled(zoom.factor > 1)
        self.fit.setText("Fit" if zoom.factor == 1 else f"Fit (now {zoom.factor:.1f}×)")

    def drive(self, controls: LiveControls) -> None:
        """Show and steer a run from now on."""
        self._controls = controls
        self.setWindowTitle(f"Mobilescope live: {controls.title}")
        self._list_rungs(controls.ladder.status())
        self._timer.start(_REFRESH_MS)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Let the threads go that wait for a picture to be painted, and a picture that is being saved be whole."""
        self._timer.stop()
        for view in (self.input_view, self.enhanced_view):
            view.hold(None)
        if self._saving is not None:
            self._saving.join()
        super().closeEvent(event)

    def _lay_out(self) -> None:
        self.trust.setWordWrap(True)
        self.trust.setMinimumHeight(34)
        self.trouble.setWordWrap(True)
        self.trouble.setStyleSheet("background: #b3261e; color: white; padding: 6px; font-weight: bold;")
        self.trouble.hide()
        label = QLabel(NOT_FOR_DIAGNOSIS)
        label.setStyleSheet("font-weight: bold; color: #b3261e;")
        pictures = QHBoxLayout()
        for title, view, note in (
            (QLabel("as it came, enlarged bicubically"), self.input_view, QLabel(_INPUT_HINT)),
            (self.enhanced_title, self.enhanced_view, label),
        ):
            column = QVBoxLayout()
            note.setFixedHeight(_NOTE_PX)
            column.addWidget(title)
            column.addWidget(view, stretch=1)
            column.addWidget(note)
            pictures.addLayout(column, stretch=1)
        buttons = QHBoxLayout()
        for widget in (
            self.freeze, self.save, self.true_size, self.fit, self.whole_field, QLabel("Way to enhance:"), self.rungs
        ):
            buttons.addWidget(widget)
        buttons.addStretch(1)
        self.true_size.setToolTip("a pixel of the screen for each enhanced one")
        self.true_size.clicked.connect(self._look_at_true_size)
        self.fit.clicked.connect(lambda: self.look(Zoom()))
        for view in (self.input_view, self.enhanced_view):
            view.zoom_wished.connect(self.look)
        self.look(Zoom())
        self.freeze.setCheckable(True)
        self.freeze.toggled.connect(self._freeze)
        self.save.clicked.connect(self._save)
        self._saved.connect(self._tell_saved)
        self.whole_field.clicked.connect(lambda: self._look_at(None))
        self.input_view.region_chosen.connect(self._look_at)
        self.rungs.activated.connect(self._demand)
        whole = QWidget()
        layout = QVBoxLayout(whole)
        layout.addWidget(self.trust)
        layout.addWidget(self.trouble)
        layout.addLayout(pictures, stretch=1)
        layout.addLayout(buttons)
        self.setCentralWidget(whole)
        bar = self.statusBar()
        assert bar is not None
        bar.addWidget(self.facts, 1)
        self.resize(1180, 720)

    def _refresh(self) -> None:
        """Show the latest figures; close once the run is over and nothing is frozen."""
        if self._controls is None:
            return
        snapshot, status = self._controls.pipeline.snapshot(), self._controls.ladder.status()
        if snapshot.state.over:
            self.facts.setText(_ENDED)
            if self._held is None:
                self.close()
            return
        verdict = snapshot.verdict if self._held is None else self._held_verdict
        words = trust_words(verdict)
        colour = _UNJUDGED_COLOUR if verdict is None else _TRUST_COLOURS.get(verdict.state, _UNJUDGED_COLOUR)
        self.trust.setText(f"Trust: {words}")
        self.trust.setStyleSheet(f"background: {colour}; color: white; padding: 6px; font-size: 14px;")
        silence = silence_words(snapshot) if snapshot.frames_in else ""
        troubles = [self._controls.trouble, f"{silence}: the picture is an old one" if silence else ""]
        self.trouble.setText("\n".join(filter(None, troubles)))
        self.trouble.setVisible(bool(self.trouble.text()))
        shown = self._held or self._latest
        if shown is not None:
            self.enhanced_title.setText(f"enhanced: {RUNG_TITLES[Rung(shown.enhanced.method)]}")
        looked_at = shown.enhanced.region if shown is not None and shown.enhanced.method == Rung.REGION else None
        self.input_view.mark(looked_at or status.region)
        self.whole_field.setEnabled(status.region is not None)
        self.facts.setText(
            f"{rate_words(snapshot)}   |   {delay_words(snapshot)}   |   {snapshot.dropped} dropped\n"
            f"{rung_words(status)}"
        )
        if self.rungs.count() != 1 + len(_choices(status)):
            self._list_rungs(status)

    def _list_rungs(self, status: LadderStatus) -> None:
        self.rungs.clear()
        self.rungs.addItem(_AUTO, None)
        for rung in _choices(status):
            self.rungs.addItem(RUNG_TITLES[rung], rung)
        self.rungs.setCurrentIndex(self.rungs.findData(status.asked_for) if status.asked_for else 0)

    def _freeze(self, frozen: bool) -> None:
        """Hold the latest pair, both of the same frame, or go on."""
        if frozen and self._latest is None:
            self.freeze.setChecked(False)
            self._say(_NOTHING_YET)
            return
        self._held = self._latest if frozen else None
        if self._controls is not None:
            self._held_verdict = self._controls.pipeline.snapshot().verdict
        self.freeze.setText("Go on" if frozen else "Freeze")
        if self._held is not None:
            held = self._held
            self.input_view.hold(held.frame.pixels, pixel_um=held.frame.pixel_size_um)
            self.enhanced_view.hold(
                held.enhanced.pixels, pixel_um=held.enhanced_pixel_um, zooms=_is_whole(held)
            )
        else:
            self.input_view.go_on()
            self.enhanced_view.go_on()

    def _save(self) -> None:
        picture = self._held or self._latest
        if picture is None or self._controls is None:
            self._say(_NOTHING_YET)
            return
        self.save.setEnabled(False)
        self._saving = threading.Thread(target=self._save_aside, args=(self._controls, picture), name="save")
        self._saving.start()

    def _save_aside(self, controls: LiveControls, picture: LivePicture) -> None:
        """Save on a thread of its own: a large picture or a slow disk would hold the window up."""
        try:
            self._saved.emit(f"saved: {controls.save(picture)}", _MESSAGE_MS)
        except (MobilescopeError, OSError) as error:
            self._saved.emit(str(error), _ERROR_MS)

    def _tell_saved(self, text: str, for_ms: int) -> None:
        self.save.setEnabled(True)
        self._say(text, for_ms)

    def _say(self, text: str, for_ms: int = _MESSAGE_MS) -> None:
        bar = self.statusBar()
        assert bar is not None
        bar.showMessage(text, for_ms)

    def _look_at_true_size(self) -> None:
        view = self.enhanced_view
        if view.zooms:
            self.look(view.zoom.closer(view.shown_part().width / view.picture_rect().width()))

    def _look_at(self, region: Region | None) -> None:
        if self._controls is not None:
            self._controls.ladder.look_at(region)

    def _demand(self, index: int) -> None:
        if self._controls is not None:
            self._controls.ladder.demand(self.rungs.itemData(index))


def _is_whole(picture: LivePicture) -> bool:
    """Tell whether the whole field was enhanced, not a region of it."""
    return picture.enhanced.method != Rung.REGION


def _choices(status: LadderStatus) -> list[Rung]:
    """Return the rungs that a user may ask for: the region's is one of them, it then looks at the middle."""
    return [rung for rung in Rung if rung in status.available or rung is Rung.REGION]


def run_until_closed(window: LiveWindow, told: threading.Event, *, seconds: float | None) -> None:
    """Show the window until it is closed, told to, or its seconds are over; raises what failed in it."""
    instance = QApplication.instance()
    assert instance is not None
    until_s = None if seconds is None else time.monotonic() + seconds
    watch = QTimer()

    def look() -> None:
        # It also gives Python the chance to answer signals, which Qt's loop alone would not.
        if told.is_set() or (until_s is not None and time.monotonic() >= until_s):
            window.close()

    failures: list[BaseException] = []

    def failed(_kind: type[BaseException], failure: BaseException, _trace: TracebackType | None) -> None:
        failures.append(failure)
        window.close()

    end_at_once_with_the_display()
    watch.timeout.connect(look)
    watch.start(_REFRESH_MS)
    window.show()
    window.setAttribute(Qt.WidgetAttribute.WA_QuitOnClose, True)
    before, sys.excepthook = sys.excepthook, failed  # or Qt would end the process there, with the light on
    try:
        instance.exec()
    finally:
        sys.excepthook = before
    watch.stop()
    if failures:
        raise failures[0]
