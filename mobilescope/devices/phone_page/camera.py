"""The phone's page as the camera of a phone scope: it is asked for a still, and the still is checked."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mobilescope.core.errors import DeviceError
from mobilescope.core.protocols import Illuminator, PhoneCapture, PositionUm
from mobilescope.devices.phone_page.hub import PhoneHub, When
from mobilescope.devices.phone_page.stills import Still

_PAIRING_S = 600.0
_NOTHING_S = {"now": 20.0, "tap": 600.0}


@dataclass(frozen=True)
class BrowserPhoneOptions:
    """How the page is used as a camera.

    Attributes
    ----------
    pixel_um : float
        Pitch of a still's pixels at the specimen.
    when : str
        ``tap``: whoever moves the slide says when, on the page; ``now``: at once, where a stage moves it.
    frame_shape : tuple of int or None
        Rows and columns that stills must have; None learns them from a first still.
    timeout_s : float or None
        How long to wait for a still; None for a time that suits ``when``.
    """

    pixel_um: float
    when: When = "tap"
    frame_shape: tuple[int, int] | None = None
    timeout_s: float | None = None
    pairing_s: float = _PAIRING_S


class BrowserPhone:
    """Implements `PhoneCamera` over the page of whichever phone is connected.

    Parameters
    ----------
    light : Illuminator
        The light under the slide.
    ask_mount : callable
        Has the person put a named slide on the phone scope.
    """

    def __init__(
        self, hub: PhoneHub, options: BrowserPhoneOptions, *, light: Illuminator, ask_mount: Callable[[str], None]
    ) -> None:
        self._hub, self._options, self._light, self._ask_mount = hub, options, light, ask_mount
        self._shape = options.frame_shape
        self._slide = ""
        self._last_digest = ""

    @property
    def illuminator(self) -> Illuminator:
        """The light under the slide."""
        return self._light

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a still as it is stored; waits for a phone and takes one where the options don't say."""
        if self._shape is None:
            self._hub.wait_for_camera(self._options.pairing_s)
            still = self._hub.take(timeout_s=_NOTHING_S["now"])
            self._shape = still.height, still.width
        return self._shape

    @property
    def field_of_view_um(self) -> tuple[float, float]:
        """Width and height of a still at the specimen."""
        rows, columns = self.frame_shape
        return columns * self._options.pixel_um, rows * self._options.pixel_um

    def mount(self, slide: str) -> None:
        """Have the named slide put on the phone scope."""
        self._slide = slide
        self._hub.guide(f"Put slide {slide} on the phone scope.")
        self._ask_mount(slide)

    def capture(self, x_um: float, y_um: float) -> PhoneCapture:
        """Have the phone take the field around a nominal position.

        Raises
        ------
        DeviceError
            No still came, or one that does not fit: of another size, or the very one of the capture before.
        """
        options = self._options
        rows, columns = self.frame_shape
        where = f"Field at x {x_um / 1000:.2f} mm, y {y_um / 1000:.2f} mm"
        what_next = "go there, focus, then tap the shutter." if options.when == "tap" else "keep still."
        self._hub.guide(f"{where}: {what_next}", "go")
        still = self._hub.take(when=options.when, timeout_s=options.timeout_s or _NOTHING_S[options.when])
        if (still.height, still.width) != (rows, columns):
            turned = (still.height, still.width) == (columns, rows)
            what = "the phone was turned" if turned else "the phone's resolution changed"
            raise DeviceError(
                f"{what}: its still has {still.width}x{still.height} pixels, the others have {columns}x{rows}",
                "turn it back and run the same command again" if turned else "set the camera as it was, or begin anew",
            )
        if still.digest == self._last_digest:
            raise DeviceError(
                "the phone sent the very picture of the capture before: its camera stands still",
                "close the page on the phone, open it again, and run the same command",
            )
        self._last_digest = still.digest
        self._hub.guide("Saved.", "info")
        return self._captured(still, PositionUm(x_um, y_um, 0.0))

    def _captured(self, still: Still, nominal: PositionUm) -> PhoneCapture:
        settings = settings_of(still)
        data = still.path.read_bytes()
        if still.path.suffix != ".jpg":
            data = _as_jpeg(data)
            settings |= {"file": still.path.suffix.removeprefix("."), "jpeg_sha256": hashlib.sha256(data).hexdigest()}
        got = {report.name: report.got for report in still.header.settings}
        return PhoneCapture(
            bayer=None, jpeg=data, cfa="", black_level=0, white_level=255, bayer_pixel_um=self._options.pixel_um,
            white_balance=(1.0, 1.0, 1.0), nominal=nominal, time_s=still.taken_s,
            exposure_ms=_figure(got.get("exposure", "")), iso=round(_figure(got.get("iso", ""))),
            light=self._light.state(), device=f"phone page: {still.client}", settings=settings,
        )


def settings_of(still: Still) -> dict[str, str]:
    """Return what is stored with a capture: its file, how it was taken, and the camera's settings as read back."""
    header = still.header
    facts = {"sha256": still.digest, "file_name": still.path.name, "method": header.method}
    if header.orientation:
        facts["orientation"] = header.orientation
    for report in header.settings:
        facts[report.name] = f"{report.state} {report.got}".strip()[:60]
    if still.clock is not None:
        facts["phone_clock_ahead_ms"] = f"{still.clock.ahead_ms:.1f} +- {still.clock.uncertainty_ms:.1f}"
    return facts


def _figure(words: str) -> float:
    """Return the figure that a setting's words begin with, 0 where there is none."""
    try:
        return float(words.split()[0])
    except (IndexError, ValueError):
        return 0.0


def _as_jpeg(data: bytes) -> bytes:
    """Return a lossless picture as the best JPEG, with full colour resolution."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as picture:
        Image.fromarray(np.asarray(picture.convert("RGB"))).save(out, "JPEG", quality=100, subsampling=0)
    return out.getvalue()
