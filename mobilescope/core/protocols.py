"""What a device does (protocols) and what it reports (frozen values). Real drivers and the twin share these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.focus_record import FocusRecord

FlatFieldKind = Literal["benchtop", "phone"]
FUSED_PLANE = 10_000


@dataclass(frozen=True)
class TileKey:
    """Which picture of a scan: ``plane`` 0 is the middle of a stack, `FUSED_PLANE` is made of all its planes."""

    slide: str
    row: int
    column: int
    channel: str = ""
    plane: int = 0


@dataclass(frozen=True)
class CapturedField:
    """A field of the phone that was captured: the number of its captures, and where the phone scope stood."""

    index: int
    x_um: float
    y_um: float


@dataclass(frozen=True)
class TileState:
    """What became of a tile in its latest attempt; ``mark`` joins several by commas and is empty for a good tile."""

    attempt: int
    mark: str
    z_um: float
    verdict: str


@dataclass(frozen=True)
class PositionUm:
    """A stage position in micrometres; z grows away from the slide's glass towards the objective."""

    x_um: float
    y_um: float
    z_um: float


@dataclass(frozen=True)
class LightState:
    """The illumination as it stood when an image was taken.

    ``red``, ``green`` and ``blue`` are drive values 0–255, of pixels that differ the strongest of each; ``brightness``
    scales them, 0–1. ``pattern`` says which pixels of a ring are lit (``bright-field``, ``half-ring 6``, ``single 3``,
    ``dark``, or each by its colour: ``0-2 ff0000, 7 00ff00``), ``lit_share`` which part of them; ``firmware`` is the
    version that the ring runs. Lights that have no such thing leave them as they are here.
    """

    on: bool
    red: int
    green: int
    blue: int
    brightness: float
    source: str
    pattern: str = ""
    firmware: str = ""
    lit_share: float = 1.0


@dataclass(frozen=True)
class BenchtopImage:
    """One benchtop camera frame with what is needed to place and repeat it.

    Attributes
    ----------
    pixels : ndarray, shape (rows, columns, 3), uint8
        sRGB-encoded colour.
    position : PositionUm
        What the stage reported, not where it truly was.
    time_s : float
        Seconds since the epoch, UTC.
    """

    pixels: NDArray[np.uint8]
    pixel_size_um: float
    position: PositionUm
    time_s: float
    exposure_ms: float
    light: LightState
    device: str
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PhoneCapture:
    """One phone capture: the raw Bayer frame and the JPEG the phone made beside it, or one of the two.

    Attributes
    ----------
    bayer : ndarray, shape (rows, columns), uint16, or None
        Raw counts between ``black_level`` and ``white_level``; None from a phone that gives no raw pictures.
    jpeg : bytes
        The JPEG as the phone made it; empty where there is none beside a raw frame.
    cfa : str
        Colours of the 2×2 mosaic read row by row, for example ``"RGGB"``; empty without a raw frame.
    bayer_pixel_um : float
        Pitch of the Bayer lattice at the specimen, which is that of the full JPEG too.
    white_balance : tuple of float
        Gains of red, green, blue that the phone recorded for this session.
    """

    bayer: NDArray[np.uint16] | None
    jpeg: bytes
    cfa: str
    black_level: int
    white_level: int
    bayer_pixel_um: float
    white_balance: tuple[float, float, float]
    nominal: PositionUm
    time_s: float
    exposure_ms: float
    iso: int
    light: LightState
    device: str
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a live stream.

    Attributes
    ----------
    pixels : ndarray, shape (rows, columns, 3), uint8
        sRGB-encoded RGB; nobody writes to it once it was handed out.
    index : int
        Number of the frame since the stream began. Frames that nobody took are counted, so a gap tells how many.
    captured_s : float
        When the picture was there to be read, on the clock of `time.monotonic`.
    pixel_size_um : float or None
        Pixel pitch at the specimen, None where the source does not know it.
    """

    pixels: NDArray[np.uint8]
    index: int
    captured_s: float
    pixel_size_um: float | None


@runtime_checkable
class FrameSource(Protocol):
    """A live stream of pictures, read by one thread and closed by any."""

    @property
    def name(self) -> str:
        """What the pictures come from, for people."""

    @property
    def on_demand(self) -> bool:
        """Whether frames are made when asked for, so that none is lost by asking late; else they pass with time."""

    def read(self) -> Frame | None:
        """Wait for a frame that was not read yet and return the newest; None once the stream has ended or is closed.

        Raises
        ------
        MobilescopeError
            The stream failed, which is told from its end: a camera that is gone, a damaged file.
        """

    def close(self) -> None:
        """End the stream and free what it holds; a `read` that waits returns None. May be called twice."""


@runtime_checkable
class XYZStage(Protocol):
    """A motorised stage. Limits are checked before a move and the position is read back after it."""

    def move_xy(self, x_um: float, y_um: float) -> None:
        """Move and wait until the stage has settled."""

    def move_z(self, z_um: float) -> None:
        """Move the focus drive and wait until it has settled."""

    def position(self) -> PositionUm:
        """Return the position that the device reports."""

    def z_range_um(self) -> tuple[float, float]:
        """Return the lowest and highest allowed z."""

    def describe(self) -> str:
        """Name the devices and versions behind this stage."""


@runtime_checkable
class BoundedStage(Protocol):
    """A stage that knows how far it can go in x and y."""

    def xy_range_um(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the lowest and highest allowed x, then y."""


@runtime_checkable
class SweepingStage(XYZStage, Protocol):
    """A stage whose focus drive can be watched while it moves."""

    @property
    def sweeps(self) -> bool:
        """Whether it does so here: a stage around another one can only if that one can."""

    def begin_z(self, z_um: float) -> None:
        """Set the focus drive going at its own speed and return at once; LimitError as for `move_z`."""

    def z_while_moving(self) -> tuple[float, bool]:
        """Return the z that the drive reports now, and whether it still moves."""


@runtime_checkable
class ChannelSwitch(Protocol):
    """What changes light, filter and exposure between the channels of a scan."""

    def refusal(
        self, name: str, exposure_ms: float | None, colour: tuple[int, int, int] | None, brightness: float
    ) -> str:
        """Return why a channel can't be had, empty where it can."""

    def select(
        self, name: str, exposure_ms: float | None, colour: tuple[int, int, int] | None, brightness: float
    ) -> None:
        """Switch to a channel and wait until it is there."""

    def rest(self) -> None:
        """Leave the light as it stands between scans."""


@runtime_checkable
class Illuminator(Protocol):
    """The phone scope's light."""

    def set_colour(self, red: int, green: int, blue: int, brightness: float = 1.0) -> None:
        """Light the ring with one colour, channels 0–255, brightness 0–1."""

    def off(self) -> None:
        """Switch the light off."""

    def state(self) -> LightState:
        """Return what the light is doing now."""


@runtime_checkable
class BenchtopMicroscope(Protocol):
    """A motorised benchtop microscope with a colour camera."""

    @property
    def stage(self) -> XYZStage:
        """The stage and focus drive."""

    @property
    def pixel_size_um(self) -> float:
        """Camera pixel pitch at the specimen."""

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a full frame."""

    def mount(self, slide: str) -> None:
        """Put the named slide under the objective (asks the person, or changes the twin's slide)."""

    def snap(self, *, roi_px: int | None = None) -> BenchtopImage:
        """Take a picture; ``roi_px`` reads only a central square of that side."""


@runtime_checkable
class ExposureControl(Protocol):
    """A microscope whose camera's exposure can be set."""

    @property
    def exposure_ms(self) -> float:
        """Exposure of the pictures to come."""

    def expose(self, exposure_ms: float | None) -> None:
        """Set the exposure of the pictures to come; None for the usual one."""


@runtime_checkable
class PhoneCamera(Protocol):
    """A phone scope: moves to a nominal position over the slide and takes raw and JPEG together."""

    @property
    def illuminator(self) -> Illuminator:
        """The light under the slide."""

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of the raw Bayer frame."""

    @property
    def field_of_view_um(self) -> tuple[float, float]:
        """Width and height of a capture at the specimen."""

    def mount(self, slide: str) -> None:
        """Put the named slide on the phone scope."""

    def capture(self, x_um: float, y_um: float) -> PhoneCapture:
        """Capture the field around a nominal position in the benchtop's stage frame."""


class CaptureSink(Protocol):
    """Where acquisition puts what it takes. Each call returns when the image can no longer be lost to a crash."""

    def add_flat_field(self, kind: FlatFieldKind, image: NDArray[np.float32], channel: str = "") -> None:
        """Keep the picture of a clear field in a channel, linear light, (rows, columns, 3) for the benchtop."""

    def add_benchtop_tile(
        self, key: TileKey, index: int, image: BenchtopImage, focus: FocusRecord, *, attempt: int = 0, mark: str = ""
    ) -> None:
        """Keep one tile of a scan."""

    def add_phone_capture(
        self, slide: str, index: int, row: int, column: int, capture: PhoneCapture, *, channel: str = ""
    ) -> None:
        """Keep one phone capture; ``channel`` names the further light of the plan that it was taken in."""

    def has_flat_field(self, kind: FlatFieldKind, channel: str = "") -> bool:
        """Tell whether the clear field in a channel is there already."""

    def has_tile(self, key: TileKey) -> bool:
        """Tell whether a tile is there already."""

    def tile_marks(self, slide: str) -> dict[TileKey, TileState]:
        """Return latest attempts."""

    def has_capture(self, slide: str, row: int, column: int, channel: str = "") -> bool:
        """Tell whether a field's capture is there already, and of its latest take."""

    def captured_field(self, slide: str, row: int, column: int) -> CapturedField | None:
        """Return what all captures of a field share, None where there is none."""

    def free_capture_index(self, slide: str, wanted: int) -> int:
        """Return a number for a field's captures: ``wanted``, or the next above all where another field has that."""

    def add_event(self, level: str, text: str) -> None:
        """Keep a line of the run's log."""
