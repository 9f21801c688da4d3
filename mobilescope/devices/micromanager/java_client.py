"""The program that talks to a running Micro-Manager with pycro-manager's own Java client.

A process of its own, since that client waits for ever for a server that is gone, also when its process ends, and since
pycro-manager hands out one kind of core per process. It answers requests on its standard input: frames of eight bytes
length and a pickle. Run by `JavaCore` alone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import queue
import re
import struct
import sys
import threading
import warnings
from typing import IO, Any

import numpy as np

LENGTH = struct.Struct(">Q")
_JAVA_CLASS = re.compile(r"^(?:[\w$]+\.)+[\w$]+(?:: |$)")
_SERVER_VERSION = re.compile(r"server version: (\S+)")


def write_frame(stream: IO[bytes], value: object) -> None:
    """Write one pickled value."""
    payload = pickle.dumps(value, protocol=5)
    stream.write(LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Any:
    """Read one pickled value; EOFError where the other side has ended."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    payload = stream.read(LENGTH.unpack(head)[0])
    if len(payload) < LENGTH.unpack(head)[0]:
        raise EOFError
    return pickle.loads(payload)


def java_message(text: str) -> str:
    """Return what a Java stack trace says, without its classes and lines: the innermost cause comes last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    said = causes[-1] if causes else lines[0] if lines else "no reason given"
    return _JAVA_CLASS.sub("", said) or said


def plain(value: Any) -> Any:
    """Return an answer as plain values: Java's vectors and rectangles come as objects that have to be asked."""
    if value is None or isinstance(value, (bool, int, float, str, np.ndarray)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "size") and hasattr(value, "get"):
        return [plain(value.get(index)) for index in range(value.size())]
    if all(hasattr(value, side) for side in ("x", "y", "width", "height")):
        return [int(value.x), int(value.y), int(value.width), int(value.height)]
    raise TypeError(f"Micro-Manager answered with an object of the class {type(value).__name__}")


def _connect(host: str, port: int, timeout_ms: int) -> tuple[Any, Any, str]:
    """Return the bridge, the core and the version of the server."""
    from pycromanager import Core
    from pyjavaz.bridge import Bridge

    said: list[str] = []
    # pyjavaz's thread fails a second time while it answers its first failure, which is the one that tells.
    threading.excepthook = lambda failure: said.append(str(getattr(failure.exc_value, "__context__", None)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Core() has no argument for the host; it takes the bridge that exists for its port.
        bridge = Bridge.create_or_get_existing_bridge(port=port, ip_address=host, timeout=timeout_ms)
        try:
            core = Core(port=port, timeout=timeout_ms)
        except Exception as error:
            raise ConnectionError("; ".join([java_message(str(error)), *said])) from error
    found = [match[1] for warning in caught if (match := _SERVER_VERSION.search(str(warning.message)))]
    return bridge, core, found[0] if found else Bridge._EXPECTED_ZMQ_SERVER_VERSION


def _serve(requests: queue.SimpleQueue[Any], answers: IO[bytes], host: str, port: int, timeout_ms: int) -> None:
    try:
        bridge, core, version = _connect(host, port, timeout_ms)
    except Exception as error:  # noqa: BLE001 (whatever it is, the parent tells it)
        write_frame(answers, ("failed", str(error)))
        return
    expected = bridge._EXPECTED_ZMQ_SERVER_VERSION
    write_frame(answers, ("connected", {"server": version, "expected": expected}))
    while (request := requests.get()) is not None:
        method, arguments = request
        try:
            function = getattr(core, method, None)
            if function is None:
                write_frame(answers, ("failed", f"this Micro-Manager has no method {method}"))
                continue
            answer = plain(function(*arguments))
        except Exception as error:  # noqa: BLE001 (pyjavaz raises bare Exception; the parent tells it)
            write_frame(answers, ("failed", java_message(str(error))))
        else:
            write_frame(answers, ("value", answer))
    # Tells the server to forget the object.
    del core, function
    gc.collect()


def _end_with_input(requests: queue.SimpleQueue[Any]) -> None:
    """Hand on requests; end at once when the parent is gone, whatever the server keeps this program waiting for."""
    with contextlib.suppress(EOFError, OSError):
        while (request := read_frame(sys.stdin.buffer)) is not None:
            requests.put(request)
        requests.put(None)
        return
    os._exit(0)


def main() -> None:
    """Connect and answer requests until told to end."""
    host, port, timeout_ms = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    answers = sys.stdout.buffer
    # What libraries print must not get between the frames.
    sys.stdout = sys.stderr
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_end_with_input, args=(requests,), daemon=True).start()
    _serve(requests, answers, host, port, timeout_ms)
    answers.flush()
    # Past pyjavaz's own clean-up at exit, which waits for a server for ever.
    os._exit(0)


if __name__ == "__main__":
    main()
