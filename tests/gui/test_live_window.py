"""The live window shows both pictures, what is measured and how far to trust it, and steers the run."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from threading import Thread

import numpy as np
import pytest
from PyQt5.QtCore import QPoint, Qt, QTimer
from PyQt5.QtTest import QTest
from screen_colours import colour_at

from mobilescope.core.errors import OutputError
from mobilescope.core.protocols import Frame
from mobilescope.enhance.ladder import Ladder
from mobilescope.enhance.live import LivePipeline
from mobilescope.enhance.live_values import Enhanced, LivePicture, LiveState, Region
from mobilescope.enhance.rung_controller import Rung
from mobilescope_gui.live_window import run_until_closed
from mobilescope_gui.zoom import Zoom

RED, GREEN, BLUE = (200, 0, 0), (0, 180, 0), (0, 0, 220)
ROWS, COLUMNS = 60, 80


class Stream:
    """A live source whose picture a test can change."""

    name, on_demand = "a test", False

    def __init__(self, colour):
        self.colour, self._closed, self._index = colour, threading.Event(), -1
        self.plugged = threading.Event()
        self.plugged.set()

    def read(self):
        while not self._closed.wait(0.01) and not self.plugged.is_set():
            pass
        if self._closed.is_set():
            return None
        self._index += 1
        pixels = np.full((ROWS, COLUMNS, 3), self.colour, np.uint8)
        return Frame(pixels, self._index, time.monotonic(), None)

    def close(self):
        self._closed.set()


def in_green(picture):
    return np.full((ROWS * 2, COLUMNS * 2, 3), GREEN, np.uint8)[: 2 * picture.shape[0], : 2 * picture.shape[1]]


@dataclass(frozen=True)
class Verdict:
    state: str
    reasons: tuple[str, ...]


@dataclass
class Run:
    source: Stream
    pipeline: LivePipeline
    ladder: Ladder
    saved: list = field(default_factory=list)
    title: str = "a test"
    trouble: str = ""
    verdicts: list = field(default_factory=list)

    def save(self, picture):
        if len(self.saved) == 1:
            raise OutputError("the folder is full", "free some space")
        self.saved.append(picture)
        return "live/somewhere.png"


@pytest.fixture
def run(window, until):
    source = Stream(RED)
    ladder = Ladder(in_green, factor=2.0, frames_per_s=0.001)
    verdicts = [Verdict("caution", ("out of focus", "too dark"))]
    pipeline = LivePipeline(
        source, ladder, window.show_enhanced, preview=window.show_input, judge=lambda _frame: verdicts[-1]
    )
    with pipeline:
        made = Run(source, pipeline, ladder, verdicts=verdicts)
        window.drive(made)
        window.show()
        until(lambda: window.enhanced_view.picture is not None and window.input_view.picture is not None)
        until(lambda: "caution" in window.trust.text())
        yield made
        window.close()


def drag(view, first, last):
    QTest.mousePress(view, Qt.LeftButton, Qt.NoModifier, first)
    QTest.mouseMove(view, last)
    QTest.mouseRelease(view, Qt.LeftButton, Qt.NoModifier, last)


def test_both_pictures_stand_side_by_side_in_their_colours(window, run):
    assert colour_at(window.input_view) == RED
    assert colour_at(window.enhanced_view) == GREEN
    left, right = (view.mapTo(window, QPoint(0, 0)) for view in (window.input_view, window.enhanced_view))
    assert left.x() + window.input_view.width() <= right.x()
    assert left.y() == right.y()
    assert window.input_view.size() == window.enhanced_view.size()


def test_it_says_how_far_to_trust_it_what_enhances_and_that_it_is_computed(window, run, until):
    assert window.trust.text() == "Trust: caution: out of focus; too dark"
    assert window.enhanced_title.text() == "enhanced: full network, whole field"
    until(lambda: "frames/s" in window.facts.text() and "enhance" in window.facts.text())
    assert "dropped" in window.facts.text()
    assert "full network, whole field" in window.facts.text()
    labels = [label.text() for label in window.findChildren(type(window.trust))]
    assert "computed, not for diagnosis" in labels
    assert "a test" in window.windowTitle()


def test_painting_is_what_the_preview_delay_measures(window, run, until):
    until(lambda: "preview" in run.pipeline.snapshot().delays)
    assert run.pipeline.snapshot().delays["preview"].median_ms > 0


def test_freezing_holds_a_pair_of_the_same_frame_and_lets_go_again(window, run, until):
    window.freeze.click()
    run.source.colour = BLUE
    before = run.pipeline.snapshot().frames_shown
    until(lambda: run.pipeline.snapshot().frames_shown > before + 5)
    assert colour_at(window.input_view) == RED
    window.freeze.click()
    until(lambda: colour_at(window.input_view) == BLUE)


def test_a_stream_that_stands_still_is_told_where_nobody_misses_it(window, run, until):
    window.save.click()  # which covers the line below for a while
    run.source.plugged.clear()
    until(window.trouble.isVisible)
    assert window.trouble.text() == "NO NEW FRAME for 2 s: the picture is an old one"
    run.source.plugged.set()
    until(lambda: not window.trouble.isVisible())


def test_before_the_first_picture_there_is_nothing_to_freeze_or_save(window, qt):
    ladder = Ladder(in_green, factor=2.0, frames_per_s=1)
    window.drive(Run(Stream(RED), LivePipeline(Stream(RED), ladder, window.show_enhanced), ladder))
    for button in (window.freeze, window.save):
        window.statusBar().clearMessage()
        button.click()
        assert window.statusBar().currentMessage() == "no enhanced picture has come yet"
    assert (window.freeze.text(), window.freeze.isChecked()) == ("Freeze", False)


def test_what_is_frozen_keeps_its_trust_whatever_comes_after_it(window, run, until):
    window.freeze.click()
    run.verdicts.append(Verdict("trusted", ()))
    until(lambda: run.pipeline.snapshot().verdict.state == "trusted")
    QTest.qWait(300)  # some refreshes
    assert "caution" in window.trust.text()
    window.freeze.click()
    until(lambda: window.trust.text() == "Trust: trusted")


def test_what_is_frozen_stays_when_the_stream_ends_until_it_is_let_go(window, run, until):
    window.freeze.click()
    held = window.input_view.picture
    run.source.close()
    until(lambda: "THE STREAM HAS ENDED" in window.facts.text())
    assert window.isVisible()
    window.save.click()
    until(lambda: run.saved)
    assert run.saved[0].frame.pixels is held
    window.freeze.click()
    until(lambda: not window.isVisible())


def test_saving_writes_the_frozen_pair_and_a_failure_is_shown(window, run, until):
    window.freeze.click()
    held = window.input_view.picture
    window.save.click()
    until(lambda: "saved: live/somewhere.png" in window.statusBar().currentMessage())
    assert run.saved[0].frame.pixels is held
    window.save.click()
    until(lambda: "the folder is full; free some space" in window.statusBar().currentMessage())


def test_a_slow_disk_holds_nothing_up_and_the_window_closes_once_the_picture_is_saved(window, run, until):
    going_on = threading.Event()

    def slowly(picture, save=run.save):
        assert going_on.wait(20)
        return save(picture)

    run.save = slowly
    window.save.click()
    shown = run.pipeline.snapshot().frames_shown
    until(lambda: run.pipeline.snapshot().frames_shown > shown + 5)
    assert not window.save.isEnabled()
    threading.Timer(0.2, going_on.set).start()
    window.close()
    assert len(run.saved) == 1


def test_what_goes_wrong_beside_the_picture_stands_in_the_window(window, run, until):
    assert not window.trouble.isVisible()
    run.trouble = "RECORDING HAS STOPPED: the disk is full; free some space"
    until(window.trouble.isVisible)
    assert window.trouble.text() == run.trouble
    shown = run.pipeline.snapshot().frames_shown
    until(lambda: run.pipeline.snapshot().frames_shown > shown)


def test_dragging_chooses_a_region_and_a_button_lets_it_go(window, run, until):
    place = window.input_view.picture_rect()
    middle = QPoint(place.center())
    drag(window.input_view, place.topLeft(), middle)
    until(lambda: run.ladder.status().region is not None)
    region = run.ladder.status().region
    assert (region.row, region.column) == (0, 0)
    assert abs(region.rows - ROWS / 2) <= 1
    assert abs(region.columns - COLUMNS / 2) <= 1
    until(lambda: window.whole_field.isEnabled())
    window.whole_field.click()
    until(lambda: run.ladder.status().region is None)


def test_a_drag_beyond_the_picture_ends_at_its_edge(window, run, until):
    view = window.input_view
    drag(view, view.picture_rect().center(), QPoint(view.width() - 1, view.height() - 1))
    until(lambda: run.ladder.status().region is not None)
    region = run.ladder.status().region
    assert region.row + region.rows <= ROWS
    assert region.column + region.columns <= COLUMNS
    assert region.of(np.zeros((ROWS, COLUMNS, 3), np.uint8)).size


@pytest.mark.parametrize("corner", [0.0, 1.0])
def test_a_look_beyond_the_picture_chooses_a_region_inside_it(window, run, until, corner):
    window.look(Zoom(16.0, corner, corner))  # half of what is looked at lies outside
    place = window.input_view.picture_rect()
    drag(window.input_view, place.topLeft(), place.topLeft() + QPoint(20, 20))
    drag(window.input_view, place.bottomRight() - QPoint(20, 20), place.bottomRight())
    until(lambda: run.ladder.status().region is not None)
    assert run.ladder.status().region.of(np.zeros((ROWS, COLUMNS, 3), np.uint8)).size


def test_a_click_chooses_no_region(window, run, until):
    run.ladder.look_at(Region(0, 0, 10, 10))
    until(lambda: run.ladder.status().region is not None)
    QTest.mouseClick(window.input_view, Qt.LeftButton, Qt.NoModifier, window.input_view.picture_rect().center())
    until(lambda: run.ladder.status().region is None)


def test_a_way_to_enhance_can_be_chosen(window, run, until):
    names = [window.rungs.itemData(index) for index in range(window.rungs.count())]
    assert names == [None, Rung.FULL, Rung.REGION, Rung.COLOUR]
    for rung in (Rung.REGION, Rung.COLOUR, None):
        index = names.index(rung)
        window.rungs.setCurrentIndex(index)
        window.rungs.activated.emit(index)
        until(lambda rung=rung: run.ladder.status().asked_for is rung)
    window.rungs.activated.emit(names.index(Rung.REGION))
    until(lambda: "full network, region" in window.enhanced_title.text())


def test_the_region_that_is_shown_is_framed_also_where_nobody_chose_it(window, run, until):
    run.ladder.demand(Rung.REGION)
    until(lambda: "region" in window.enhanced_title.text())
    place = window.input_view.picture_rect()
    row = window.input_view.grab().toImage()
    across = [row.pixelColor(x, place.center().y()).green() for x in range(place.left(), place.right())]
    marked = [x / place.width() for x, green in enumerate(across) if green > 150]
    assert min(marked) == pytest.approx(0.25, abs=0.02)
    assert max(marked) == pytest.approx(0.75, abs=0.02)


def test_the_list_of_ways_begins_at_the_one_asked_for(window, qt):
    ladder = Ladder(in_green, factor=2.0, frames_per_s=1, rung=Rung.COLOUR)
    pipeline = LivePipeline(Stream(RED), ladder, window.show_enhanced)
    window.drive(Run(Stream(RED), pipeline, ladder))
    assert window.rungs.currentText() == "bicubic and colour, no network"


@pytest.mark.parametrize("rung", [Rung.FULL, Rung.REGION])
def test_the_enhanced_pixels_are_smaller_by_the_factor_also_in_a_region(window, qt, rung):
    region = Region(0, 0, 20, 40) if rung is Rung.REGION else Region(0, 0, 60, 80)
    made = Enhanced(np.zeros((2 * region.rows, 2 * region.columns, 3), np.uint8), region, rung)
    frame = Frame(np.zeros((60, 80, 3), np.uint8), 0, 0.0, 4.0)
    window.show()
    Thread(target=window.show_enhanced, args=(LivePicture(frame, made),)).start()
    deadline = time.monotonic() + 5
    while window.enhanced_view.picture is None and time.monotonic() < deadline:
        qt.processEvents()
    assert window.enhanced_view.pixel_um == 2.0


def test_a_region_drawn_on_a_close_look_lies_where_it_was_drawn(window, run, until):
    window.look(Zoom(2.0, 0.75, 0.75))
    place = window.input_view.picture_rect()
    drag(window.input_view, place.topLeft(), place.center())
    until(lambda: run.ladder.status().region is not None)
    region = run.ladder.status().region
    assert (region.row, region.column) == (ROWS // 2, COLUMNS // 2)
    assert abs(region.rows - ROWS / 4) <= 1
    assert abs(region.columns - COLUMNS / 4) <= 1


def test_a_region_enhanced_alone_fills_its_view_however_close_the_look(window, run, until):
    window.look(Zoom(8.0, 0.9, 0.9))
    run.ladder.demand(Rung.REGION)
    until(lambda: "region" in window.enhanced_title.text())
    assert window.enhanced_view.zoom == Zoom()
    assert window.input_view.zoom.factor == 8


def test_one_to_one_leaves_a_region_that_fills_its_view_alone(window, run, until):
    run.ladder.demand(Rung.REGION)
    until(lambda: "region" in window.enhanced_title.text())
    window.true_size.click()
    assert window.input_view.zoom == Zoom()


def test_closing_the_window_ends_the_show_and_holds_no_thread_up(window, run, until):
    QTimer.singleShot(200, window.close)
    run_until_closed(window, threading.Event(), seconds=None)
    run.pipeline.request_stop()
    assert run.pipeline.wait(5)
    assert run.pipeline.snapshot().state is LiveState.STOPPED


@pytest.mark.parametrize("failure", [KeyError("a fault"), KeyboardInterrupt()])
def test_a_fault_in_the_window_closes_it_and_comes_through(window, run, failure):
    def broken(_region):
        raise failure

    run.ladder.look_at = broken
    QTimer.singleShot(100, lambda: window.input_view.region_chosen.emit(None))
    with pytest.raises(type(failure)):
        run_until_closed(window, threading.Event(), seconds=10)
    assert not window.isVisible()
    run.pipeline.request_stop()
    assert run.pipeline.wait(5)


@pytest.mark.parametrize("how", ["told", "seconds", "the stream ended"])
def test_the_window_closes_by_itself(window, run, how):
    told = threading.Event()
    if how == "told":
        QTimer.singleShot(100, told.set)
    elif how == "the stream ended":
        QTimer.singleShot(100, run.source.close)
    run_until_closed(window, told, seconds=0.2 if how == "seconds" else None)
    assert not window.isVisible()
