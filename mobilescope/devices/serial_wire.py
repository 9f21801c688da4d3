"""A serial port as a wire: opened by one process alone, with errors that say what to do."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import serial
from serial.tools import list_ports

from mobilescope.core.errors import LinkError, LinkLostError, PortError

try:
    import termios

    _PORT_FAILURES: tuple[type[Exception], ...] = (OSError, termios.error)
except ImportError:  # there is none on Windows
    _PORT_FAILURES = (OSError,)

_WRITE_S = 1.0
_LOCKS = Path("/proc/locks")


class SerialWire:
    """A serial port, held exclusively from `__init__` to `close`.

    Parameters
    ----------
    port : str
        For example ``/dev/ttyACM0``.
    baud : int
        Bits a second; pseudo-terminals ignore it.

    Raises
    ------
    PortError
        The port is missing, held by another process, may not be opened, or is no serial port.
    """

    def __init__(self, port: str, baud: int) -> None:
        self.name = port
        self._serial = serial.Serial(baudrate=baud, exclusive=True, write_timeout=_WRITE_S)
        self._serial.port = port
        self._open()

    def set_baud(self, baud: int) -> None:
        """Change the speed without closing the port, so that no board is reset."""
        try:
            self._serial.baudrate = baud
        except _PORT_FAILURES as error:
            raise self._lost() from error

    def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._serial.write(data)
        except serial.SerialTimeoutException as error:
            raise LinkError(f"{self.name} takes no more bytes", "unplug the board and plug it in again") from error
        except _PORT_FAILURES as error:
            raise self._lost() from error

    def read(self, timeout_s: float) -> bytes:
        """Return what has come, waiting for the first byte; nothing at time-out."""
        try:
            self._serial.timeout = timeout_s
            first: bytes = self._serial.read(1)
            return first + self._serial.read(self._serial.in_waiting) if first else b""
        except _PORT_FAILURES as error:
            raise self._lost() from error

    def now_s(self) -> float:
        """Return the monotonic clock."""
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        """Let time pass."""
        time.sleep(duration_s)

    def close(self) -> None:
        """Free the port."""
        self._serial.close()

    def reopen(self) -> None:
        """Close the port and open it again."""
        self.close()
        self._open()

    def _lost(self) -> LinkLostError:
        return LinkLostError(f"the connection to {self.name} is lost", "plug the board in again")

    def _open(self) -> None:
        try:
            self._serial.open()
        except _PORT_FAILURES as error:
            raise _port_error(self.name, getattr(error, "errno", None), str(error)) from error


def _port_error(port: str, code: int | None, text: str) -> PortError:
    if code == errno.ENOENT:
        there = ", ".join(sorted(found.device for found in list_ports.comports()))
        return PortError(f"there is no port {port}", f"the ports there are: {there}" if there else "plug the board in")
    if code in (errno.EACCES, errno.EPERM):
        return PortError(f"{port} may not be opened", _permission_remedy(port))
    if code in (errno.EAGAIN, errno.EBUSY):
        return PortError(f"{port} is in use{_holder(port)}", "close the program that holds it")
    return PortError(f"{port} can't be opened as a serial port ({text})", "give a serial port, such as /dev/ttyACM0")


def _permission_remedy(port: str) -> str:
    """Return what gives access to a port: joining the group that owns it."""
    try:
        group = Path(port).group()
    except (OSError, KeyError, NotImplementedError):
        return "ask an administrator for access to it"
    if group == "root":
        return "ask an administrator for access to it: no group but root's has it"
    return f"join the group that owns it and log in again: sudo usermod -a -G {group} $USER"


def _holder(port: str) -> str:
    """Return " by process N" where the system's table of locks tells who holds the port, else nothing."""
    try:
        number = str(Path(port).stat().st_ino)
        locks = _LOCKS.read_text(encoding="ascii")
    except OSError:
        return ""
    for line in locks.splitlines():
        # A line holds number, kind of lock, mode, access, process, device and file, and the range.
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == number:
            return f" by process {fields[4]}"
    return ""
