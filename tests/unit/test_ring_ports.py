"""Ports that can't be used are refused with what to do about it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import termios
from types import SimpleNamespace

import pytest

from mobilescope.core.errors import LinkError, LinkLostError, PortError, UserError
from mobilescope.core.ring_protocol import BOARDS
from mobilescope.devices import ports, serial_wire
from mobilescope.devices.ports import find_boards, only_board, probe
from mobilescope.devices.ring import Ring
from mobilescope.devices.ring_link import identify
from mobilescope.devices.transport import Link, SerialWire
from mobilescope.twin.ring_firmware import FirmwarePort, RingFirmware


def comport(device, vid, pid):
    return SimpleNamespace(device=device, vid=vid, pid=pid, serial_number="95x")


@pytest.fixture
def plugged(monkeypatch, tmp_path):
    """Lists what is to be taken for plugged in: serial ports, and USB devices as Linux lists them."""
    there = []
    monkeypatch.setattr(ports.list_ports, "comports", lambda: there)
    monkeypatch.setattr(ports, "_USB_DEVICES", tmp_path)
    return there


@pytest.fixture
def twin():
    with FirmwarePort(RingFirmware()) as port:
        yield port


def test_a_missing_port_is_named_with_those_there_are(plugged):
    plugged += [comport("/dev/ttyB", None, None), comport("/dev/ttyA", 1, 2)]
    with pytest.raises(PortError, match=r"no port /dev/nothing; the ports there are: /dev/ttyA, /dev/ttyB"):
        SerialWire("/dev/nothing", 115200)
    plugged.clear()
    with pytest.raises(PortError, match="plug the board in"):
        SerialWire("/dev/nothing", 115200)


def test_a_port_without_permission_names_the_group_to_join(monkeypatch, twin):
    def refuse(*_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(serial_wire.serial.Serial, "open", refuse)
    monkeypatch.setattr(serial_wire.Path, "group", lambda _: "dialout")
    with pytest.raises(PortError, match=r"may not be opened; join the group .*usermod -a -G dialout"):
        SerialWire(twin.port, 115200)


def test_what_is_no_serial_port_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(PortError, match="can't be opened as a serial port"):
        SerialWire(str(path), 115200)


def test_a_second_process_is_refused_naming_the_first(twin):
    wire = SerialWire(twin.port, 115200)
    program = (
        "import sys\nfrom mobilescope.core.errors import PortError\n"
        "from mobilescope.devices.transport import SerialWire\n"
        "try:\n    SerialWire(sys.argv[1], 115200)\nexcept PortError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, twin.port]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert f"{twin.port} is in use by process {os.getpid()}; close the program" in said
    wire.close()
    SerialWire(twin.port, 115200).close()


def test_a_pulled_cable_is_told_apart_from_silence(twin):
    wire = SerialWire(twin.port, 115200)
    assert wire.read(0.01) == b""
    twin.unplug()
    with pytest.raises(LinkLostError, match=r"connection to .* is lost; plug the board in again"):
        wire.read(0.01)
    with pytest.raises(LinkLostError):
        wire.write(b"x")
    wire.close()


def test_boards_are_found_by_their_usb_identity(plugged, tmp_path):
    plugged += [
        comport("/dev/ttyUSB1", 0x1A86, 0x7523), comport("/dev/ttyACM0", 0x2341, 0x0043),
        comport("/dev/ttyS0", None, None), comport("/dev/ttyUSB7", 0x1234, 0x5678),
    ]
    trinket = tmp_path / "1-2"
    trinket.mkdir()
    (trinket / "idVendor").write_text("1781\n")
    (trinket / "idProduct").write_text("0c9f\n")
    found = find_boards()
    assert [(board.port, board.usb_id) for board in found] == [
        ("/dev/ttyACM0", "2341:0043"), ("/dev/ttyUSB1", "1a86:7523"), (None, "1781:0c9f"),
    ]
    assert [board.bootloader for board in found] == [False, False, True]


def test_the_one_board_is_used_and_none_or_several_are_not(plugged):
    with pytest.raises(UserError, match="no ring's board is plugged in"):
        only_board()
    plugged.append(comport("/dev/ttyACM0", 0x2341, 0x0043))
    assert only_board() == "/dev/ttyACM0"
    plugged.append(comport("/dev/ttyUSB0", 0x1A86, 0x7523))
    with pytest.raises(UserError, match="several boards are plugged in: /dev/ttyACM0, /dev/ttyUSB0"):
        Ring.open()


def test_probing_tells_who_answers_and_frees_the_port(twin):
    identity = probe(twin.port)
    assert identity.board == BOARDS[0]
    assert identity.port == twin.port
    assert probe(twin.port) == identity


def test_a_port_without_a_ring_is_told_within_its_patience():
    near, far = os.openpty()
    name = os.ttyname(far)
    try:
        assert probe(name, patience_s=0.3) is None
        with pytest.raises(PortError, match="in use"):
            hold_and_probe(name)
    finally:
        os.close(near)
        os.close(far)


def hold_and_probe(name):
    wire = SerialWire(name, 115200)
    try:
        probe(name, patience_s=0.3)
    finally:
        wire.close()


class SlowBoard(RingFirmware):
    """Understands 19200 baud alone, as a Trinket does."""

    line = None

    def feed(self, data, now_s):
        understood = self.line is not None and termios.tcgetattr(self.line)[4] == termios.B19200
        return super().feed(data if understood else b"", now_s)


def test_a_board_of_the_lower_speed_is_found_and_kept():
    firmware = SlowBoard()
    with FirmwarePort(firmware) as port:
        line = firmware.line = os.open(port.port, os.O_RDWR | os.O_NOCTTY)
        with Ring.open(port.port) as ring:
            ring.fill((1, 2, 3))
            assert firmware.shown == ((1, 2, 3),) * 12
        firmware.line = None
    os.close(line)


class Answering:
    """A device of another kind: gives back what ``answer`` makes of the bytes."""

    def __init__(self, answer):
        self._answer = answer

    def feed(self, data, now_s):
        return self._answer(data)

    def reset(self, now_s, cause):
        pass


def test_a_port_that_echoes_is_no_ring():
    with FirmwarePort(Answering(lambda data: data)) as port:
        assert probe(port.port, patience_s=0.6) is None


def test_no_answer_is_a_link_error_with_a_remedy():
    with FirmwarePort(Answering(lambda _: b"")) as port:
        wire = SerialWire(port.port, 115200)
        with pytest.raises(LinkError, match=r"no ring answers on .*mobilescope firmware flash"):
            identify(Link(wire), patience_s=0.3)
        wire.close()
