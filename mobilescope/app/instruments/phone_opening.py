"""From an instrument file to the phone: one case for each kind of the table `[phone]`.

Nothing is connected here: a phone is opened when its first picture is wanted, so that a scan does without it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from mobilescope.app.terminal.asking import ask_person
from mobilescope.app.terminal.console import say
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.phone_config import PhoneConfig
from mobilescope.core.phone_page_config import LockWishes
from mobilescope.core.phone_picture import PictureSource
from mobilescope.core.protocols import Illuminator, XYZStage
from mobilescope.devices.phones.adb_link import AdbLink
from mobilescope.devices.phones.adb_pictures import USUAL_FOLDER, AdbPictures
from mobilescope.devices.phones.folder_pictures import FolderPictures
from mobilescope.devices.phones.http_app import HttpApp
from mobilescope.devices.phones.moving import Mover, PersonMover, StageMover
from mobilescope.devices.phones.real_phone import RealPhone
from mobilescope.devices.phones.stream_pictures import StreamPictures
from mobilescope.devices.phones.webcam_pictures import WebcamPictures, wanted_settings

_FOLDER_PATIENCE_S = 900.0
_ADB_PATIENCE_S = 30.0
_HTTP_PATIENCE_S = 20.0
_STREAM_PATIENCE_S = 10.0
_SETTLE_S = 1.0
_ADB_SETTLE_S = 0.4
_BROWSER_PATIENCE_S = 600.0
_LATENCY_MS = 500.0
# An address or a patience may change while a session is gone on with.
_OF_THE_WAY = {
    "folder", "settle_s", "patience_s", "serial", "host", "port", "url", "camera_folder", "camera_app", "trigger",
    "latency_ms", "usb",
}


def ask_for_phone(slide: str) -> None:
    """Ask for a slide on the phone scope."""
    ask_person(
        f"put slide {slide!r} on the phone scope",
        otherwise="run the command in a terminal, or capture one slide that lies there already with --yes",
    )


def open_phone(
    config: InstrumentConfig, *, source: str, illuminator: Illuminator,
    ask_mount: Callable[[str], None] = ask_for_phone,
) -> RealPhone:
    """Return the real phone that an instrument file describes.

    Parameters
    ----------
    source : str
        Name of the file, for messages.
    ask_mount : callable
        Has the person put a named slide on the phone scope; asks in the terminal unless given.
    """
    phone = config.phone
    assert phone.pixel_um is not None  # the configuration's own check, as all below
    pictures = picture_source(phone, moved_by_stage=config.stage.kind not in ("none", "manual"))
    opened = ExitStack()
    return RealPhone(
        pictures, illuminator=illuminator, mover=_mover(config, source, pictures, opened), pixel_um=phone.pixel_um,
        frame_shape=phone.frame_shape, ask_mount=ask_mount, on_close=opened.close,
    )


def described_phone(phone: PhoneConfig) -> dict[str, Any]:
    """Return what a session keeps of the table: what makes its pictures, not where they come from."""
    described = phone.model_dump(mode="json", exclude_none=True)
    of_way = _OF_THE_WAY if phone.kind == "twin" else _OF_THE_WAY | {"preset"}
    return {name: value for name, value in described.items() if name not in of_way}


def picture_source(phone: PhoneConfig, *, moved_by_stage: bool = True) -> PictureSource:
    """Return where a real phone's pictures come from; ``moved_by_stage`` tells that no person brings the fields."""
    patience_s, pictures = phone.patience_s, phone.pictures or "dng+jpeg"
    if phone.kind == "folder":
        assert phone.folder is not None
        return FolderPictures(
            phone.folder, pictures=pictures, settle_s=phone.settle_s or _SETTLE_S,
            patience_s=patience_s or _FOLDER_PATIENCE_S, tell=say,
        )
    if phone.kind == "adb":
        return AdbPictures(
            lambda: AdbLink(phone.serial, host=phone.host, port=phone.port),
            camera_folder=phone.camera_folder or USUAL_FOLDER, camera_app=phone.camera_app,
            trigger=phone.trigger or "camera-key", pictures=pictures, keep=phone.folder, tell=say,
            settle_s=phone.settle_s or _ADB_SETTLE_S,
            patience_s=patience_s or (_FOLDER_PATIENCE_S if phone.trigger == "by-hand" else _ADB_PATIENCE_S),
        )
    if phone.kind == "browser":
        return _browser(phone, by_hand=phone.trigger == "by-hand" or not moved_by_stage)
    assert phone.url is not None
    if phone.kind == "webcam":
        wanted = wanted_settings(
            exposure_ms=phone.exposure_ms, iso=phone.iso, white_balance=phone.white_balance,
            focus_distance=phone.focus_distance, further=phone.settings or {},
        )
        app = HttpApp(phone.url, patience_s=patience_s or _HTTP_PATIENCE_S)
        return WebcamPictures(app, wanted=wanted, still=phone.still or "photo")
    return StreamPictures(
        phone.url, latency_ms=_LATENCY_MS if phone.latency_ms is None else phone.latency_ms,
        patience_s=patience_s or _STREAM_PATIENCE_S, frame_shape=phone.frame_shape,
    )


def _browser(phone: PhoneConfig, *, by_hand: bool) -> PictureSource:
    from mobilescope.app.instruments.phone_serving import PageOptions, announced_hub, check_installed

    check_installed()
    from mobilescope.devices.phone_page.pictures import BrowserPictures

    wishes = LockWishes(
        exposure_ms=phone.exposure_ms, iso=phone.iso, white_balance_k=phone.white_balance_k, focus=phone.focus_distance,
        zoom=phone.zoom,
    )
    usual = PageOptions()
    options = PageOptions(
        host=phone.host or usual.host, port=usual.port if phone.port is None else phone.port, usb=bool(phone.usb),
        out=phone.folder or usual.out, wishes=wishes,
    )
    return BrowserPictures(
        lambda: announced_hub(options), by_hand=by_hand, patience_s=phone.patience_s or _BROWSER_PATIENCE_S
    )


def _teller(pictures: PictureSource) -> Callable[[str], None]:
    """Return what shows a line to the person at the phone: in the terminal, and on the phone that can show it."""
    guide = getattr(pictures, "guide", None)
    if guide is None:
        return say

    def tell(text: str) -> None:
        guide(text.replace("take a picture (Ctrl-C ends)", "tap the shutter"))
        say(text)

    return tell


def _mover(config: InstrumentConfig, source: str, pictures: PictureSource, opened: ExitStack) -> Mover:
    if config.stage.kind == "none":
        return PersonMover(ask_person, _teller(pictures), releases=pictures.waits_for_person)
    stages: list[XYZStage] = []

    def stage() -> XYZStage:
        if not stages:
            from mobilescope.app.instruments.phone_stage import opened_phone_stage

            stages.append(opened.enter_context(opened_phone_stage(config, source=source)))
        return stages[0]

    return StageMover(stage, _teller(pictures) if pictures.waits_for_person else None)
