"""Micro-Manager's core in this process: pycro-manager's Python backend, with a deadline for every call."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilescope.core.errors import ConfigError, DeviceError, UserError

DEFAULT_TIMEOUT_S = 30.0

# Micro-Manager's core is one per process: a second start in the same process fails.
_core_lock = threading.Lock()
_core: Any = None
_core_config: Path | None = None


def demo_configuration() -> Path:
    """Return Micro-Manager's own demo configuration, as the package mm-test-adapters installs it."""
    try:
        import mm_test_adapters
    except ImportError as error:
        raise UserError(
            "the package mm-test-adapters is not installed", "install it: pip install mm-test-adapters"
        ) from error
    return Path(mm_test_adapters.__file__).parent / "libs" / "MMConfig_demo.cfg"


def _shared_core(configuration: Path) -> Any:
    """Start the process's core with a configuration, or return the one that runs."""
    global _core, _core_config  # one core per process is Micro-Manager's own rule
    with _core_lock:
        if configuration != _core_config and not configuration.is_file():
            raise ConfigError(f"there is no Micro-Manager configuration {configuration}", "check the path")
        if _core is None:
            from pycromanager import Core, start_headless

            try:
                start_headless(str(configuration.parent), str(configuration), python_backend=True)
                _core = Core()
            except Exception as error:  # the backend raises bare Exception and RuntimeError
                raise DeviceError(
                    f"Micro-Manager did not start with {configuration}: {error}",
                    "check the configuration in Micro-Manager's hardware wizard",
                ) from error
            _core_config = configuration
        elif _core_config != configuration:
            raise DeviceError(
                f"Micro-Manager already runs with {_core_config} in this process",
                "use one configuration per process",
            )
        return _core


@dataclass
class _Task:
    """A call to be made, and what became of it.

    A queue tells that it is done: Ctrl-C in the middle of waiting for a `threading.Event` comes out of it as a
    RuntimeError about its lock.
    """

    call: Callable[[], Any]
    told: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)
    is_done: bool = False
    value: Any = None
    error: Exception | None = None


class _Worker:
    """The one thread that talks to the core, so that a device that hangs does not take the caller with it."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._hanging: tuple[str, _Task] | None = None
        threading.Thread(target=self._work, name="micro-manager", daemon=True).start()

    def run(self, what: str, call: Callable[[], Any], timeout_s: float) -> Any:
        """Return the answer of a call; a call that hangs blocks the later ones, each of which says so."""
        with self._lock:
            if self._hanging is not None and not self._hanging[1].is_done:
                raise DeviceError(
                    f"Micro-Manager still does not answer the request to {self._hanging[0]}",
                    "check that device and its cable, then start this program again",
                )
            task = _Task(call)
            self._tasks.put(task)
            try:
                task.told.get(timeout=timeout_s)
            except queue.Empty:
                self._hanging = (what, task)
                raise DeviceError(
                    f"Micro-Manager did not {what} within {timeout_s:g} s",
                    "check the device and its cable, or raise timeout_s",
                ) from None
        if task.error is not None:
            raise task.error
        return task.value

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            try:
                task.value = task.call()
            except Exception as error:  # noqa: BLE001 (handed to the caller's thread, which raises it)
                task.error = error
            task.is_done = True
            task.told.put(None)


_worker: _Worker | None = None


def _shared_worker() -> _Worker:
    global _worker  # as the core
    with _core_lock:
        if _worker is None:
            _worker = _Worker()
        return _worker


class PythonCore:
    """The core of this process. Implements `CoreLink`; it can't be lost, so it never reconnects.

    Parameters
    ----------
    configuration : Path
        A Micro-Manager .cfg file. Device libraries are looked for in its folder.
    timeout_s : float
        How long a call may take. Waiting for a device ends after that time too.
    """

    def __init__(self, configuration: Path, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._configuration = configuration.resolve()
        self._timeout_s = timeout_s
        self._core = _shared_core(self._configuration)
        self._worker = _shared_worker()
        # A little before ours, since the core's own message names the device.
        self.call("set its time-out", "set_timeout_ms", max(1, int(timeout_s * 900)))
        self._facts = {
            "micromanager.backend": "python",
            "micromanager.version": str(self.call("tell its version", "get_version_info")),
            "micromanager.configuration": str(self._configuration),
            "micromanager.configuration_sha256": hashlib.sha256(self._configuration.read_bytes()).hexdigest(),
        }

    @property
    def name(self) -> str:
        """Which Micro-Manager this is."""
        return f"Micro-Manager with {self._configuration}"

    @property
    def facts(self) -> dict[str, str]:
        """The backend, the version, and the configuration file with its digest."""
        return self._facts

    def call(self, what: str, method: str, *arguments: object) -> Any:
        """Call a method of the core; see `CoreLink.call`."""
        function = getattr(self._core, method)
        try:
            answer = self._worker.run(what, lambda: function(*arguments), self._timeout_s)
        except RuntimeError as error:
            raise DeviceError(f"Micro-Manager could not {what}: {error}", "check the device and its cable") from error
        return list(answer) if isinstance(answer, tuple) else answer

    def after_reconnect(self, action: Callable[[], None]) -> None:
        """Do nothing: this core can't be lost."""

    def close(self) -> None:
        """Leave the core running, since a process has one core for life."""
