"""Lighting the ring from the command line: held until told to end, or left to the board's own time-out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from mobilescope.core.errors import UserError
from mobilescope.core.ring_model import Colour, pattern_colours
from mobilescope.core.ring_protocol import Command, LightFlag, Setting
from mobilescope.devices.ports import only_board
from mobilescope.devices.ring import Ring
from mobilescope.devices.ring_board import RingBoard
from mobilescope.devices.ring_link import connect
from mobilescope.devices.ring_records import BoardIdentity
from mobilescope.plans.illumination import Pattern

Pixels = tuple[Colour, ...]

_DARK: Colour = (0, 0, 0)
_STORE_S = 3.0
_LOOK_S = 0.2


@dataclass(frozen=True)
class Light:
    """Light that stays.

    Attributes
    ----------
    colours : callable
        Makes the colours of all pixels for a ring of that length; UserError where they don't fit it.
    settings : dict
        What the board's settings must be for it.
    """

    colours: Callable[[int], Pixels]
    settings: dict[Setting, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Lit:
    """What was lit: the board, the pixels as they are on the wire, the current, and the time-out that guards it."""

    identity: BoardIdentity
    pixels: Pixels
    current_ma: int
    flags: LightFlag
    host_timeout_ms: int


def some_pixels(colour: Colour, first: int, last: int | None) -> Callable[[int], Pixels]:
    """Return what lights pixels ``first`` to ``last`` (the ring's last, if None) with a colour, the others dark."""

    def colours(pixels: int) -> Pixels:
        end = pixels - 1 if last is None else last
        if not 0 <= first <= end < pixels:
            asked = f"pixel {first}" if first == end else f"pixels {first}-{end}"
            raise UserError(f"there is no {asked} on a ring of {pixels}", f"its pixels are 0 to {pixels - 1}")
        return tuple(colour if first <= index <= end else _DARK for index in range(pixels))

    return colours


def pattern_pixels(pattern: Pattern) -> Callable[[int], Pixels]:
    """Return what shows a pattern."""

    def colours(pixels: int) -> Pixels:
        try:
            return tuple(pattern_colours(pattern.kind, pattern.position, pattern.colour, pixels))
        except ValueError as error:
            raise UserError(str(error), f"positions are 0 to {pixels - 1}") from error

    return colours


def light_and_leave(port: str | None, light: Light, *, store: bool = False) -> Lit:
    """Light the ring and leave the port; the board switches off after its time-out."""
    link, identity = connect(port or only_board())
    try:
        board = RingBoard(link, identity)
        asked = light.colours(identity.pixels)
        for setting, value in light.settings.items():
            if board.settings[setting] != value:
                board.configure(setting, value)
        board.write(asked)
        if store:
            board.request(Command.STORE, timeout_s=_STORE_S)
        return Lit(
            identity, board.shown, board.reply.current_ma, board.reply.flags, board.settings[Setting.HOST_TIMEOUT_MS]
        )
    finally:
        link.wire.close()


def light_and_hold(
    port: str | None,
    light: Light,
    told: threading.Event,
    *,
    store: bool = False,
    on_lit: Callable[[Lit], None],
    on_trouble: Callable[[str], None],
) -> None:
    """Light the ring, keep it on until told to end, and switch it off.

    Parameters
    ----------
    on_lit : callable
        Called once the board has acknowledged the light.
    on_trouble : callable
        Called with the error when the connection fails, and with nothing when the light is back.
    """
    with Ring.open(port) as ring:
        asked = light.colours(ring.identity.pixels)
        for setting, value in light.settings.items():
            if ring.setting(setting) != value:
                ring.configure(setting, value)
        ring.set_pixels(asked)
        if store:
            ring.store()
        state = ring.ring_state()
        on_lit(
            Lit(ring.identity, state.pixels, state.current_ma, state.flags, ring.setting(Setting.HOST_TIMEOUT_MS))
        )
        hold(ring, told, on_trouble)


def hold(ring: Ring, told: threading.Event, on_trouble: Callable[[str], None]) -> None:
    """Wait until told to end, while the ring keeps its own light on."""
    trouble = ""
    while not told.wait(_LOOK_S):
        error = ring.ring_state().error
        if error != trouble:
            trouble = error
            on_trouble(trouble)
