"""An adb server with phones on it, as far as adbutils drives one: host services, transport, shell and sync.

The wire is adb's own: four hexadecimal digits of length and a service, OKAY or FAIL; sync's requests are four letters
and a little-endian length (SERVICES.TXT and SYNC.TXT of the Android sources).
"""

from __future__ import annotations

import hashlib
import re
import shlex
import socket
import stat
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field

CAMERA = "/sdcard/DCIM/Camera"


@dataclass
class Phone:
    """One phone: its files by full path, and what its camera saves when a key is pressed.

    ``shoot`` is called with the count of releases and returns files by name. ``growing`` files are told with one byte
    more each time they are listed, up to their size. ``pulled_after`` bytes of a file, the cable is pulled.
    """

    serial: str = "PHONE1"
    model: str = "Pixel_6"
    state: str = "device"
    files: dict[str, bytes] = field(default_factory=dict)
    shoot: object = None
    awake: bool = True
    wakes: bool = True
    locked: bool = False
    has_sha256sum: bool = True
    app_starts: bool = True
    key: str = "KEYCODE_CAMERA"
    growing: dict[str, int] = field(default_factory=dict)
    pulled_after: int | None = None
    stalls: bool = False
    corrupts: bool = False
    started: list[str] = field(default_factory=list)
    releases: int = 0

    def run(self, command):
        """Return what a command of its shell prints."""
        words = shlex.split(command)
        if command == "dumpsys power":
            return f"Power Manager State:\n  mWakefulness={'Awake' if self.awake else 'Asleep'}\n"
        if command == "dumpsys window":
            return f"WINDOW MANAGER\n    mDreamingLockscreen={'true' if self.locked else 'false'}\n"
        if words[:2] == ["input", "keyevent"]:
            return self._press(words[2])
        if words[:2] == ["am", "start"]:
            self.started.append(command)
            return "Starting: Intent { }\nStatus: ok\n" if self.app_starts else "Error: no such activity class.\n"
        if words[0] == "sha256sum":
            if not self.has_sha256sum:
                return "/system/bin/sh: sha256sum: inaccessible or not found\n"
            return f"{hashlib.sha256(self.files[words[1]]).hexdigest()}  {words[1]}\n"
        return f"/system/bin/sh: {words[0]}: inaccessible or not found\n"

    def _press(self, key):
        if key == "KEYCODE_WAKEUP":
            self.awake = self.awake or self.wakes
        elif key == self.key and self.awake and not self.locked and self.shoot is not None:
            self.releases += 1
            self.files |= {f"{CAMERA}/{name}": data for name, data in self.shoot(self.releases).items()}
        return ""


class AdbServer:
    """Serves phones at a port of this computer while its with-block runs."""

    def __init__(self, *phones, version=41):
        self.phones, self.version = list(phones), version
        self.heard = []

    def __enter__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._done.set()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._socket.close()
        for thread in self._threads:
            thread.join(10)

    def _serve(self):
        while not self._done.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection):
        with connection, suppress(OSError, ConnectionError):
            phone = None
            while (service := _service(connection)) is not None:
                self.heard.append(service)
                if phone is not None:
                    self._of_phone(connection, phone, service)
                    return
                phone = self._of_host(connection, service)
                if phone is None:
                    return

    def _of_host(self, connection, service):
        """Answer a service of the server's own; return the phone that the connection is switched to."""
        if service == "host:version":
            _okay(connection, f"{self.version:04x}")
        elif service == "host:devices":
            _okay(connection, "".join(f"{phone.serial}\t{phone.state}\n" for phone in self.phones))
        elif service == "host:devices-l":
            lines = [
                f"{phone.serial:<22} {phone.state} usb:1-{number} product:x model:{phone.model} device:x "
                f"transport_id:{number}\n" for number, phone in enumerate(self.phones, start=1)
            ]
            _okay(connection, "".join(lines))
        elif found := re.fullmatch(r"host:(?:tport:serial|transport):(.+)", service):
            phone = next((phone for phone in self.phones if phone.serial == found[1]), None)
            if phone is None or phone.state != "device":
                _fail(connection, f"device '{found[1]}' not found" if phone is None else f"device {phone.state}")
                return None
            connection.sendall(b"OKAY" + (struct.pack("<Q", 1) if "tport" in service else b""))
            return phone
        else:
            _fail(connection, f"unknown host service {service!r}")
        return None

    def _of_phone(self, connection, phone, service):
        if service.startswith("shell:"):
            connection.sendall(b"OKAY" + phone.run(service.removeprefix("shell:")).encode())
        elif service == "sync:":
            connection.sendall(b"OKAY")
            self._sync(connection, phone)
        else:
            _fail(connection, f"unknown service {service!r}")

    def _sync(self, connection, phone):
        while (head := _exactly(connection, 8)) is not None:
            kind, length = head[:4], struct.unpack("<I", head[4:])[0]
            path = (_exactly(connection, length) or b"").decode()
            if kind == b"STAT":
                connection.sendall(b"STAT" + struct.pack("<III", *self._stat(phone, path)))
            elif kind == b"LIST":
                self._list(connection, phone, path)
            elif kind == b"RECV":
                self._send(connection, phone, path)
            else:
                return

    def _stat(self, phone, path):
        path = path.removesuffix("/.")
        if path in phone.files:
            return stat.S_IFREG | 0o644, len(phone.files[path]), 1_790_000_000
        if any(name.startswith(path + "/") for name in phone.files) or path == CAMERA:
            return stat.S_IFDIR | 0o755, 4096, 1_790_000_000
        return 0, 0, 0

    def _list(self, connection, phone, path):
        entries = [(".", stat.S_IFDIR | 0o755, 0, 0)]
        for number, (name, data) in enumerate(sorted(phone.files.items())):
            if not name.startswith(path + "/"):
                continue
            size = len(data)
            if name in phone.growing:
                size = min(size, phone.growing[name])
                phone.growing[name] += max(1, len(data) // 3)
            entries.append((name[len(path) + 1 :], stat.S_IFREG | 0o644, size, 1_790_000_000 + number))
        for name, mode, size, changed in entries:
            raw = name.encode()
            connection.sendall(b"DENT" + struct.pack("<IIII", mode, size, changed, len(raw)) + raw)
        connection.sendall(b"DONE" + struct.pack("<IIII", 0, 0, 0, 0))

    def _send(self, connection, phone, path):
        data = phone.files.get(path)
        if data is None:
            said = b"No such file or directory"
            connection.sendall(b"FAIL" + struct.pack("<I", len(said)) + said)
            return
        if phone.corrupts:
            data = data[:-1] + bytes((data[-1] ^ 1,))
        sent = 0
        for begin in range(0, len(data), 4096):
            chunk = data[begin : begin + 4096]
            if phone.pulled_after is not None and sent + len(chunk) > phone.pulled_after:
                phone.state = "absent"
                self.phones.remove(phone)
                connection.sendall(b"DATA" + struct.pack("<I", len(chunk)) + chunk[:100])
                connection.shutdown(socket.SHUT_RDWR)
                return
            connection.sendall(b"DATA" + struct.pack("<I", len(chunk)) + chunk)
            sent += len(chunk)
        connection.sendall(b"DONE" + struct.pack("<I", 0))


def _service(connection):
    head = _exactly(connection, 4)
    if head is None:
        return None
    data = _exactly(connection, int(head, 16))
    return None if data is None else data.decode()


def _exactly(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            return None
        data += part
    return data


def _okay(connection, text):
    data = text.encode()
    connection.sendall(b"OKAY" + b"%04x" % len(data) + data)


def _fail(connection, text):
    data = text.encode()
    connection.sendall(b"FAIL" + b"%04x" % len(data) + data)
