"""What a simulated ring shows: lines of JSON, a drawing in a terminal, or plain lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from rich.console import Group
from rich.live import Live
from rich.text import Text

from mobilescope.app.firmware.ring_view import ring_text
from mobilescope.app.firmware.simulating import SimulatedRing, frame_colours, frame_json
from mobilescope.app.terminal.console import print_json, say, stderr
from mobilescope.core.errors import DeviceError
from mobilescope.twin.ring_simulator import ShownFrame

_WAIT_S = 0.1
_MARGIN_ROWS = 4


def show_frames(ring: SimulatedRing, told: threading.Event, *, json: bool) -> None:
    """Show each frame of a ring until told to end."""
    if json or not stderr.is_terminal:
        for frame in _frames(ring, told):
            _put(frame, json=json)
        return
    with Live(console=stderr, refresh_per_second=10, transient=True) as live:
        for frame in _frames(ring, told):
            live.update(_drawn(frame))


def _frames(ring: SimulatedRing, told: threading.Event) -> Iterator[ShownFrame]:
    """Yield the frames of a ring until told to end."""
    while not told.is_set():
        try:
            frame = ring.next_frame(_WAIT_S)
        except DeviceError:
            # A terminal's Ctrl-C ends the simulator too.
            if told.is_set():
                return
            raise
        if frame is not None:
            yield frame


def _put(frame: ShownFrame, *, json: bool) -> None:
    if json:
        print_json(frame_json(frame))
    else:
        say(_caption(frame) + "  " + " ".join(frame.pixels))


def _drawn(frame: ShownFrame) -> Group:
    return Group(ring_text(frame_colours(frame), rows=stderr.size.height - _MARGIN_ROWS), Text(_caption(frame)))


def _caption(frame: ShownFrame) -> str:
    times = "".join(
        f", {name} {span[0]}-{span[1]} ns"
        for name, span in (("T0H", frame.t0h_ns), ("T1H", frame.t1h_ns), ("bit", frame.bit_ns)) if span is not None
    )
    return f"{frame.t_s:.3f} s{times}{f', {frame.error}' if frame.error else ''}"
