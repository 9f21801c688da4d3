"""The middle of the server: which phone is connected, what it tells, and what it is told."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import DeviceError
from mobilescope.core.phone_page_config import LockWishes
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import Frame
from mobilescope.devices.phone_page import messages
from mobilescope.devices.phone_page.clock import PhoneClock
from mobilescope.devices.phone_page.decoding import PreviewDecoder
from mobilescope.devices.phone_page.frames import PhonePageFrames
from mobilescope.devices.phone_page.link import PageLink
from mobilescope.devices.phone_page.messages import CloseCode, PageRefusedError, PreviewPacket
from mobilescope.devices.phone_page.pairing import Client, PairingDesk
from mobilescope.devices.phone_page.shutter import Shutter
from mobilescope.devices.phone_page.stills import Still, StillStore
from mobilescope.devices.phone_page.values import PageSnapshot, change_of

_RATE_OVER_S = 3.0
_CLOCK_EVERY_S = 2.0
_FIRST_CLOCKS = 4


@dataclass(eq=False)
class _Session:
    """The connected phone."""

    client: Client
    link: PageLink
    decoder: PreviewDecoder
    clock: PhoneClock


class PhoneHub:
    """Shared by the server's loop, the decoder and whoever uses the phone; every method may be called by any thread.

    Parameters
    ----------
    pixel_size_um : float or None
        Pixel pitch of the preview at the specimen.
    on_event : callable
        Told a line for a person whenever something happens.
    settle_ms : int
        How long the camera's automatics have before they are held.
    """

    def __init__(
        self, desk: PairingDesk, store: StillStore, *, wishes: LockWishes, pixel_size_um: float | None,
        on_event: Callable[[str], None], settle_ms: int = 1200,
    ) -> None:
        self.desk, self.store = desk, store
        self._wishes, self._pixel_size_um, self._on_event = wishes, pixel_size_um, on_event
        self._settle_ms = settle_ms
        self._lock = threading.RLock()
        self._session: _Session | None = None
        self._clocks: dict[str, PhoneClock] = {}
        self._first_camera: messages.CameraReport | None = None
        self._now = PageSnapshot(stills=len(store))
        self._times: deque[float] = deque(maxlen=256)
        self._streams: list[PhonePageFrames] = []
        self._captured_ms: deque[tuple[int, float]] = deque(maxlen=256)
        self._last_captured_s = -math.inf
        self.shutter = Shutter(self._lock, self._send, lambda: self.snapshot().why_no_still())
        self._listeners: list[Callable[[Still], None]] = []
        self._guidance: tuple[str, str] = ("Point the phone at the specimen and focus.", "info")
        self._enhances = False

    # What the rest of the program asks.

    def snapshot(self) -> PageSnapshot:
        """Return how things stand."""
        now_s = time.monotonic()
        with self._lock:
            recent = [each for each in self._times if now_s - each < _RATE_OVER_S]
            clock = self._session.clock.reading if self._session else None
            return replace(self._now, fps=len(recent) / _RATE_OVER_S, clock=clock)

    def frames(self) -> PhonePageFrames:
        """Return the preview as a stream."""
        stream = PhonePageFrames(self._stream_name, self._forget_stream)
        with self._lock:
            self._streams.append(stream)
        return stream

    def guide(self, text: str, level: Literal["info", "go", "warn"] = "info") -> None:
        """Tell the operator what to do next; of what is wrong, the person at this computer is told too."""
        with self._lock:
            self._guidance = text, level
            self._send("guidance", text=text, level=level)
        if level == "warn":
            self._on_event(f"warning: {text}")

    def on_still(self, listener: Callable[[Still], None]) -> None:
        """Have a function called with each still once it is safe."""
        with self._lock:
            self._listeners.append(listener)

    def wait_for_camera(self, timeout_s: float, stop: StopToken | None = None) -> messages.CameraReport:
        """Wait until a phone is connected and its camera open; DeviceError where that takes longer."""
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            now = self.snapshot()
            if now.phone and now.camera is not None:
                return now.camera
            if stop is not None:
                stop.raise_if_requested("waiting for a phone")
            time.sleep(0.05)
        why = self.snapshot().why_no_still() or "the phone's camera did not open"
        raise DeviceError(f"{why}; waited {timeout_s:g} s", "scan the terminal's code with the phone, and tap Start")

    def show_enhanced(self, jpeg: bytes, frame: Frame, **notes: Any) -> None:
        """Send what was made of a frame back to the phone."""
        with self._lock:
            session = self._session
            captured = next((ms for index, ms in reversed(self._captured_ms) if index == frame.index), None)
        if session:
            header = {"captured_ms": captured, "delay_ms": 1000 * (time.monotonic() - frame.captured_s), **notes}
            session.link.send_picture(messages.enhanced_message(header, jpeg))

    def enhances(self) -> None:
        """Note that enhanced pictures will be sent; the page makes room for them."""
        with self._lock:
            self._enhances = True

    def close(self) -> None:
        """Let the phone go, and wake whoever waits."""
        with self._lock:
            session, self._session = self._session, None
            streams = list(self._streams)
        if session:
            session.decoder.close()
        for stream in streams:
            stream.end()
        self.shutter.close()

    # What the server's loop does.

    def occupant(self, client: Client | None) -> str:
        """Return the name of another phone that is connected, empty where none is."""
        with self._lock:
            session = self._session
        if session is None or (client is not None and session.client.identity == client.identity):
            return ""
        return session.client.name

    async def serve(self, link: PageLink, client: Client, secret: str) -> None:
        """Talk with an admitted page until it goes."""
        session = self._begin(link, client, secret)
        tasks = [asyncio.create_task(work) for work in (link.pump(), self._reading(session), _asking_time(session))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._end(session)

    def clock_of(self, client: Client) -> PhoneClock | None:
        """Return the clock measured for a phone, None where none was yet."""
        with self._lock:
            return self._clocks.get(client.identity)

    def still_saved(self, still: Still) -> None:
        """Note a still that is safe: whoever asked for it has it."""
        with self._lock:
            self._now = replace(self._now, stills=len(self.store))
            self._check_size(still)
            listeners = list(self._listeners)
        self.shutter.came(still)
        if not still.again:
            for listener in listeners:
                listener(still)

    def refused(self, reason: str) -> None:
        """Count a message or a client that was refused."""
        with self._lock:
            self._now = replace(self._now, refused=self._now.refused + 1, last_refusal=reason)
        self._on_event(f"refused: {reason}")

    def _send(self, kind: str, **facts: Any) -> None:
        """Send a message to the page that is connected, if one is."""
        with self._lock:
            if self._session:
                self._session.link.send(kind, **facts)

    def _begin(self, link: PageLink, client: Client, secret: str) -> _Session:
        decoder = PreviewDecoder(
            lambda packet, pixels: self._decoded(session, packet, pixels),
            lambda: link.send("key_wanted"),
            lambda: link.refuse(CloseCode.MALFORMED, "the preview can't be decoded"),
            lambda error: self._preview_failed(session, error),
        )
        with self._lock:
            before = self._session
            clock = self._clocks.setdefault(client.identity, PhoneClock())
            session = self._session = _Session(client, link, decoder, clock)
            same = before is not None and before.client.identity == client.identity
            if before is None or not same:
                self._first_camera = None
            self._now = replace(
                self._now, phone=client.name, awake=True, camera=None, camera_failure="", rates=None, warning="",
                paired=self._now.paired + 1, preview_failure="",
            )
            text, level = self._guidance
            link.send(
                "welcome", secret=secret, name=client.name, locks=self._wishes.model_dump(), enhances=self._enhances,
                stills=len(self.store), settle_ms=self._settle_ms,
            )
            link.send("guidance", text=text, level=level)
            self.shutter.ask_again()
        if before is not None:
            by = "this phone opened the page again" if same else f"{client.name} took over"
            before.link.send("taken_over", by=by)
            before.link.refuse(CloseCode.TAKEN_OVER, by)
        took_over = "" if before is None or same else f" (took over from {before.client.name})"
        self._on_event(f"connected: {client.name}{took_over}")
        return session

    def _end(self, session: _Session) -> None:
        session.decoder.close()
        with self._lock:
            if self._session is not session:
                return
            self._session = None
            self._now = replace(self._now, phone="", awake=False, camera=None, rates=None)
        self._on_event(f"gone: {session.client.name}; it may come back")

    async def _reading(self, session: _Session) -> None:
        while True:
            data = await session.link.receive()
            if isinstance(data, bytes):
                session.decoder.put(messages.read_preview(data))
                continue
            self._told(session, messages.read_text(data))

    def _told(self, session: _Session, message: messages.ClientMessage) -> None:
        """Take in what a page tells."""
        if isinstance(message, messages.Hello):
            raise PageRefusedError(CloseCode.MALFORMED, "a second hello")
        if isinstance(message, messages.ClockAnswer):
            session.clock.answer(message.id, phone_ms=message.phone_ms, wall_ms=message.wall_ms)
            return
        with self._lock:
            if self._session is not session:
                return
            if isinstance(message, messages.CameraReport):
                self._on_camera(session, message)
            elif isinstance(message, messages.CameraFailed):
                self._now = replace(self._now, camera=None, camera_failure=message.reason)
                self._on_event(f"camera: {message.reason}")
            elif isinstance(message, messages.Visible):
                self._now = replace(self._now, awake=message.visible)
            elif isinstance(message, messages.Rates):
                self._now = replace(self._now, rates=message)
            elif isinstance(message, messages.TakeFailed):
                self.shutter.failed(message.request, message.reason)

    def _on_camera(self, session: _Session, report: messages.CameraReport) -> None:
        self._first_camera = self._first_camera or report
        warning = change_of(self._first_camera, report)
        if warning != self._now.warning:
            session.link.send("warning", text=warning)
            self._on_event(warning or "The phone's stills are as they were again.")
        self._now = replace(self._now, camera=report, camera_failure="", warning=warning)

    def _check_size(self, still: Still) -> None:
        """Warn of a still that is not of the size that the phone's camera said."""
        camera = self._now.camera
        if still.header.source != "camera" or camera is None or not self._session or still.again:
            return
        said = camera.still_width, camera.still_height
        if still.shown != said:
            text = f"The last still has {still.shown[0]}x{still.shown[1]} pixels; the camera said {said[0]}x{said[1]}."
            self._now = replace(self._now, warning=text)
            self._session.link.send("warning", text=text)
            self._on_event(text)

    def _decoded(self, session: _Session, packet: PreviewPacket, pixels: NDArray[np.uint8]) -> None:
        """Hand a picture to every stream and tell the page that it was seen; in the decoder's thread."""
        session.link.send("seen", number=packet.number)
        with self._lock:
            if self._session is not session:
                return
            # A better measure of the phone's clock must not make time run backwards.
            captured_s = self._last_captured_s = max(
                self._last_captured_s, session.clock.monotonic_s(packet.captured_ms)
            )
            index = self._now.pictures
            self._now = replace(self._now, pictures=index + 1)
            self._times.append(time.monotonic())
            self._captured_ms.append((index, packet.captured_ms))
            frame = Frame(pixels, index, captured_s, self._pixel_size_um)
            for stream in self._streams:
                stream.put(frame)
            self._now = replace(self._now, preview_failure="")

    def _preview_failed(self, session: _Session, error: Exception) -> None:
        """Tell of a preview picture that failed on this computer's side."""
        text = f"{type(error).__name__}: {error}"
        with self._lock:
            if self._session is not session or text == self._now.preview_failure:
                return
            self._now = replace(self._now, preview_failure=text)
        self._on_event(f"a preview picture failed on this computer ({text}); stills are not affected")

    def _stream_name(self) -> str:
        name = self.snapshot().phone
        return f"phone page ({name})" if name else "phone page"

    def _forget_stream(self, stream: PhonePageFrames) -> None:
        with self._lock:
            if stream in self._streams:
                self._streams.remove(stream)


async def _asking_time(session: _Session) -> None:
    """Ask for the phone's time, a few times at once and then now and then."""
    asked = 0
    while True:
        session.link.send("clock", id=session.clock.ask())
        asked += 1
        await asyncio.sleep(0.1 if asked < _FIRST_CLOCKS else _CLOCK_EVERY_S)
