"""Which ring boards are plugged in: candidates by their USB identity, certainty by the handshake."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from mobilescope.core.errors import LinkError, UserError
from mobilescope.devices.ring_link import PATIENCE_S, connect
from mobilescope.devices.ring_records import BoardIdentity

_USB_TITLES = {
    (0x2341, 0x0001): "Arduino Uno",
    (0x2341, 0x0043): "Arduino Uno",
    (0x2341, 0x0243): "Arduino Uno",
    (0x2A03, 0x0043): "Arduino Uno",
    (0x1A86, 0x5523): "Nano or Uno with CH341",
    (0x1A86, 0x7522): "Nano or Uno with CH340",
    (0x1A86, 0x7523): "Nano or Uno with CH340",
    (0x1A86, 0x55D4): "Nano or Uno with CH9102",
    (0x0403, 0x6001): "Nano with FT232, or a serial adapter",
    (0x0403, 0x6015): "Nano with FT231, or a serial adapter",
    (0x10C4, 0xEA60): "Nano with CP2102, or a serial adapter",
}
_TRINKET_BOOTLOADER = (0x1781, 0x0C9F)
_USB_DEVICES = Path("/sys/bus/usb/devices")


@dataclass(frozen=True)
class PortInfo:
    """A plugged-in device that may be a ring's board.

    ``port`` is None for a Trinket in its bootloader, which is no serial port: it can be flashed, not talked to.
    """

    port: str | None
    title: str
    usb_id: str
    serial_number: str = ""

    @property
    def bootloader(self) -> bool:
        """Whether this is a Trinket that waits for a program."""
        return self.port is None


def find_boards() -> list[PortInfo]:
    """Return the plugged-in devices whose USB identity is one that ring boards have, ordered by port."""
    serial_ports = [
        PortInfo(found.device, title, _usb_id(found.vid, found.pid), found.serial_number or "")
        for found in list_ports.comports()
        if (title := _USB_TITLES.get((found.vid, found.pid)))
    ]
    return sorted(serial_ports, key=lambda info: info.port or "") + _trinket_bootloaders()


def probe(port: str, *, patience_s: float = PATIENCE_S) -> BoardIdentity | None:
    """Return who answers the handshake on a port, None where nobody does.

    Raises
    ------
    PortError
        The port can't be opened.
    FirmwareVersionError
        A ring answers with another protocol.
    """
    try:
        link, identity = connect(port, patience_s=patience_s)
    except LinkError:
        return None
    link.wire.close()
    return identity


def only_board() -> str:
    """Return the port of the one board plugged in; UserError where there is none or more than one."""
    ports = [info.port for info in find_boards() if info.port is not None]
    if not ports:
        raise UserError("no ring's board is plugged in", "plug one in, or name its port with --port")
    if len(ports) > 1:
        raise UserError(f"several boards are plugged in: {', '.join(ports)}", "choose one with --port")
    return ports[0]


def _usb_id(vendor: int, product: int) -> str:
    return f"{vendor:04x}:{product:04x}"


def _trinket_bootloaders() -> list[PortInfo]:
    """Return Trinkets that wait for a program, as Linux lists them; elsewhere none can be found."""
    wanted = _usb_id(*_TRINKET_BOOTLOADER)
    return [
        PortInfo(None, "Adafruit Trinket in its bootloader", wanted)
        for vendor in sorted(_USB_DEVICES.glob("*/idVendor"))
        if f"{_text(vendor)}:{_text(vendor.with_name('idProduct'))}" == wanted
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        # Unplugged between listing and reading.
        return ""
