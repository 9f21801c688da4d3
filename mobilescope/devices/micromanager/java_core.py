"""A running Micro-Manager (pycro-manager's Java backend), through a client process that can be ended at any time."""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mobilescope.core.errors import ConfigError, DeviceError, LinkError, LinkLostError
from mobilescope.devices.micromanager.java_client import read_frame, write_frame
from mobilescope.devices.micromanager.python_core import DEFAULT_TIMEOUT_S

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 4827

_KNOCK_S = 2.0
# Importing pycro-manager takes the client a second or two, more on a busy machine.
_START_S = 60.0
_CONNECT_MS = 5000
_END_S = 1.0
_SWITCH_ON = "start Micro-Manager and tick Tools > Options > Run server on port"


class _Client:
    """The client process: one request, one answer."""

    def __init__(self, host: str, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mobilescope.devices.micromanager.java_client", host, str(port), str(_CONNECT_MS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="micro-manager client", daemon=True)
        self._reader.start()

    def ask(self, request: object, timeout_s: float) -> Any:
        """Return the answer; TimeoutError or EOFError where none comes."""
        try:
            assert self._process.stdin is not None
            write_frame(self._process.stdin, request)
        except OSError as error:
            raise EOFError from error
        return self.answer(timeout_s)

    def answer(self, timeout_s: float) -> Any:
        """Return the next answer; TimeoutError or EOFError where none comes."""
        try:
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty as error:
            raise TimeoutError from error
        if answer is None:
            raise EOFError
        return answer

    def end(self) -> None:
        """Let the client take its leave of the server; end it where it does not."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            write_frame(self._process.stdin, None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        self._reader.join(_END_S)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(EOFError, OSError, ValueError):
            while True:
                self._answers.put(read_frame(self._process.stdout))
        self._answers.put(None)


class JavaCore:
    """The core of a running Micro-Manager. Implements `CoreLink`.

    A call that gets no answer in time ends the client process; the next call connects anew, and what was registered
    with `after_reconnect` runs first. The call that was interrupted is never repeated: a move may have been half done.

    Parameters
    ----------
    host, port
        Where Micro-Manager's server listens. The server itself listens on its own machine alone; another machine's
        is reached through a tunnel.
    timeout_s : float
        How long a call may take.
    configuration : Path, optional
        The .cfg file that Micro-Manager is to have loaded; another one is refused.

    Raises
    ------
    LinkError
        Nothing listens there, what listens is not Micro-Manager's server, or its protocol is another.
    """

    def __init__(
        self,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        configuration: Path | None = None,
    ) -> None:
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._configuration = configuration
        self._lock = threading.RLock()
        self._client: _Client | None = None
        self._closed = False
        self._renewals: list[Callable[[], None]] = []
        self._server: dict[str, str] = {}
        self._connect()
        try:
            self._version = str(self.call("tell its version", "get_version_info"))
            self._check_configuration()
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """Which Micro-Manager this is."""
        return f"Micro-Manager at {self._host}:{self._port}"

    @property
    def facts(self) -> dict[str, str]:
        """The backend, the versions of core and server, and the configuration as far as it is known."""
        return {
            "micromanager.backend": "java",
            "micromanager.version": self._version,
            "micromanager.server": f"{self._host}:{self._port}, protocol {self._server['server']}",
            "micromanager.configuration": str(self._configuration or "as loaded in Micro-Manager"),
        }

    def call(self, what: str, method: str, *arguments: object) -> Any:
        """Call a method of the core; see `CoreLink.call`."""
        with self._lock:
            if self._closed:
                raise LinkLostError(f"the connection to {self.name} is closed", "open the instrument again")
            if self._client is None:
                self._connect()
                try:
                    for renew in self._renewals:
                        renew()
                except BaseException:
                    self._drop()
                    raise
            client = self._client
            assert client is not None
            try:
                kind, answer = client.ask((method, arguments), self._timeout_s)
            except TimeoutError as error:
                self._drop()
                raise LinkLostError(
                    f"{self.name} did not {what} within {self._timeout_s:g} s",
                    "check that Micro-Manager still runs and shows no dialog, or raise timeout_s; "
                    "the next command connects anew",
                ) from error
            except EOFError as error:
                self._drop()
                raise LinkLostError(
                    f"the client of {self.name} ended while it was to {what}", "the next command connects anew"
                ) from error
            except BaseException:
                # An answer may still come: it must not be taken for that of a later call.
                self._drop()
                raise
        if kind == "failed":
            raise DeviceError(f"{self.name} could not {what}: {answer}", "check the device and its cable")
        return answer

    def after_reconnect(self, action: Callable[[], None]) -> None:
        """Run ``action`` each time that the connection was made anew."""
        self._renewals.append(action)

    def close(self) -> None:
        """End the client process; Micro-Manager goes on."""
        with self._lock:
            self._closed = True
            if self._client is not None:
                self._client.end()
                self._client = None

    def _drop(self) -> None:
        if self._client is not None:
            self._client.kill()
            self._client = None

    def _connect(self) -> None:
        try:
            socket.create_connection((self._host, self._port), timeout=_KNOCK_S).close()
        except OSError as error:
            raise LinkError(f"nothing listens at {self._host}:{self._port} ({error})", _SWITCH_ON) from error
        client = _Client(self._host, self._port)
        try:
            kind, answer = client.answer(_START_S)
        except (TimeoutError, EOFError) as error:
            client.kill()
            raise LinkError(f"the client of {self.name} did not start", "check the installed pycromanager") from error
        except BaseException:
            client.kill()
            raise
        if kind == "failed":
            client.kill()
            raise LinkError(
                f"what listens at {self._host}:{self._port} does not answer as Micro-Manager's server does: {answer}",
                f"check that no other program has the port; {_SWITCH_ON}",
            )
        self._check_protocol(client, answer)
        self._client, self._server = client, answer

    def _check_protocol(self, client: _Client, versions: dict[str, str]) -> None:
        server, expected = versions["server"], versions["expected"]
        if server == expected:
            return
        said = f"{self.name} speaks version {server} of the protocol, the installed pycromanager {expected}"
        remedy = "install the Micro-Manager build and the pycromanager that belong together"
        if server.split(".")[0] != expected.split(".")[0]:
            client.kill()
            raise LinkError(said, remedy)
        warnings.warn(f"{said}; {remedy}", RuntimeWarning, stacklevel=4)

    def _check_configuration(self) -> None:
        """Refuse a Micro-Manager that has not loaded the devices of the configuration that was named."""
        if self._configuration is None:
            return
        try:
            lines = self._configuration.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise ConfigError(
                f"the configuration {self._configuration} can't be read: {error.strerror}", "check the path"
            ) from error
        wanted = [parts[1] for line in lines if len(parts := line.split(",")) == 4 and parts[0] == "Device"]
        loaded = self.call("list its devices", "get_loaded_devices")
        if missing := [label for label in wanted if label not in loaded]:
            raise ConfigError(
                f"{self.name} has not loaded {', '.join(missing)} of {self._configuration}",
                "load that configuration in Micro-Manager, or name the one that is loaded",
            )
