"""A simulated board that the tests talk to in frames, and what it says and shows."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mobilescope.core.framing import Frame, FrameSplitter, decode_frame, encode_frame
from mobilescope.core.ring_model import Colour
from mobilescope.core.ring_protocol import BOARDS, Command, LightFlag, Setting, Status
from mobilescope.twin.ring_simulator import BoardEvent, LockstepBoard, LockstepReport, ShownFrame

KINDS = {board.name: board for board in BOARDS}
START_US = 5_000
_STEP_US = 500
_PATIENCE_US = 1_500_000
_RETRY_US = 100_000


@dataclass(frozen=True)
class Reply:
    """A reply's status and the data behind it."""

    status: Status
    data: bytes = b""

    @property
    def flags(self) -> LightFlag:
        """The flags of a light reply."""
        return LightFlag(self.data[0])

    @property
    def crc(self) -> int:
        """The CRC of the pixels on the wire, of a light reply."""
        return int.from_bytes(self.data[1:3], "big")

    @property
    def current_ma(self) -> int:
        """The current of a light reply."""
        return int.from_bytes(self.data[3:5], "big")


@dataclass(frozen=True)
class Statistics:
    """The statistics reply."""

    frames: int
    bad_frames: int
    overruns: int
    timeouts: int
    resets: int
    reset_cause: int
    uptime_ms: int
    stores: int


class TalkingBoard:
    """A board in lock-step, started and told nothing yet.

    Attributes
    ----------
    frames : list of ShownFrame
        All that was shown since the board was powered.
    events : list of BoardEvent
        Edges of the trigger, and resets.
    insists : bool
        Whether `ask` repeats requests that were damaged on their way.
    """

    def __init__(self, name: str, program: Path, eeprom: Path | None = None) -> None:
        self.kind = KINDS[name]
        self.frames: list[ShownFrame] = []
        self.events: list[BoardEvent] = []
        self.time_us = 0
        self.insists = False
        self._simulated = LockstepBoard(name, program, eeprom=eeprom)
        self._stack = ExitStack()
        self._splitter = FrameSplitter()
        self._heard: list[Frame] = []
        self._sequence = 0

    def __enter__(self) -> Self:
        """Power the board and let it start."""
        self._stack.enter_context(self._simulated)
        self.run(START_US)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the simulator."""
        self._stack.__exit__(kind, error, trace)

    def run(self, us: int, data: bytes = b"") -> LockstepReport:
        """Send bytes and let time pass; replies are kept for `replies`."""
        report = self._simulated.advance(us, data)
        self.time_us = report.time_us
        self.frames += report.frames
        self.events += report.events
        self._heard += map(decode_frame, self._splitter.feed(report.received))
        return report

    def replies(self) -> list[tuple[int, int, Reply]]:
        """Return sequence number, command and reply of what was heard since the last call."""
        heard, self._heard = self._heard, []
        return [(frame.sequence, frame.command, Reply(Status(frame.payload[0]), frame.payload[1:])) for frame in heard]

    def send(self, request: bytes) -> tuple[int, int, Reply]:
        """Send a request's bytes and wait for the one reply."""
        self.run(_STEP_US, request)
        until_us = self.time_us + _PATIENCE_US
        while not self._heard:
            assert self.time_us < until_us, "the board does not answer"
            self.run(_STEP_US)
        (reply,) = self.replies()
        return reply

    def frame(self, command: int, payload: bytes = b"") -> bytes:
        """Return a request with the next sequence number."""
        self._sequence = self._sequence % 255 + 1
        return encode_frame(Frame(self._sequence, command, payload))

    def ask(self, command: int, payload: bytes = b"") -> Reply:
        """Send a command and return its reply, which must carry the request's numbers."""
        request = self.frame(command, payload)
        sequence, answered, reply = self._insist(request) if self.insists else self.send(request)
        assert (sequence, answered) == (self._sequence, command)
        return reply

    def _insist(self, request: bytes) -> tuple[int, int, Reply]:
        """Repeat a request as a host does until it got through: pixels going out cost the board bytes."""
        for _ in range(20):
            self.run(_STEP_US, request)
            until_us = self.time_us + _RETRY_US
            while not self._heard and self.time_us < until_us:
                self.run(_STEP_US)
            heard = self.replies()
            if heard and heard[-1][2].status != Status.BAD_FRAME:
                return heard[-1]
        raise AssertionError("the board does not answer")

    def do(self, command: int, payload: bytes = b"") -> Reply:
        """Send a command that must succeed."""
        reply = self.ask(command, payload)
        assert reply.status == Status.OK, reply
        return reply

    def fill(self, colour: Colour, first: int = 0, count: int = 12) -> Reply:
        """Light consecutive pixels."""
        return self.do(Command.FILL, bytes([first, count, *colour]))

    def configure(self, setting: Setting, value: int) -> Reply:
        """Change a setting."""
        return self.do(Command.SET_CONFIG, bytes([setting]) + value.to_bytes(2, "big"))

    def setting(self, setting: Setting) -> int:
        """Read a setting."""
        return int.from_bytes(self.do(Command.GET_CONFIG, bytes([setting])).data, "big")

    def statistics(self) -> Statistics:
        """Read the counters."""
        data, widths, values = self.do(Command.STATISTICS).data, (4, 2, 2, 2, 2, 1, 4, 2), []
        for width in widths:
            values.append(int.from_bytes(data[:width], "big"))
            data = data[width:]
        assert not data
        return Statistics(*values)

    @property
    def shown(self) -> tuple[Colour, ...]:
        """What the pixels were told last."""
        return colours_of(self.frames[-1])

    def press(self, us: int = 60_000) -> None:
        """Press the button and let it go."""
        self._simulated.press_button()
        self.run(us)
        self._simulated.release_button()
        self.run(60_000)

    def bounce(self, us: int) -> None:
        """Close the button's contact for a moment."""
        self._simulated.press_button()
        self.run(us)
        self._simulated.release_button()
        self.run(us)

    def reset(self, cause: str = "external", us: int = START_US) -> None:
        """Reset the chip and let it start."""
        self._simulated.reset(cause)  # type: ignore[arg-type]
        self._splitter.clear()
        self.run(us)


def colours_of(frame: ShownFrame) -> tuple[Colour, ...]:
    """Return a frame's colours as numbers; its waveform must have been in order."""
    assert frame.error is None, frame
    return tuple((red, green, blue) for red, green, blue in map(bytes.fromhex, frame.pixels))
