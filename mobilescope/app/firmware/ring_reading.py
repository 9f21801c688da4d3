"""Asking a ring without touching its light: who it is, what it shows, its settings and counters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from mobilescope.core.ring_model import Colour
from mobilescope.core.ring_protocol import Command, LightFlag, ResetCause, SelfTest, Setting
from mobilescope.devices.ports import only_board
from mobilescope.devices.ring_link import connect
from mobilescope.devices.ring_records import BoardIdentity, LightReply, RingStatistics, SelfTestReport
from mobilescope.devices.transport import Link


@dataclass(frozen=True)
class RingReading:
    """A ring that is only asked. The questions keep its light on, as any valid frame does."""

    link: Link
    identity: BoardIdentity

    def light(self) -> LightReply:
        """Return what it shows."""
        return LightReply.read(self.link.request(Command.KEEP_ALIVE))

    def settings(self) -> dict[Setting, int]:
        """Return all settings as the board has them."""
        return {
            setting: int.from_bytes(self.link.request(Command.GET_CONFIG, bytes([setting])), "big")
            for setting in Setting
        }

    def statistics(self) -> RingStatistics:
        """Return the counters of both sides."""
        return RingStatistics.read(self.link.request(Command.STATISTICS), self.link.statistics)


@contextmanager
def reading_ring(port: str | None) -> Iterator[RingReading]:
    """Open a ring for questions; without a port the one board that is plugged in."""
    link, identity = connect(port or only_board())
    try:
        yield RingReading(link, identity)
    finally:
        link.wire.close()


def dotted(version: tuple[int, ...]) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))


def colour_text(colour: Colour) -> str:
    """Return a colour as ``rrggbb``."""
    return bytes(colour).hex()


def flag_names(flags: LightFlag | ResetCause) -> list[str]:
    """Return the names of the flags that are set."""
    return [flag.name.lower() for flag in flags if flag.name]


def identity_json(identity: BoardIdentity) -> dict[str, Any]:
    """Return an identity as plain values."""
    return {
        "port": identity.port,
        "board": identity.board.name,
        "title": identity.board.title,
        "signature": identity.board.signature.hex(),
        "protocol": dotted(identity.protocol),
        "firmware": dotted(identity.firmware),
        "pixels": identity.pixels,
        "max_pixels": identity.max_pixels,
        "max_steps": identity.max_steps,
        "capabilities": [capability.name.lower() for capability in identity.capabilities if capability.name],
        "reset_cause": flag_names(identity.reset_cause),
    }


def light_json(light: LightReply) -> dict[str, Any]:
    """Return what a board says of its light as plain values."""
    return {
        "lit": LightFlag.LIT in light.flags,
        "flags": flag_names(light.flags),
        "current_ma": light.current_ma,
        "shown_crc": f"{light.shown_crc:04x}",
    }


def settings_json(settings: dict[Setting, int]) -> dict[str, int]:
    """Return settings by their names in lower case."""
    return {setting.name.lower(): value for setting, value in settings.items()}


def statistics_json(statistics: RingStatistics) -> dict[str, Any]:
    """Return counters as plain values."""
    return asdict(statistics) | {"reset_cause": flag_names(statistics.reset_cause)}


def self_test_json(report: SelfTestReport) -> dict[str, Any]:
    """Return a self-test as plain values."""
    tests = {test.name.lower(): bool(test & report.passed) for test in SelfTest if test & report.run and test.name}
    return {"ok": report.ok, "tests": tests, "free_ram_bytes": report.free_ram}
