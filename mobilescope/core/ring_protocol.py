"""The numbers of the ring's protocol, see firmware/PROTOCOL.md.

Generated from firmware/protocol.toml by firmware/generate.py; do not edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

PROTOCOL_VERSION = (1, 0)
FIRMWARE_VERSION = (1, 0, 0)


class Command(IntEnum):
    """What the host asks."""

    IDENTIFY = 0x01
    KEEP_ALIVE = 0x02
    SET_ALL = 0x10
    SET_ONE = 0x11
    SET_RANGE = 0x12
    FILL = 0x13
    OFF = 0x14
    PATTERN = 0x15
    SEQUENCE_STEP = 0x20
    SEQUENCE_START = 0x21
    SEQUENCE_STOP = 0x22
    SET_CONFIG = 0x30
    GET_CONFIG = 0x31
    STORE = 0x40
    SELF_TEST = 0x41
    STATISTICS = 0x42


class Status(IntEnum):
    """How the board answers."""

    OK = 0x00
    BAD_FRAME = 0x01
    UNKNOWN_COMMAND = 0x02
    BAD_LENGTH = 0x03
    PIXEL_OUT_OF_RANGE = 0x04
    VALUE_OUT_OF_RANGE = 0x05
    CURRENT_LIMIT = 0x06
    TOO_MANY_STEPS = 0x07
    NO_SEQUENCE = 0x08
    SEQUENCE_RUNNING = 0x09
    UNKNOWN_SETTING = 0x0A
    STORE_TOO_SOON = 0x0B
    STORE_FAILED = 0x0C


class PatternKind(IntEnum):
    """Patterns of light."""

    BRIGHT_FIELD = 0x00
    HALF_RING = 0x01
    SINGLE = 0x02
    CHANNEL = 0x03


class Setting(IntEnum):
    """Settings of the board."""

    BRIGHTNESS = 0x01
    GAMMA = 0x02
    WHITE_RED = 0x03
    WHITE_GREEN = 0x04
    WHITE_BLUE = 0x05
    SUPPLY_MA = 0x06
    HOST_TIMEOUT_MS = 0x07
    LOCAL_TIMEOUT_S = 0x08
    PIXELS = 0x09


class LightFlag(IntFlag):
    """Flags of the light reply."""

    LIT = 1 << 0
    SEQUENCE = 1 << 1
    TIMED_OUT = 1 << 2
    LOCAL = 1 << 3
    FRESH = 1 << 7


class SelfTest(IntFlag):
    """Tests of the self-test reply."""

    FLASH = 1 << 0
    RAM = 1 << 1
    EEPROM = 1 << 2
    LINE = 1 << 3
    SHOW = 1 << 4
    WATCHDOG = 1 << 5


class Capability(IntFlag):
    """What a board can do."""

    TRIGGER = 1 << 0
    BUTTON = 1 << 1
    STORE = 1 << 2


class ResetCause(IntFlag):
    """Why the board started."""

    POWER_ON = 1 << 0
    EXTERNAL = 1 << 1
    BROWN_OUT = 1 << 2
    WATCHDOG = 1 << 3


STATUS_TEXT = {
    Status.OK: "Done.",
    Status.BAD_FRAME: "A frame arrived damaged (length, COBS or CRC). Sent with sequence number 0 and command 0.",
    Status.UNKNOWN_COMMAND: "This firmware has no such command.",
    Status.BAD_LENGTH: "The payload has the wrong length for this command.",
    Status.PIXEL_OUT_OF_RANGE: "A pixel (or a pattern's position) beyond the ring.",
    Status.VALUE_OUT_OF_RANGE: "A value outside its range, or an unknown pattern.",
    Status.CURRENT_LIMIT: "The estimated current is above the supply's rating; nothing has changed.",
    Status.TOO_MANY_STEPS: "More steps than this board keeps.",
    Status.NO_SEQUENCE: "A step that is to be played was never set.",
    Status.SEQUENCE_RUNNING: "While a sequence is played its steps can't be changed and nothing can be stored.",
    Status.UNKNOWN_SETTING: "This firmware has no such setting.",
    Status.STORE_TOO_SOON: "Less than 10 s since the last store: the EEPROM wears.",
    Status.STORE_FAILED: "The EEPROM did not read back what was written.",
}

SELF_TEST_TEXT = {
    SelfTest.FLASH: "The program's CRC is the one that the build wrote (left out in builds that wrote none).",
    SelfTest.RAM: "The stack never met the static data.",
    SelfTest.EEPROM: "The stored record is whole, or there is none.",
    SelfTest.LINE: "The data line is low when idle.",
    SelfTest.SHOW: "Sending the pixels takes 27 to 36 µs each by the board's own timer.",
    SelfTest.WATCHDOG: "The hardware watchdog is armed.",
}


@dataclass(frozen=True)
class SettingRange:
    """Least, greatest and default value of a setting; ``zero`` tells that 0 is allowed besides."""

    least: int
    greatest: int
    default: int
    zero: bool


SETTING_RANGES = {
    Setting.BRIGHTNESS: SettingRange(0, 255, 255, zero=False),
    Setting.GAMMA: SettingRange(0, 1, 0, zero=False),
    Setting.WHITE_RED: SettingRange(0, 255, 255, zero=False),
    Setting.WHITE_GREEN: SettingRange(0, 255, 255, zero=False),
    Setting.WHITE_BLUE: SettingRange(0, 255, 255, zero=False),
    Setting.SUPPLY_MA: SettingRange(20, 5000, 500, zero=False),
    Setting.HOST_TIMEOUT_MS: SettingRange(100, 60000, 2000, zero=True),
    Setting.LOCAL_TIMEOUT_S: SettingRange(1, 65535, 900, zero=True),
    Setting.PIXELS: SettingRange(1, 60, 12, zero=False),
}


@dataclass(frozen=True)
class BoardKind:
    """A board that the firmware is built for."""

    name: str
    code: int
    title: str
    signature: bytes
    baud: int
    max_pixels: int
    max_payload: int
    max_steps: int


BOARDS = (
    BoardKind(
        "uno", 1, "Arduino Uno or Nano (ATmega328P)", bytes.fromhex("1e950f"),
        baud=115200, max_pixels=60, max_payload=184, max_steps=16,
    ),
    BoardKind(
        "trinket", 2, "Adafruit Trinket 5 V (ATtiny85)", bytes.fromhex("1e930b"),
        baud=19200, max_pixels=24, max_payload=40, max_steps=4,
    ),
)

GAMMA = (
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2,
    3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6,
    6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 11, 11, 11, 12,
    12, 13, 13, 13, 14, 14, 15, 15, 16, 16, 17, 17, 18, 18, 19, 19,
    20, 20, 21, 22, 22, 23, 23, 24, 25, 25, 26, 26, 27, 28, 28, 29,
    30, 30, 31, 32, 33, 33, 34, 35, 35, 36, 37, 38, 39, 39, 40, 41,
    42, 43, 43, 44, 45, 46, 47, 48, 49, 49, 50, 51, 52, 53, 54, 55,
    56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71,
    73, 74, 75, 76, 77, 78, 79, 81, 82, 83, 84, 85, 87, 88, 89, 90,
    91, 93, 94, 95, 97, 98, 99, 100, 102, 103, 105, 106, 107, 109, 110, 111,
    113, 114, 116, 117, 119, 120, 121, 123, 124, 126, 127, 129, 130, 132, 133, 135,
    137, 138, 140, 141, 143, 145, 146, 148, 149, 151, 153, 154, 156, 158, 159, 161,
    163, 165, 166, 168, 170, 172, 173, 175, 177, 179, 181, 182, 184, 186, 188, 190,
    192, 194, 196, 197, 199, 201, 203, 205, 207, 209, 211, 213, 215, 217, 219, 221,
    223, 225, 227, 229, 231, 234, 236, 238, 240, 242, 244, 246, 248, 251, 253, 255,
)
