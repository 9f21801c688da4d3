"""The ring of LEDs under the slide: patterns, sequences and colours, a light that is never in doubt.

`Ring` keeps the light on from a thread, restores it after resets and pulled cables, and switches it off in the end.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from mobilescope.core.errors import DeviceError, MobilescopeError, RefusedError, UserError
from mobilescope.core.protocols import LightState
from mobilescope.core.ring_model import Colour, pattern_colours
from mobilescope.core.ring_protocol import SETTING_RANGES, Command, Setting, Status
from mobilescope.devices.ports import only_board
from mobilescope.devices.ring_board import RingBoard
from mobilescope.devices.ring_link import connect, identify
from mobilescope.devices.ring_records import BoardIdentity, RingState, RingStatistics, SelfTestReport, read_setting
from mobilescope.devices.ring_snapshots import Dimmed, light_state, ring_state
from mobilescope.devices.ring_wanted import DARK, Pixels, Steady, colour_bytes
from mobilescope.devices.transport import Link, Wire
from mobilescope.plans.illumination import Pattern, Sequence, checked_colour

__all__ = ["BoardIdentity", "Ring", "RingState", "RingStatistics", "SelfTestReport"]

StateListener = Callable[[RingState], None]

_KEEP_ALIVE_S = 0.5
_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 2.0
# Each byte of the EEPROM takes 3.4 ms, a long ring has some 200.
_STORE_S = 3.0
_SELF_TEST_S = 2.0


class Ring:
    """A ring on a port. Implements `Illuminator`; safe to use from several threads. Make it with `open`.

    Attributes
    ----------
    identity : BoardIdentity
        Who answered the handshake.
    """

    def __init__(self, link: Link, identity: BoardIdentity, *, keep_alive: bool) -> None:
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._listeners: list[StateListener] = []
        self._board = RingBoard(link, identity)
        self._closed = False
        self._dimmed: Dimmed | None = None
        self._state = ring_state(self._board, closed=False)
        self._light = light_state(self._board, None, closed=False)
        self._keeper: threading.Thread | None = None
        _open_rings.add(self)
        if keep_alive:
            self._keeper = threading.Thread(target=self._keep, name=f"ring on {identity.port}", daemon=True)
            self._keeper.start()

    @classmethod
    def open(cls, port: str | None = None, *, keep_alive: bool = True, wire: Wire | None = None) -> Self:
        """Find the board, shake hands and switch the light off.

        Parameters
        ----------
        port : str, optional
            A serial port; without one, that of the one board plugged in.
        keep_alive : bool
            Keep the light on from a thread. Without it light lasts as long as the board's HOST_TIMEOUT_MS after the
            last call; `refresh` does by hand what the thread does.
        wire : Wire, optional
            An open line to use instead of a port.

        Raises
        ------
        UserError
            No board or several of them (``port`` left out), or a port that can't be opened (PortError).
        LinkError
            Nobody answers there.
        FirmwareVersionError
            The firmware speaks another protocol.
        """
        if wire is None:
            link, identity = connect(port or only_board())
        else:
            link = Link(wire)
            identity = identify(link)
        try:
            return cls(link, identity, keep_alive=keep_alive)
        except BaseException:
            link.wire.close()
            raise

    @property
    def identity(self) -> BoardIdentity:
        """Who answered the handshake; ``pixels`` follows `configure`."""
        return self._board.identity

    def fill(self, colour: Colour, *, first: int = 0, count: int | None = None) -> None:
        """Light ``count`` pixels from ``first`` on (all that follow, if left out); the others stay."""
        checked_colour(colour)
        with self._operating() as board:
            count = board.identity.pixels - first if count is None else count
            self._check_range(first, count)
            asked = self._changed(first, (colour,) * count)
            board.change(asked, Command.FILL, bytes([first, count, *colour]))

    def set_pixel(self, index: int, colour: Colour) -> None:
        """Light one pixel; the others stay."""
        checked_colour(colour)
        with self._operating() as board:
            self._check_range(index, 1)
            board.change(self._changed(index, (colour,)), Command.SET_ONE, bytes([index, *colour]))

    def set_pixels(self, colours: list[Colour] | tuple[Colour, ...], *, first: int = 0) -> None:
        """Light consecutive pixels, each with its own colour; the others stay."""
        colours = tuple(checked_colour(colour) for colour in colours)
        with self._operating() as board:
            self._check_range(first, len(colours))
            asked = self._changed(first, colours)
            if asked == colours or len(colours) > board.range_pixels:
                board.write(asked)
            else:
                board.change(asked, Command.SET_RANGE, bytes([first]) + colour_bytes(colours))

    def show(self, pattern: Pattern) -> None:
        """Show a pattern; pixels outside it are dark."""
        with self._operating() as board:
            asked = self._pattern_colours(pattern)
            board.change(asked, Command.PATTERN, bytes([pattern.kind, pattern.position, *pattern.colour]))

    def play(self, sequence: Sequence) -> None:
        """Let the board play a sequence by its own clock; the ring is dark afterwards."""
        with self._operating() as board:
            steps = board.identity.max_steps
            if len(sequence.steps) > steps:
                raise UserError(f"the sequence has {len(sequence.steps)} steps", f"this board keeps {steps}")
            for step in sequence.steps:
                self._pattern_colours(step.pattern)
            board.play(sequence)

    def stop(self) -> None:
        """Stop a sequence and go dark."""
        with self._operating() as board:
            board.darken(Command.SEQUENCE_STOP)

    def off(self) -> None:
        """Switch the light off."""
        with self._operating() as board:
            board.darken()

    def set_colour(self, red: int, green: int, blue: int, brightness: float = 1.0) -> None:
        """Light the whole ring with one colour, channels 0-255, brightness 0-1."""
        colour = checked_colour((red, green, blue))
        if not 0 <= brightness <= 1:
            raise UserError(f"brightness is {brightness}", "it lies between 0 and 1")
        dimmed = (round(red * brightness), round(green * brightness), round(blue * brightness))
        with self._operating() as board:
            pixels = board.identity.pixels
            asked = (dimmed,) * pixels
            board.change(asked, Command.FILL, bytes([0, pixels, *dimmed]))
            self._dimmed = Dimmed(asked, colour, brightness)

    def state(self) -> LightState:
        """Return the light as images record it: of pixels that differ, the strongest of each channel."""
        return self._light

    def ring_state(self) -> RingState:
        """Return the ring as last acknowledged; never waits."""
        return self._state

    def subscribe(self, listener: StateListener) -> Callable[[], None]:
        """Call ``listener`` with each new state, from the thread that brought it; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def configure(self, setting: Setting, value: int) -> None:
        """Change a setting until the ring is closed; all but the two time-outs switch the light off."""
        limits = SETTING_RANGES[setting]
        greatest = self.identity.max_pixels if setting == Setting.PIXELS else limits.greatest
        if not (limits.least <= value <= greatest or (limits.zero and value == 0)):
            zero = "0 or " if limits.zero else ""
            raise UserError(f"{setting.name} is {value}", f"give {zero}{limits.least} to {greatest}")
        with self._operating() as board:
            board.configure(setting, value)

    def setting(self, setting: Setting) -> int:
        """Return a setting as the board has it."""
        with self._operating() as board:
            board.refresh()
            return read_setting(board.request(Command.GET_CONFIG, bytes([setting])))

    def store(self) -> None:
        """Keep settings and light for power-on; at most every 10 s, since the EEPROM wears."""
        with self._operating() as board:
            board.refresh()
            try:
                board.request(Command.STORE, timeout_s=_STORE_S)
            except RefusedError as refusal:
                if refusal.status == Status.STORE_FAILED:
                    raise DeviceError(refusal.cause, "the board's EEPROM is worn: use another board") from refusal
                raise

    def self_test(self) -> SelfTestReport:
        """Let the board test itself; the light is off afterwards."""
        with self._operating() as board:
            board.darken()
            return SelfTestReport.read(board.request(Command.SELF_TEST, timeout_s=_SELF_TEST_S))

    def statistics(self) -> RingStatistics:
        """Return the counters of both sides."""
        with self._operating() as board:
            board.ready()
            return RingStatistics.read(board.request(Command.STATISTICS), board.link.statistics)

    def refresh(self) -> None:
        """Tell the board that the host lives, and restore what a reset or a pulled cable took."""
        with self._operating() as board:
            board.refresh()

    def close(self) -> None:
        """Switch off and free the port.

        Raises
        ------
        LinkError
            The board did not confirm that the light is off.
        """
        self._stop.set()
        try:
            with self._lock:
                if not self._closed:
                    self._closed = True
                    self._board.leave()
        finally:
            with self._lock:
                self._board.link.wire.close()
                _open_rings.discard(self)
                self._publish()
            if self._keeper is not None and self._keeper is not threading.current_thread():
                self._keeper.join()

    def __enter__(self) -> Self:
        """Use the ring in a with-block, which leaves it dark."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Switch off, whatever happened; a failure to do so is added to what happened."""
        try:
            self.close()
        except MobilescopeError as failure:
            if error is None:
                raise
            error.add_note(f"besides: {failure}")

    def _keep(self) -> None:
        """Keep the light on and the board found until the ring is closed."""
        pause_s = _KEEP_ALIVE_S
        retry_s = _FIRST_RETRY_S
        while not self._stop.wait(pause_s):
            pause_s = _KEEP_ALIVE_S
            with self._lock:
                if self._closed:
                    return
                if self._board.connected and not self._board.wanted.lit:
                    continue
                try:
                    self._board.refresh(self._stop)
                    retry_s = _FIRST_RETRY_S
                except MobilescopeError as error:
                    self._board.error = str(error)
                    pause_s, retry_s = retry_s, min(2 * retry_s, _LAST_RETRY_S)
            self._publish()

    @contextmanager
    def _operating(self) -> Iterator[RingBoard]:
        """Hold the board for one operation, and tell the listeners what came of it."""
        try:
            with self._lock:
                if self._closed:
                    raise DeviceError(f"the ring on {self.identity.port} is closed", "open it again")
                yield self._board
        finally:
            self._publish()

    def _publish(self) -> None:
        with self._lock:
            before = self._state
            state = self._state = ring_state(self._board, closed=self._closed)
            self._light = light_state(self._board, self._dimmed, closed=self._closed)
        if state != before:
            for listener in tuple(self._listeners):
                listener(state)

    def _changed(self, first: int, colours: Pixels) -> Pixels:
        """Return all pixels' colours with some of them changed."""
        board = self._board
        before = board.wanted.asked if isinstance(board.wanted, Steady) else (DARK,) * board.identity.pixels
        return before[:first] + colours + before[first + len(colours) :]

    def _check_range(self, first: int, count: int) -> None:
        pixels = self.identity.pixels
        if not 0 <= first < pixels:
            raise UserError(f"there is no pixel {first} on this ring", f"its pixels are 0 to {pixels - 1}")
        if not 1 <= count <= pixels - first:
            raise UserError(
                f"{count} pixels from pixel {first} on are not on this ring", f"give 1 to {pixels - first} of them"
            )

    def _pattern_colours(self, pattern: Pattern) -> Pixels:
        pixels = self.identity.pixels
        try:
            return tuple(pattern_colours(pattern.kind, pattern.position, pattern.colour, pixels))
        except ValueError as error:
            raise UserError(str(error), f"positions are 0 to {pixels - 1}") from error


_open_rings: weakref.WeakSet[Ring] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Switch off what is still open when the interpreter ends."""
    for ring in tuple(_open_rings):
        try:
            ring.close()
        except MobilescopeError as error:
            logging.getLogger(__name__).error("%s", error)
