"""A real phone scope: a source of pictures, a light, and what brings the fields under it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from mobilescope.core.errors import DeviceError
from mobilescope.core.phone_picture import PhonePicture, PictureSource
from mobilescope.core.progress import StopToken
from mobilescope.core.protocols import Illuminator, PhoneCapture, XYZStage
from mobilescope.devices.phones.arrivals import digests_of
from mobilescope.devices.phones.moving import Mover, StageMover

_DEVICE_LETTERS = 60


class RealPhone:
    """Implements `PhoneCamera` over a `PictureSource`.

    Parameters
    ----------
    pixel_um : float
        Pitch of the Bayer lattice at the specimen.
    frame_shape : tuple of int, optional
        Rows and columns of its frame; learned from the source when first needed where it is not given.
    ask_mount : callable
        Has the person put a named slide on the phone scope.
    on_close : callable
        Frees what the mover holds.
    """

    def __init__(
        self, source: PictureSource, *, illuminator: Illuminator, mover: Mover, pixel_um: float,
        frame_shape: tuple[int, int] | None, ask_mount: Callable[[str], None],
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._source, self._illuminator, self._mover = source, illuminator, mover
        self._pixel_um, self._shape, self._ask_mount = pixel_um, frame_shape, ask_mount
        self._stop, self._on_close = StopToken(), on_close
        self._known: set[str] = set()
        self._mounted = ""

    @property
    def illuminator(self) -> Illuminator:
        """The light under the slide."""
        return self._illuminator

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of the raw frame, or of the JPEG of a phone that gives none."""
        if self._shape is None:
            self._shape = self._source.shape()
        return self._shape

    @property
    def field_of_view_um(self) -> tuple[float, float]:
        """Width and height of a capture at the specimen."""
        rows, columns = self.frame_shape
        return columns * self._pixel_um, rows * self._pixel_um

    @property
    def focus_stage(self) -> XYZStage | None:
        """The motorised stage that it can be focused with; None where a person moves it or releases the camera."""
        return self._mover.stage if isinstance(self._mover, StageMover) else None

    def expect(self, frame_shape: tuple[int, int]) -> None:
        """Take pictures of this frame alone, which a session began with."""
        self._shape = frame_shape

    def heed(self, stop: StopToken) -> None:
        """End what waits, from now on, when this token asks for it."""
        self._stop = stop

    def check_fields(self, fields: Iterable[tuple[float, float]]) -> None:
        """Refuse nominal positions (x, y) in µm that can't be reached, before anything moves; LimitError names one."""
        self._mover.check(fields)

    def know(self, digests: Iterable[str]) -> None:
        """Take no file with one of these SHA-256 for a new picture."""
        self._known.update(digests)

    def mount(self, slide: str) -> None:
        """Have the person put the named slide on the phone scope."""
        if slide != self._mounted:
            self._ask_mount(slide)
            self._mover.forget()
            self._mounted = slide

    def capture(self, x_um: float, y_um: float) -> PhoneCapture:
        """Bring the field into view and take its picture.

        Raises
        ------
        DeviceError
            No picture came, or not one of this session's frame, or, in light, the same again; nothing of it is kept.
        LimitError
            The field lies outside the stage's range.
        CancelledError
            A stop was asked for while waiting.
        """
        wanted = self.frame_shape
        nominal, moved = self._mover.go(x_um, y_um, self._stop, self._source.prepare)
        picture = self._source.take(self._stop, self._known)
        arrived_s = time.time()
        self._check(picture, wanted)
        device = " ".join(part for part in (picture.camera[:_DEVICE_LETTERS], f"({self._source.name})") if part)
        settings = moved | ({"captured": picture.captured} if picture.captured else {})
        return picture.capture(
            nominal, pixel_um=self._pixel_um, time_s=arrived_s, light=self._illuminator.state(), device=device[:120],
            settings=settings,
        )

    def close(self) -> None:
        """Free the phone and its stage."""
        try:
            self._source.close()
        finally:
            self._on_close()

    def _check(self, picture: PhonePicture, wanted: tuple[int, int]) -> None:
        """Refuse a picture of another frame, and in light one that was there already; know it from now on."""
        shape = picture.shape
        if shape != wanted:
            came = f"{self._source.name} sent a picture of {shape[1]}x{shape[0]} px, and this session's have " \
                   f"{wanted[1]}x{wanted[0]}"
            if shape == wanted[::-1]:
                raise DeviceError(f"{came}: it was turned", "lock the rotation of the phone's screen and camera app")
            raise DeviceError(
                came, "set the camera back to the resolution with which the session began, or begin another session"
            )
        digests = digests_of(picture)
        # In the dark, two pictures of a camera that cuts its noise off may well be the same.
        if digests & self._known and self._illuminator.state().on:
            raise DeviceError(
                f"{self._source.name} sent the same picture again, byte for byte",
                "its camera app hangs: close and open it, then run the same command again",
            )
        self._known |= digests
