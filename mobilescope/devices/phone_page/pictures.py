"""The phone's page as a source of pictures: it is asked for a still, which is safe on the disk before it counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

from mobilescope.core.errors import DeviceError, InputFileError, InputImageError
from mobilescope.core.phone_picture import UNKNOWN_MS, PhonePicture
from mobilescope.core.progress import StopToken
from mobilescope.devices.phone_page.hub import PhoneHub
from mobilescope.devices.phone_page.shutter import Asked
from mobilescope.devices.phone_page.stills import Still
from mobilescope.imaging.capture_files import developed_picture, jpeg_picture

_AT_ONCE_S = 30.0
# No exposure in ms and no ISO is as large.
_MOST = 1e7
# A camera tells its exposure in a picture's notes as a fraction, roundly.
_TOLD_ROUNDLY = 0.1


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
        self._told: set[tuple[str, str]] = set()

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
        still = hub.shutter.take(timeout_s=self._at_once_s)
        return still.height, still.width

    def guide(self, text: str) -> None:
        """Show the person at the phone what to do next."""
        self._served().guide(text, "go")

    def prepare(self) -> None:
        """Ask for a still where the person decides when; it may come from here on."""
        hub = self._served()
        self._withdraw()
        self._asked = hub.shutter.ask("tap") if self._by_hand else None

    def take(self, stop: StopToken, _known: Collection[str]) -> PhonePicture:
        """Return the still that was asked for."""
        hub = self._served()
        hub.wait_for_camera(self._patience_s, stop)
        asked = self._asked or hub.shutter.ask("now")
        self._asked = None
        still = hub.shutter.wait(asked, timeout_s=self._patience_s if self._by_hand else self._at_once_s, stop=stop)
        hub.guide("Saved.")
        picture = picture_of(still)
        self._tell_differences(hub, still, picture)
        return picture

    def close(self) -> None:
        """End the page's server."""
        if self._hub is not None:
            self._withdraw()
        self._hub = None
        self._stack.close()

    def _tell_differences(self, hub: PhoneHub, still: Still, picture: PhonePicture) -> None:
        """Tell once for each phone and setting that its stills are taken otherwise than with what it holds."""
        for figure in _figures(still, picture):
            if figure.locked and figure.differs and (still.client, figure.name) not in self._told:
                self._told.add((still.client, figure.name))
                hub.guide(
                    f"{figure.name} is locked at {figure.page:g}{figure.unit}, and the still's own notes say "
                    f"{figure.notes:g}{figure.unit}: this phone takes stills apart from its page's settings. Its notes "
                    "are stored as what it was taken with; use a camera app to hold it",
                    "warn",
                )

    def _withdraw(self) -> None:
        if self._asked is not None and self._hub is not None:
            self._hub.shutter.withdraw(self._asked)
        self._asked = None

    def _served(self) -> PhoneHub:
        """Return the hub of the page, served from now on."""
        if self._hub is None:
            self._hub = self._stack.enter_context(self._opened())
        return self._hub


def picture_of(still: Still) -> PhonePicture:
    """Read a still that is safe on the disk.

    Exposure and ISO are those of its own notes; the page's, which are those of the video, where they tell none.

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
    exposure, iso = figures = _figures(still, picture)
    differences = [
        f"{each.name} {each.notes:g}{each.unit}, page {each.page:g}{each.unit}" for each in figures if each.differs
    ]
    return replace(
        picture,
        camera=picture.camera or still.client,
        exposure_ms=exposure.notes or exposure.page or UNKNOWN_MS,
        iso=round(iso.notes or iso.page),
        captured_s=still.taken_s,
        facts=picture.facts | facts_of(still) | ({"notes_differ": "; ".join(differences)} if differences else {}),
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


@dataclass(frozen=True)
class _Figure:
    """A setting as the still's own notes tell it, and as the page read it back; 0 where one tells none."""

    name: str
    unit: str
    notes: float
    page: float
    locked: bool

    @property
    def differs(self) -> bool:
        """Whether both tell it, and not the same."""
        return bool(self.notes and self.page) and not math.isclose(self.notes, self.page, rel_tol=_TOLD_ROUNDLY)


def _figures(still: Still, picture: PhonePicture) -> tuple[_Figure, _Figure]:
    """Return exposure and ISO of a still; ``picture`` is what its file says."""
    reports = {report.name: report for report in still.header.settings}

    def figure(name: str, unit: str, notes: float) -> _Figure:
        report = reports.get(name)
        said = "" if report is None else report.got
        return _Figure(name, unit, _sound(notes), _read(said), report is not None and report.state == "locked")

    return figure("exposure", " ms", picture.exposure_ms), figure("iso", "", picture.iso)


def _read(words: str) -> float:
    """Return the figure that a setting's words begin with; 0 where they tell none that a camera can have."""
    try:
        return _sound(float(words.split()[0]))
    except (IndexError, ValueError):
        return 0.0


def _sound(figure: float) -> float:
    return figure if 0 < figure < _MOST else 0.0
