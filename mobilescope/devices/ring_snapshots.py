"""What the driver tells of the ring: the state for a window, and the light as images record it."""

from __future__ import annotations

from dataclasses import dataclass

from mobilescope.core.protocols import LightState
from mobilescope.core.ring_model import Colour
from mobilescope.core.ring_protocol import LightFlag, Setting
from mobilescope.devices.ring_board import RingBoard
from mobilescope.devices.ring_records import RingState
from mobilescope.devices.ring_wanted import Pixels, Playing


@dataclass(frozen=True)
class Dimmed:
    """A colour and brightness that were asked for, and the pixels that they made."""

    asked: Pixels
    colour: Colour
    brightness: float


def ring_state(board: RingBoard, *, closed: bool) -> RingState:
    """Return the ring as last acknowledged."""
    return RingState(
        board.shown, board.reply.current_ma, board.reply.flags, board.connected and not closed,
        board.link.statistics.retries, board.error,
    )


def light_state(board: RingBoard, dimmed: Dimmed | None, *, closed: bool) -> LightState:
    """Return the light; where pixels differ, the strongest of each channel."""
    identity = board.identity
    firmware = ".".join(map(str, identity.firmware))
    source = f"ring of {identity.pixels} pixels, {identity.board.title}, firmware {firmware}"
    playing = isinstance(board.wanted, Playing)
    if isinstance(board.wanted, Playing):
        steps = board.wanted.sequence.steps
        source += f", sequence of {len(steps)} steps"
        colours = tuple(step.pattern.colour for step in steps)
    else:
        colours = board.wanted.asked
        lit = sum(map(any, colours))
        if 0 < lit < len(colours):
            source += f", {lit} lit"
    if closed or not board.connected or LightFlag.LIT not in board.reply.flags:
        return LightState(
            on=False, red=0, green=0, blue=0, brightness=0.0, source=source, pattern="dark", firmware=firmware,
            lit_share=0.0,
        )
    red, green, blue = (max(channel) for channel in zip(*colours, strict=True))
    brightness = (board.settings[Setting.BRIGHTNESS] + 1) / 256
    if dimmed is not None and dimmed.asked == colours:
        red, green, blue = dimmed.colour
        brightness *= dimmed.brightness
    return LightState(
        on=True, red=red, green=green, blue=blue, brightness=brightness, source=source,
        pattern=f"sequence of {len(colours)} steps" if playing else pattern_text(colours), firmware=firmware,
        lit_share=1.0 if playing else sum(map(any, colours)) / len(colours),
    )


def pattern_text(colours: Pixels) -> str:
    """Return the pattern that pixels show, by its name where it has one, else each lit pixel's colour."""
    count = len(colours)
    lit = [pixel for pixel, colour in enumerate(colours) if any(colour)]
    if not lit:
        return "dark"
    if len({colours[pixel] for pixel in lit}) == 1:
        if len(lit) == count:
            return "bright-field"
        if len(lit) == 1:
            return f"single {lit[0]}"
        # The first of a half ring is the lit one behind a dark one.
        firsts = [pixel for pixel in lit if not any(colours[pixel - 1])]
        if len(firsts) == 1 and len(lit) == max(1, count // 2):
            return f"half-ring {firsts[0]}"
    runs: list[tuple[int, int]] = []
    for pixel in lit:
        if runs and runs[-1][1] == pixel - 1 and colours[pixel] == colours[pixel - 1]:
            runs[-1] = runs[-1][0], pixel
        else:
            runs.append((pixel, pixel))
    return ", ".join(
        f"{first if first == last else f'{first}-{last}'} {bytes(colours[first]).hex()}" for first, last in runs
    )
