"""An Android phone on a cable: its camera app takes the picture when told, the new files are fetched and checked."""

from __future__ import annotations

import hashlib
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from mobilescope.core.errors import DeviceError, InputFileError, LinkLostError, UserError
from mobilescope.core.phone_config import Pictures, Trigger
from mobilescope.core.phone_picture import PhonePicture
from mobilescope.core.progress import StopToken
from mobilescope.core.whole_files import own_temporary
from mobilescope.devices.phones.adb_link import AdbLink
from mobilescope.devices.phones.arrivals import Arrivals, Stamp
from mobilescope.devices.phones.names import PictureNames, is_safe
from mobilescope.imaging.capture_files import file_digest, read_capture_files

USUAL_FOLDER = "/sdcard/DCIM/Camera"
_KEYS = {"camera-key": "KEYCODE_CAMERA", "volume-key": "KEYCODE_VOLUME_UP"}
_INTENT = "android.media.action.STILL_IMAGE_CAMERA"
_APP_STARTS_S = 1.5
_WAKES_S = 3.0
_SHA256 = re.compile(r"^\\?([0-9a-f]{64})\b")
_LOCKED = re.compile(r"(mDreamingLockscreen|mShowingLockscreen|isStatusBarKeyguard|isKeyguardShowing)=true")


class AdbPictures:
    """Implements `PictureSource` over adb.

    Parameters
    ----------
    connect : callable
        Opens the link to the phone when it is first needed.
    camera_app : str, optional
        The app to start, ``package`` or ``package/activity``; the phone's own choice unless given.
    keep : Path, optional
        Folder that keeps the fetched files; without one they are removed once read.
    """

    def __init__(
        self, connect: Callable[[], AdbLink], *, camera_folder: str, camera_app: str | None, trigger: Trigger,
        pictures: Pictures, settle_s: float, patience_s: float, keep: Path | None, tell: Callable[[str], None],
        app_starts_s: float = _APP_STARTS_S,
    ) -> None:
        self._connect, self._link = connect, None
        self._folder, self._app, self._trigger = camera_folder.rstrip("/"), camera_app, trigger
        self._patience_s, self._keep, self._app_starts_s = patience_s, keep, app_starts_s
        self._app_runs = False
        self._arrivals = Arrivals(
            lambda: self._opened().listing(self._folder), self._fetch, pictures=pictures, settle_s=settle_s,
            tell=tell, where=f"{self._folder} on the phone", pause_s=min(0.2, settle_s / 2),
        )

    _link: AdbLink | None

    @property
    def name(self) -> str:
        """The phone, once it is open."""
        return "phone over adb" if self._link is None else f"{self._link.model} {self._link.serial} over adb"

    @property
    def waits_for_person(self) -> bool:
        """Whether a person releases the camera."""
        return self._trigger == "by-hand"

    def shape(self) -> tuple[int, int]:
        """Return the frame of the newest picture on the phone."""
        newest = self._arrivals.newest()
        if newest is None:
            raise UserError(
                f"{self.name} holds no picture in {self._folder} to learn its frame from",
                "take one with its camera app, or give frame_rows and frame_columns in the instrument file's [phone]",
            )
        return newest.shape

    def prepare(self) -> None:
        """Leave aside what the phone has now."""
        self._arrivals.mark_old()

    def take(self, stop: StopToken, known: Collection[str]) -> PhonePicture:
        """Release the camera and return its picture, fetched whole."""
        if self._trigger != "by-hand":
            self._wake()
            if not self._app_runs:
                self._start_app()
            self._opened().shell(f"input keyevent {_KEYS[self._trigger]}")
        try:
            return self._arrivals.wait(stop, self._patience_s, known)
        except DeviceError as error:
            self._app_runs = False
            if isinstance(error, LinkLostError):
                raise
            # adb answers in a phone's sleep too; then this says why no picture came.
            if _LOCKED.search(self._opened().shell("dumpsys window")):
                raise DeviceError(f"{self.name} is locked ({error.cause})", "unlock it, and let it stay so") from error
            raise

    def close(self) -> None:
        """Forget the link; adb's server keeps it."""
        self._link, self._app_runs = None, False

    def _opened(self) -> AdbLink:
        if self._link is None:
            self._link = self._connect()
        return self._link

    def _wake(self) -> None:
        """Wake the phone; DeviceError where it stays asleep."""
        if self._awake():
            return
        self._opened().shell("input keyevent KEYCODE_WAKEUP")
        until_s = time.monotonic() + _WAKES_S
        while not self._awake():
            if time.monotonic() > until_s:
                raise DeviceError(
                    f"{self.name} is asleep and does not wake", "press its power key, and let its screen stay on"
                )
            time.sleep(0.1)

    def _awake(self) -> bool:
        power = self._opened().shell("dumpsys power")
        return not re.search(r"mWakefulness=(Asleep|Dozing|Dreaming)", power)

    def _start_app(self) -> None:
        app = ""
        if self._app:
            app = f" {'-n' if '/' in self._app else '-p'} {shlex.quote(self._app)}"
        said = self._opened().shell(f"am start -W -a {_INTENT}{app}")
        if re.search(r"^(Error|Exception)", said, re.MULTILINE):
            raise DeviceError(
                f"{self.name} can't start its camera app: {' '.join(said.split())[:200]}",
                "check camera_app in the instrument file's [phone]",
            )
        time.sleep(self._app_starts_s)
        self._app_runs = True

    def _fetch(self, names: PictureNames) -> PhonePicture:
        """Fetch a picture's files, check them against the phone's, read them, and keep them if wanted."""
        there = self._opened().listing(self._folder)
        with tempfile.TemporaryDirectory(prefix="mobilescope-phone-") as folder:
            local: dict[str, Path] = {}
            checks = {self._pulled(name, there[name], Path(folder), local) for name in names.names if name in there}
            if set(local) != set(names.names):
                raise InputFileError(f"{names.shown} is gone from the phone", "take another picture")
            picture = read_capture_files(
                *(None if name is None else local[name] for name in (names.dng, names.jpeg)), by_name=names.by_name
            )
            if self._keep is not None:
                for path in local.values():
                    _keep(path, self._keep)
        return replace(picture, facts=picture.facts | {"checked": " ".join(sorted(checks))})

    def _pulled(self, name: str, stamp: Stamp, folder: Path, local: dict[str, Path]) -> str:
        """Copy one file; return by what it was checked."""
        assert is_safe(name)
        remote, path = f"{self._folder}/{name}", folder / name
        self._opened().pull(remote, path, stamp.size)
        local[name] = path
        told = _SHA256.match(self._opened().shell(f"sha256sum {shlex.quote(remote)}").strip())
        if told is None:
            return "size"
        if told[1] != file_digest(path):
            raise InputFileError(f"{name} came otherwise than it is on the phone", "check the cable")
        return "sha256"


def _keep(path: Path, folder: Path) -> None:
    """Copy a fetched file into a folder under its name, or another one where that is taken by another file."""
    folder.mkdir(parents=True, exist_ok=True)
    data, target, number = path.read_bytes(), folder / path.name, 1
    while target.exists():
        if target.stat().st_size == len(data) and file_digest(target) == hashlib.sha256(data).hexdigest():
            return
        number += 1
        target = folder / f"{path.stem}-{number}{path.suffix}"
    with own_temporary(target) as temporary:
        temporary.path.write_bytes(data)
        temporary.path.replace(target)
