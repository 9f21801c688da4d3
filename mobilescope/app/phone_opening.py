"""From an instrument file to the phone: one case for each kind of the table `[phone]`.

Nothing is connected here: a phone is opened when its first picture is wanted, so that a scan does without it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from mobilescope.app.asking import ask_person
from mobilescope.app.console import say
from mobilescope.core.config import InstrumentConfig
from mobilescope.core.phone_config import PhoneConfig
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
_LATENCY_MS = 500.0
# An address or a patience may change while a session is gone on with.
_OF_THE_WAY = {
    "folder", "settle_s", "patience_s", "serial", "host", "port", "url", "camera_folder", "camera_app", "trigger",
    "latency_ms",
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
    pictures = picture_source(phone)
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


def picture_source(phone: PhoneConfig) -> PictureSource:
    """Return where a real phone's pictures come from."""
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
        patience_s=patience_s or _STREAM_PATIENCE_S,
    )


def _mover(config: InstrumentConfig, source: str, pictures: PictureSource, opened: ExitStack) -> Mover:
    if config.stage.kind == "none":
        return PersonMover(ask_person, say, releases=pictures.waits_for_person)
    stages: list[XYZStage] = []

    def stage() -> XYZStage:
        if not stages:
            from mobilescope.app.stage_opening import opened_stage

            stages.append(opened.enter_context(opened_stage(config, source=source, whose="phone", port=None)))
        return stages[0]

    return StageMover(stage, say if pictures.waits_for_person else None)


