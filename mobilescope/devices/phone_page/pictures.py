"""The phone's page as a source of pictures: it is asked for a still, which is safe on the disk before it counts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

from mobilescope.core.errors import DeviceError, InputFileError, InputImageError
from mobilescope.core.phone_picture import PhonePicture
from mobilescope.core.progress import StopToken
from mobilescope.devices.phone_page.hub import Asked, PhoneHub
from mobilescope.devices.phone_page.stills import Still
from mobilescope.imaging.capture_files import developed_picture, jpeg_picture

_AT_ONCE_S = 30.0
# No exposure in ms and no ISO is as large.
_MOST = 1e7


class BrowserPictures:
    """Implements `PictureSource` over the page of whichever phone is connected.

    Parameters
    ----------
    opened : callable
        Serves the page and yields its hub; called when the phone is first wanted.
    by_hand : bool
        The person at the phone says when, with the shutter on the page; else the still is taken at once.
    patience_s : float
        How long to wait for a phone, and for a person.
    """

    def __init__(
        self, opened: Callable[[], AbstractContextManager[PhoneHub]], *, by_hand: bool, patience_s: float
    ) -> None:
        self._opened, self._by_hand, self._patience_s = opened, by_hand, patience_s
        self._at_once_s = min(patience_s, _AT_ONCE_S)
        self._stack = ExitStack()
        self._hub: PhoneHub | None = None
        self._asked: Asked | None = None

    @property
    def name(self) -> str:
        """The page, and the phone where one is connected."""
        phone = "" if self._hub is None else self._hub.snapshot().phone
        return f"phone page, {phone}" if phone else "phone page"

    @property
    def waits_for_person(self) -> bool:
        """Whether a person taps the shutter."""
        return self._by_hand

    def shape(self) -> tuple[int, int]:
        """Return rows and columns of a still as it is stored, learned from one that is taken for it."""
        hub = self._served()
        hub.wait_for_camera(self._patience_s)
        still = hub.take(timeout_s=self._at_once_s)
        return still.height, still.width

    def guide(self, text: str) -> None:
        """Show the person at the phone what to do next."""
        self._served().guide(text, "go")

    def prepare(self) -> None:
        """Ask for a still where the person decides when; it may come from here on."""
        hub = self._served()
        self._withdraw()
        self._asked = hub.ask("tap") if self._by_hand else None

    def take(self, stop: StopToken, _known: Collection[str]) -> PhonePicture:
        """Return the still that was asked for."""
        hub = self._served()
        hub.wait_for_camera(self._patience_s, stop)
        asked = self._asked or hub.ask("now")
        self._asked = None
        still = hub.wait(asked, timeout_s=self._patience_s if self._by_hand else self._at_once_s, stop=stop)
        hub.guide("Saved.")
        return picture_of(still)

    def close(self) -> None:
        """End the page's server."""
        if self._hub is not None:
            self._withdraw()
        self._hub = None
        self._stack.close()

    def _withdraw(self) -> None:
        if self._asked is not None and self._hub is not None:
            self._hub.withdraw(self._asked)
        self._asked = None

    def _served(self) -> PhoneHub:
        """Return the hub of the page, served from now on."""
        if self._hub is None:
            self._hub = self._stack.enter_context(self._opened())
        return self._hub


def picture_of(still: Still) -> PhonePicture:
    """Read a still that is safe on the disk.

    Raises
    ------
    DeviceError
        It arrived as the phone made it, and is damaged all the same.
    """
    try:
        lossless = still.path.suffix == ".png"
        picture = developed_picture(still.path) if lossless else jpeg_picture(still.path.read_bytes(), still.path.name)
    except (InputFileError, InputImageError) as error:
        raise DeviceError(f"the phone sent a still that can't be used: {error.cause}", "take it again") from error
    got = {report.name: report.got for report in still.header.settings}
    return replace(
        picture,
        camera=picture.camera or still.client,
        exposure_ms=_figure(got.get("exposure", "")) or picture.exposure_ms,
        iso=round(_figure(got.get("iso", ""))) or picture.iso,
        captured_s=still.taken_s,
        facts=picture.facts | facts_of(still),
    )


def facts_of(still: Still) -> dict[str, str]:
    """Return what is stored with a capture: how it was taken, and the camera's settings as they were read back."""
    facts = {"method": still.header.method}
    if still.header.orientation:
        facts["screen"] = still.header.orientation
    for report in still.header.settings:
        facts[report.name] = f"{report.state} {report.got}".strip()[:60]
    if still.clock is not None:
        facts["phone_clock_ahead_ms"] = f"{still.clock.ahead_ms:.1f} +- {still.clock.uncertainty_ms:.1f}"
    return facts


def _figure(words: str) -> float:
    """Return the figure that a setting's words begin with; 0 where they tell none that a camera can have."""
    try:
        figure = float(words.split()[0])
    except (IndexError, ValueError):
        return 0.0
    return figure if 0 < figure < _MOST else 0.0
