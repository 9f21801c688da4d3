"""The link to an Android phone through adb's server: which phones there are, what they say, and their files.

adbutils speaks the protocol; here its failures become messages that say what to do, and every wait has an end.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

from mobilescope.core.errors import DeviceError, DiskSpaceError, LinkLostError, OutputError, UserError
from mobilescope.devices.phones.arrivals import Stamp

_ANSWER_S = 15.0
_KNOCK_S = 0.3
_DEFAULT_HOST, _DEFAULT_PORT = "127.0.0.1", 5037
_READY = "device"
_REMEDIES = {
    "unauthorized": "unlock the phone and allow USB debugging from this computer",
    "authorizing": "unlock the phone and allow USB debugging from this computer",
    "offline": "pull the cable and plug it in again, or restart the phone",
    "no permissions": "give your user access to the phone's USB device (udev rules of Android devices)",
    "recovery": "restart the phone", "bootloader": "restart the phone", "sideload": "restart the phone",
}


@dataclass(frozen=True)
class AdbPhone:
    """A phone as adb's server lists it; ``state`` is ``device`` where it can be used."""

    serial: str
    state: str
    model: str

    @property
    def remedy(self) -> str:
        """What to do about its state, empty where it can be used."""
        if self.state == _READY:
            return ""
        return next((what for state, what in _REMEDIES.items() if state in self.state), "restart the phone")


def server_runs(host: str | None = None, port: int | None = None) -> bool:
    """Tell whether an adb server answers; none is started."""
    try:
        place = (
            host or os.environ.get("ANDROID_ADB_SERVER_HOST", _DEFAULT_HOST),
            port or int(os.environ.get("ANDROID_ADB_SERVER_PORT", _DEFAULT_PORT)),
        )
        with socket.create_connection(place, timeout=_KNOCK_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def adb_phones(host: str | None = None, port: int | None = None) -> list[AdbPhone]:
    """Return the phones that adb's server knows, usable or not."""
    client = _client(host, port)
    with _talking("adb's server", client):
        return [
            AdbPhone(info.serial, info.state, str(info.tags.get("model", "")).replace("_", " "))
            for info in client.list(extended=True)
        ]


class AdbLink:
    """One phone.

    Parameters
    ----------
    serial : str, optional
        The only one plugged in unless given.

    Raises
    ------
    UserError
        No phone, several without a choice, or one that may not be used.
    """

    def __init__(self, serial: str | None, *, host: str | None = None, port: int | None = None) -> None:
        self._host, self._port = host, port
        phone = self._chosen(serial)
        self.serial, self.model = phone.serial, phone.model or "Android phone"
        self._client = _client(host, port)
        self._device = self._client.device(serial=phone.serial)

    def shell(self, command: str) -> str:
        """Run a command on the phone and return what it printed."""
        with self._minding(f"running {command.split(' ', 1)[0]!r}"):
            return str(self._device.shell(command, timeout=_ANSWER_S))

    def listing(self, folder: str) -> dict[str, Stamp]:
        """Return the regular files of a folder on the phone."""
        with self._minding(f"listing {folder}"):
            if not stat.S_ISDIR(self._device.sync.stat(folder + "/.").mode):
                raise UserError(
                    f"{self.model} has no folder {folder}", "say where its camera saves: camera_folder in [phone]"
                )
            return {
                info.path: Stamp(info.size, 0.0 if info.mtime is None else info.mtime.timestamp())
                for info in self._device.sync.iter_directory(folder) if stat.S_ISREG(info.mode)
            }

    def pull(self, remote: str, local: Path, size: int) -> None:
        """Copy a file from the phone, whole or not at all.

        Raises
        ------
        LinkLostError, DeviceError
            The phone is gone, or fewer bytes came than it has; nothing is left at ``local``.
        DiskSpaceError, OutputError
            ``local`` can't be written; nothing is left there either.
        """
        try:
            with _written(local), local.open("wb", buffering=0) as file, self._minding(f"fetching {remote}"):
                got = 0
                for chunk in self._device.sync.iter_content(remote):
                    with _written(local):
                        _write(file, chunk)
                    got += len(chunk)
            if got != size:
                raise DeviceError(f"{remote} came with {got} of {size} bytes", "run the same command again")
        except BaseException:
            local.unlink(missing_ok=True)
            raise

    @contextmanager
    def _minding(self, what: str) -> Iterator[None]:
        """Say which phone failed, and how it stands with it now."""
        try:
            with _talking(f"{what} on {self.model}", self._client):
                yield
        except DeviceError as error:
            state = self._state()
            if state == _READY:
                raise
            remedy = AdbPhone(self.serial, state, self.model).remedy
            raise LinkLostError(
                f"{self.model} is {state} ({error.cause})",
                remedy if state != "gone" else "check its cable, then run the same command again",
            ) from error

    def _state(self) -> str:
        try:
            return next((p.state for p in adb_phones(self._host, self._port) if p.serial == self.serial), "gone")
        except DeviceError:
            return "gone, and so is adb's server"

    def _chosen(self, serial: str | None) -> AdbPhone:
        phones = adb_phones(self._host, self._port)
        if serial is not None:
            found = [phone for phone in phones if phone.serial == serial]
            if not found:
                there = ", ".join(phone.serial for phone in phones) or "none"
                raise UserError(f"there is no phone {serial}", f"adb lists: {there}")
        else:
            found = [phone for phone in phones if phone.state == _READY] or phones
            if not found:
                raise UserError("no phone is plugged in", "switch USB debugging on in it, and use a cable for data")
            if len(found) > 1:
                raise UserError(
                    f"several phones are plugged in: {', '.join(phone.serial for phone in found)}",
                    "choose one with serial in the instrument file's [phone]",
                )
        phone = found[0]
        if phone.state != _READY:
            raise UserError(f"the phone {phone.serial} is {phone.state}", phone.remedy)
        return phone


def _write(file: RawIOBase, chunk: bytes) -> None:
    """Write a chunk at once: what a buffer holds back would fail later, where it is taken for the phone's fault."""
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) or 0 :]


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turn this computer's failures of writing a file into errors that say so."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskSpaceError(
                f"the disk of {path.parent} on this computer is full",
                "free some space, then run the same command again",
            ) from error
        raise OutputError(f"{path} can't be written: {error.strerror}", "check the folder's permissions") from error


def adb_program() -> str:
    """Return adb itself: this machine's own, so that two versions don't end each other's server, else adbutils'."""
    from adbutils import adb_path

    return shutil.which("adb") or str(adb_path())


def _client(host: str | None, port: int | None) -> Any:
    from adbutils import AdbClient  # slow to import, and wanted by few

    class Client(AdbClient):  # type: ignore[misc]
        """Closes its connections itself: adbutils leaves those open on which a request was refused."""

        def __init__(self) -> None:
            super().__init__(host=host or "", port=port or 0, socket_timeout=_ANSWER_S)
            self.opened: list[Any] = []

        def make_connection(self, timeout: float | None = None) -> Any:
            self.opened.append(super().make_connection(timeout))
            return self.opened[-1]

    return Client()


@contextmanager
def _talking(what: str, client: Any) -> Iterator[None]:
    """Turn what adbutils and the system raise into one kind of error, and leave no connection open."""
    from adbutils import AdbError

    try:
        yield
    except (AdbError, OSError, EOFError, struct.error, AssertionError, ValueError, RuntimeError,
            subprocess.SubprocessError) as error:
        reason = " ".join(str(part) for part in error.args) or type(error).__name__
        raise DeviceError(
            f"{what} failed: {reason}", "check the cable, and that adb devices lists the phone"
        ) from error
    finally:
        for connection in client.opened:
            connection.close()
        client.opened.clear()
