"""One board as the driver knows it: its settings, what it should show, and the exchanges that make and keep it so.

Not safe to use from several threads; `Ring` sees to that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from mobilescope.core.errors import DeviceError, LinkError, LinkLostError, PortError, RefusedError
from mobilescope.core.ring_model import estimated_ma, shown_crc
from mobilescope.core.ring_protocol import STATUS_TEXT, Command, LightFlag, Setting, Status
from mobilescope.devices.ring_link import PATIENCE_S, identify
from mobilescope.devices.ring_records import BoardIdentity, LightReply, read_setting
from mobilescope.devices.ring_wanted import DARK, Pixels, Playing, Steady, Wanted, colour_bytes, rendered, rendering_of
from mobilescope.devices.transport import Link
from mobilescope.plans.illumination import Sequence

TIME_OUTS = (Setting.HOST_TIMEOUT_MS, Setting.LOCAL_TIMEOUT_S)


class RingBoard:
    """A board behind a link, from the handshake on. It starts dark.

    Attributes
    ----------
    wanted : Steady or Playing
        What the ring should show; restored after a reset or a lost connection.
    reply : LightReply
        The board's last word on its light.
    connected : bool
        Whether the last exchange was answered and nothing is left to restore.
    """

    def __init__(self, link: Link, identity: BoardIdentity) -> None:
        self.link = link
        self.identity = identity
        self.settings: dict[Setting, int] = {}
        self.wanted: Wanted = Steady((DARK,) * identity.pixels)
        self.connected = True
        self.error = ""
        self._configured: dict[Setting, int] = {}
        self._lost = False
        self._foreign: DeviceError | None = None
        self._read_settings()
        self.reply = self._light(Command.OFF)
        self._make_sure(self.reply)

    @property
    def shown(self) -> Pixels:
        """The colours that the wire should carry; of a sequence those of its first step."""
        return self._shows()[0]

    @property
    def dark(self) -> Steady:
        """No light."""
        return Steady((DARK,) * self.identity.pixels)

    def change(self, asked: Pixels, command: Command, payload: bytes) -> None:
        """Make the ring show ``asked``, to which the command leads from what it should show now."""
        self.ready()
        # The step on show is not known: what builds on the pixels before must name them all.
        whole = isinstance(self.wanted, Playing)
        reply = self._twice(lambda: self._write(asked) if whole else self._light(command, payload))
        self.wanted = Steady(asked)
        self._make_sure(reply)

    def write(self, asked: Pixels) -> None:
        """Make the ring show ``asked``, pixel by pixel."""
        self.ready()
        reply = self._twice(lambda: self._write(asked))
        self.wanted = Steady(asked)
        self._make_sure(reply)

    def play(self, sequence: Sequence) -> None:
        """Set the steps of a sequence and start it; a step that is refused leaves the light, unless it moved."""
        self.ready()
        if isinstance(self.wanted, Playing):
            self.wanted = self.dark
            self._light(Command.SEQUENCE_STOP)
        reply = self._twice(lambda: self._play(sequence))
        self.wanted = Playing(sequence, self.identity.pixels, self.link.wire.now_s() + sequence.duration_s)
        self._make_sure(reply)

    def darken(self, command: Command = Command.OFF) -> None:
        """Switch off; whatever happens, the light is not restored afterwards."""
        self.wanted = self.dark
        self.ready()
        self._make_sure(self._light(command))

    def leave(self) -> None:
        """Switch off for good; a board whose connection failed is not looked for."""
        was_lit, self.wanted = self.wanted.lit, self.dark
        if not self.connected and not was_lit:
            return
        try:
            self._light(Command.OFF)
        except LinkError as error:
            if was_lit:
                raise LinkError(
                    f"the ring on {self.identity.port} did not confirm that its light is off ({error.cause})",
                    "it goes dark by itself after HOST_TIMEOUT_MS",
                ) from error

    def configure(self, setting: Setting, value: int) -> None:
        """Change a setting, now and after each reset; all but the time-outs switch the light off."""
        self.ready()
        payload = bytes([setting]) + value.to_bytes(2, "big")
        reply = self._twice(lambda: self._light(Command.SET_CONFIG, payload))
        self._configured[setting] = self.settings[setting] = value
        if setting == Setting.PIXELS:
            self.identity = replace(self.identity, pixels=value)
        if setting not in TIME_OUTS:
            self.wanted = self.dark
        self._make_sure(reply)

    def refresh(self, stop: threading.Event | None = None) -> None:
        """Tell the board that the host lives, and mend what its answer shows to be wrong.

        A lost connection is tried once more; ``stop`` ends the wait for it.
        """
        if not self.connected:
            self.ready(stop)
            return
        reply = self._light(Command.KEEP_ALIVE)
        if isinstance(self.wanted, Playing) and self._has_ended(reply):
            self.wanted = self.dark
        self._make_sure(reply)

    def request(self, command: Command, payload: bytes = b"", timeout_s: float | None = None) -> bytes:
        """Ask the board; a failure leaves the board to be found again before the next command."""
        try:
            data = self.link.request(command, payload, timeout_s)
        except LinkError as error:
            self._fail(error)
            raise
        self.error = ""
        return data

    def ready(self, stop: threading.Event | None = None) -> None:
        """Find the board again where its connection failed, and restore what it should show."""
        if self._foreign is not None:
            raise self._foreign
        if self.connected:
            return
        if self._lost:
            try:
                self.link.wire.reopen()
            except PortError as error:
                raise LinkLostError(error.cause, error.remedy) from error
        self._make_sure(self._restore(stop))

    def _fail(self, error: LinkError) -> None:
        self.connected = False
        self._lost |= isinstance(error, LinkLostError)
        self.error = str(error)

    def _light(self, command: Command, payload: bytes = b"") -> LightReply:
        self.reply = LightReply.read(self.request(command, payload))
        return self.reply

    def _twice(self, action: Callable[[], LightReply]) -> LightReply:
        """Do something; a refusal counts when it is given twice.

        A reset may have taken away the settings that would allow it, and one damaged frame in 65,536 goes unnoticed.
        """
        try:
            return action()
        except RefusedError:
            if LightFlag.FRESH in self._light(Command.KEEP_ALIVE).flags:
                self._restore()
            return action()

    def _make_sure(self, reply: LightReply) -> None:
        """Mend what the board shows wrong: the light, then also the settings; else switch off and say so."""
        if LightFlag.FRESH in reply.flags:
            reply = self._restore()
        elif not self._agrees(reply):
            reply = self._show_wanted()
        if LightFlag.FRESH in reply.flags or not self._agrees(reply):
            reply = self._restore()
        if self._agrees(reply):
            return
        expected = ", ".join(f"{shown_crc(show):04x}" for show in self._shows())
        self.wanted = self.dark
        self._light(Command.OFF)
        raise DeviceError(
            f"the ring on {self.identity.port} shows other light than it was told and was switched off (CRC "
            f"{reply.shown_crc:04x} instead of {expected})",
            "run mobilescope ring test, then write the firmware: mobilescope firmware flash",
        )

    def _restore(self, stop: threading.Event | None = None) -> LightReply:
        """Shake hands again, then restore the settings and the light."""
        self.connected = False
        try:
            found = identify(self.link, patience_s=PATIENCE_S, stop=stop)
        except LinkError as error:
            self._fail(error)
            # A board that hangs comes back when its port is opened anew.
            self._lost = True
            raise
        self._lost = False
        self._refuse_foreign(found)
        self._read_settings()
        for setting, value in self._configured.items():
            if self.settings[setting] != value:
                self._light(Command.SET_CONFIG, bytes([setting]) + value.to_bytes(2, "big"))
                self.settings[setting] = value
        self.connected = True
        return self._show_wanted()

    def _refuse_foreign(self, found: BoardIdentity) -> None:
        before = self.identity
        same_length = Setting.PIXELS in self._configured or found.pixels == before.pixels
        if found.board == before.board and same_length:
            self.identity = replace(found, pixels=before.pixels)
            return
        self._foreign = DeviceError(
            f"another ring is on {before.port} now: {found.board.title} with {found.pixels} pixels instead of "
            f"{before.board.title} with {before.pixels}",
            "open the ring again, or plug the first board in",
        )
        self.error = str(self._foreign)
        raise self._foreign

    def _show_wanted(self) -> LightReply:
        """Show what should be shown, whatever the board shows now; a sequence begins anew unless its time is over."""
        if isinstance(self.wanted, Playing):
            if self.link.wire.now_s() < self.wanted.ends_s:
                self._light(Command.SEQUENCE_STOP)
                return self._play(self.wanted.sequence)
            self.wanted = self.dark
        return self._write(self.wanted.asked) if self.wanted.lit else self._light(Command.OFF)

    def _agrees(self, reply: LightReply) -> bool:
        playing = isinstance(self.wanted, Playing)
        expected = {shown_crc(show) for show in self._shows()}
        return (LightFlag.SEQUENCE in reply.flags) == playing and reply.shown_crc in expected

    def _has_ended(self, reply: LightReply) -> bool:
        interrupted = LightFlag.SEQUENCE | LightFlag.TIMED_OUT | LightFlag.LOCAL | LightFlag.FRESH
        return not reply.flags & interrupted and reply.shown_crc == shown_crc(self.dark.asked)

    def _shows(self) -> list[Pixels]:
        return self.wanted.shows(rendering_of(self.settings))

    def _write(self, asked: Pixels) -> LightReply:
        """Send every pixel's colour, in one command where the board takes so much."""
        if 3 * len(asked) <= self.identity.max_payload:
            return self._light(Command.SET_ALL, colour_bytes(asked))
        self._refuse_above_supply(asked)
        # The first part of the new light beside the rest of the old may take more than either.
        reply = self._light(Command.OFF)
        for first in range(0, len(asked), self.range_pixels):
            part = asked[first : first + self.range_pixels]
            reply = self._light(Command.SET_RANGE, bytes([first]) + colour_bytes(part))
        return reply

    @property
    def range_pixels(self) -> int:
        """How many pixels one SET_RANGE takes."""
        return (self.identity.max_payload - 1) // 3

    def _refuse_above_supply(self, asked: Pixels) -> None:
        """Refuse as the board would, before the first of several commands."""
        estimated, limit = estimated_ma(rendered(asked, rendering_of(self.settings))), self.settings[Setting.SUPPLY_MA]
        if estimated > limit:
            status = Status.CURRENT_LIMIT
            raise RefusedError(
                f"{STATUS_TEXT[status].rstrip('.')} ({estimated} mA, limit {limit} mA)",
                status=status, data=estimated.to_bytes(2, "big") + limit.to_bytes(2, "big"),
            )

    def _play(self, sequence: Sequence) -> LightReply:
        for number, step in enumerate(sequence.steps):
            pattern = step.pattern
            self._light(
                Command.SEQUENCE_STEP,
                bytes([number, pattern.kind, pattern.position, *pattern.colour]) + step.duration_ms.to_bytes(2, "big"),
            )
        return self._light(
            Command.SEQUENCE_START, bytes([len(sequence.steps)]) + sequence.repeats.to_bytes(2, "big")
        )

    def _read_settings(self) -> None:
        for setting in Setting:
            self.settings[setting] = read_setting(self.request(Command.GET_CONFIG, bytes([setting])))
