"""Where live frames come from: the word after ``--source`` becomes a stream, with the light that it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mobilescope.app.instruments.instrument_file import load_instrument
from mobilescope.app.instruments.lighting import RingLight
from mobilescope.core.config import InstrumentConfig, validate
from mobilescope.core.errors import InputFileError, UserError
from mobilescope.core.input_files import check_file
from mobilescope.core.protocols import FrameSource, Illuminator
from mobilescope.devices.camera_frames import CameraFrames
from mobilescope.devices.folder_frames import FolderFrames
from mobilescope.devices.video_frames import VideoFrames
from mobilescope.twin.live_stream import TwinLiveStream
from mobilescope.twin.slides import SlideRack, SlideSpec
from mobilescope.twin.table import TwinTable

_WHITE = (255, 255, 255)
_TWIN = "twin"
_PHONE = "phone"
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# What the twin can look at without an instrument file; seeds that no demo trains on.
_SPECIMENS = {
    kind: SlideSpec(specimen=kind, seed=1004) for kind in ("blood", "h&e", "trichrome", "usaf", "blank")
}


@dataclass(frozen=True)
class SourceOptions:
    """Which stream, and how it runs.

    Attributes
    ----------
    text : str
        ``twin``, ``twin:SLIDE``, ``phone`` (a phone's browser; ``phone:lan`` without a cable), ``camera:N``, a URL,
        a video file or a folder of pictures.
    instrument : Path or None
        Instrument file: whose twin it is, or whose ring lights a camera's slide.
    frames_per_s : float
        Pace of a folder.
    every_frame : bool
        Files and folders: give each frame when it is asked for, as fast as that is.
    loop : bool
        Files and folders: begin again at the end.
    pixel_size_um : float or None
        Pixel pitch of a camera, file or folder; the twin knows its own.
    """

    text: str
    instrument: Path | None = None
    frames_per_s: float = 15.0
    every_frame: bool = False
    loop: bool = False
    pixel_size_um: float | None = None


@contextmanager
def opened_source(options: SourceOptions) -> Iterator[FrameSource]:
    """Open a stream, lit where it is the twin or the instrument has a real ring; at the end the light goes out."""
    name, _, slide = options.text.partition(":")
    twin = name == _TWIN
    config = load_instrument(options.instrument)
    if not twin:
        _check_exists(options.text)
    elif options.every_frame or options.loop or options.pixel_size_um is not None:
        raise UserError("the twin has its own pace, end and pixel size", "leave --fast, --loop and --pixel-size-um out")
    with ExitStack() as stack:
        light = stack.enter_context(RingLight(config.ring))
        if twin or config.ring.kind == "serial":
            light.set_colour(*_WHITE)
        if twin:
            source: FrameSource = _twin(config, slide, light, options)
        elif name == _PHONE:
            source = stack.enter_context(_phone(slide, options))
        else:
            source = _recorded(options) or _camera(options)
        stack.callback(source.close)
        yield source


def _twin(config: InstrumentConfig, slide: str, light: Illuminator, options: SourceOptions) -> FrameSource:
    file = str(options.instrument or "built-in instrument")
    table = validate(TwinTable, config.twin, source=file, prefix="twin")
    parameters = table.parameters(preset=config.phone.preset, source=file)
    rack = SlideRack(_SPECIMENS | table.slides, parameters.surface)
    slide = slide or ("blind" if "blind" in table.slides else next(iter(table.slides), "blood"))
    return TwinLiveStream(rack.slide(slide), parameters.phone, light, title=f"slide {slide!r}", seed=table.seed)


@contextmanager
def _phone(place: str, options: SourceOptions) -> Iterator[FrameSource]:
    """Serve the page to a phone for as long as its preview is looked at."""
    from mobilescope.app.instruments.phone_serving import PageOptions, announce, served_page

    if options.every_frame or options.loop:
        raise UserError("a phone has its own pace and no end", "leave --fast and --loop out")
    with served_page(PageOptions.at(place, pixel_size_um=options.pixel_size_um)) as page:
        announce(page)
        yield page.hub.frames()


def _camera(options: SourceOptions) -> FrameSource:
    if options.every_frame or options.loop:
        raise UserError("a camera has its own pace and no end", "leave --fast and --loop out")
    number = re.fullmatch(r"camera:(\d+)", options.text)
    return CameraFrames(int(number[1]) if number else options.text, pixel_size_um=options.pixel_size_um)


def _recorded(options: SourceOptions) -> FrameSource | None:
    """Return the stream of a folder or a file; None where it is neither."""
    path = Path(options.text)
    if path.is_dir():
        pace = None if options.every_frame else options.frames_per_s
        return FolderFrames(path, frames_per_s=pace, loop=options.loop, pixel_size_um=options.pixel_size_um)
    if path.is_file():
        return VideoFrames(
            path, on_demand=options.every_frame, loop=options.loop, pixel_size_um=options.pixel_size_um
        )
    return None


def _check_exists(text: str) -> None:
    """Refuse what is no source before the light goes on."""
    path = Path(text)
    if re.fullmatch(r"camera:\d+|phone(:.*)?", text) or "://" in text or path.is_dir():
        return
    if path.exists():
        check_file(path, "video")
    else:
        raise InputFileError(
            f"there is no source {text!r}",
            "give twin, twin:SLIDE, phone, camera:0, a URL, a video file or a folder of pictures",
        )
    if path.suffix.lower() in _PICTURES:
        raise InputFileError(f"{text} is a single picture", "give its folder, or use 'mobilescope enhance'")
