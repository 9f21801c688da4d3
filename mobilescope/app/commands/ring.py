"""The commands `mobilescope ring ...`: ask, light, play, test and switch off the ring of LEDs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobilescope.app.terminal.console import print_json, say
from mobilescope.core.errors import UserError

if TYPE_CHECKING:
    from mobilescope.app.instruments.ring_lighting import Light, Lit

ring_app = typer.Typer(name="ring", no_args_is_help=True, help="Ask, light, test and switch off the ring of LEDs.")

Port = Annotated[
    str | None, typer.Option("--port", metavar="PORT", help="Serial port, such as /dev/ttyACM0; else the one found.")
]
Hold = Annotated[bool, typer.Option("--hold", help="Keep the light on until Ctrl-C, then switch it off.")]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on standard output.")]


@ring_app.command()
def info(port: Port = None, json: Json = False) -> None:
    """Say which ring answers, what it shows and how it is set; its light stays as it is.

    Example: mobilescope ring info
    """
    from mobilescope.app.firmware.ring_reading import identity_json, light_json, reading_ring, settings_json
    from mobilescope.app.terminal.ring_tables import say_facts

    with reading_ring(port) as ring:
        facts = {
            "identity": identity_json(ring.identity), "light": light_json(ring.light()),
            "settings": settings_json(ring.settings()),
        }
    for title, values in facts.items():
        say_facts(title, values)
    if json:
        print_json(facts)


@ring_app.command(name="set")
def set_light(
    colour: Annotated[
        str | None, typer.Argument(metavar="COLOUR", help="ff8000, or 255,128,0; may be left out with --temperature.")
    ] = None,
    pixel: Annotated[int | None, typer.Option("--pixel", metavar="N", help="Only this pixel, counted from 0.")] = None,
    span: Annotated[
        str | None, typer.Option("--range", metavar="A-B", help="Only these pixels, both ends included.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", metavar="K", help="White of this colour temperature, as strong as COLOUR."),
    ] = None,
    brightness: Annotated[
        float, typer.Option("--brightness", metavar="0-1", help="Scale all channels on the board.")
    ] = 1.0,
    gamma: Annotated[bool, typer.Option("--gamma", help="Pass the channels through the board's gamma table.")] = False,
    white_balance: Annotated[
        str | None, typer.Option("--white-balance", metavar="R,G,B", help="Scale the channels, each 0-255.")
    ] = None,
    store: Annotated[bool, typer.Option("--store", help="Keep this light and its settings for power-on.")] = False,
    hold: Hold = False,
    port: Port = None,
    json: Json = False,
) -> None:
    """Light the ring with one colour. Unless asked otherwise exactly these values go to the pixels.

    Example: mobilescope ring set ff8000 --hold
    """
    from mobilescope.app.instruments.ring_lighting import Light, some_pixels
    from mobilescope.core.ring_protocol import Setting
    from mobilescope.plans.illumination import parse_colour

    first, last = _pixels(pixel, span)
    white = parse_colour(white_balance) if white_balance is not None else (255, 255, 255)
    if not 0 <= brightness <= 1:
        raise UserError(f"brightness is {brightness:g}", "give a number from 0 to 1")
    settings = {
        Setting.BRIGHTNESS: round(255 * brightness), Setting.GAMMA: int(gamma),
        Setting.WHITE_RED: white[0], Setting.WHITE_GREEN: white[1], Setting.WHITE_BLUE: white[2],
    }
    _light(
        Light(some_pixels(_colour(colour, temperature), first, last), settings),
        port=port, store=store, hold=hold, json=json,
    )


def _colour(text: str | None, temperature: float | None) -> tuple[int, int, int]:
    from mobilescope.plans.illumination import colour_of_temperature, parse_colour

    if temperature is not None:
        return colour_of_temperature(temperature, 255 if text is None else max(parse_colour(text)))
    if text is None:
        raise UserError("no colour was given", "give one such as ff8000, or --temperature 3200")
    return parse_colour(text)


def _pixels(pixel: int | None, span: str | None) -> tuple[int, int | None]:
    """Return the first and last pixel to light, None for the ring's last."""
    if pixel is not None and span is not None:
        raise UserError("--pixel and --range were both given", "give one of them")
    if pixel is not None:
        return pixel, pixel
    if span is None:
        return 0, None
    found = re.fullmatch(r"(\d+)-(\d+)", span.strip())
    if found is None or int(found[1]) > int(found[2]):
        raise UserError(f"{span!r} is no range of pixels", "give the first and the last, such as --range 0-5")
    return int(found[1]), int(found[2])


@ring_app.command()
def pattern(
    kind: Annotated[str, typer.Argument(metavar="PATTERN", help="bright-field, half-ring, single or channel.")],
    position: Annotated[
        int,
        typer.Option("--position", metavar="N", help="First pixel (half-ring), pixel (single), or 0-2 (channel)."),
    ] = 0,
    colour: Annotated[str, typer.Option("--colour", metavar="COLOUR", help="ff8000, or 255,128,0.")] = "404040",
    hold: Hold = False,
    port: Port = None,
    json: Json = False,
) -> None:
    """Show a pattern; the pixels outside it are dark.

    Example: mobilescope ring pattern half-ring --position 6 --colour 00ff00 --hold
    """
    from mobilescope.app.instruments.ring_lighting import Light, pattern_pixels
    from mobilescope.core.ring_protocol import Setting
    from mobilescope.plans.illumination import PATTERN_NAMES, Pattern, parse_colour

    if kind not in PATTERN_NAMES:
        raise UserError(f"there is no pattern {kind!r}", f"known patterns are {', '.join(PATTERN_NAMES)}")
    shown = Pattern(PATTERN_NAMES[kind], position, parse_colour(colour))
    plain = {
        Setting.BRIGHTNESS: 255, Setting.GAMMA: 0, Setting.WHITE_RED: 255, Setting.WHITE_GREEN: 255,
        Setting.WHITE_BLUE: 255,
    }
    _light(Light(pattern_pixels(shown), plain), port=port, store=False, hold=hold, json=json)


def _light(light: Light, *, port: str | None, store: bool, hold: bool, json: bool) -> None:
    from mobilescope.app.instruments.ring_lighting import light_and_hold, light_and_leave
    from mobilescope.app.terminal.signals import until_told

    if not hold:
        lit = light_and_leave(port, light, store=store)
        _say_lit(lit, json=json)
        say(
            f"it goes off {lit.host_timeout_ms / 1000:g} s after the last command; --hold keeps it on"
            if lit.host_timeout_ms else "it stays on: this board has no time-out"
        )
        return
    with until_told() as told:
        light_and_hold(
            port, light, told, store=store, on_lit=lambda lit: _say_held(lit, json=json), on_trouble=_say_trouble
        )
    say("the light is off")


def _say_held(lit: Lit, *, json: bool) -> None:
    _say_lit(lit, json=json)
    say("Ctrl-C switches it off")


def _say_trouble(trouble: str) -> None:
    say(f"no answer: {trouble}; trying again" if trouble else "the ring answers again, its light is back")


def _say_lit(lit: Lit, *, json: bool) -> None:
    from mobilescope.app.firmware.ring_reading import colour_text, flag_names

    colours = [colour_text(colour) for colour in lit.pixels]
    say(f"{lit.identity.port}: {' '.join(colours)}, {lit.current_ma} mA")
    if json:
        print_json({
            "port": lit.identity.port, "board": lit.identity.board.name, "pixels": colours,
            "current_ma": lit.current_ma, "flags": flag_names(lit.flags), "host_timeout_ms": lit.host_timeout_ms,
        })


@ring_app.command()
def sequence(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sequence file (.toml).")],
    hold: Annotated[bool, typer.Option("--hold", help="Begin again at its end, until Ctrl-C.")] = False,
    port: Port = None,
    json: Json = False,
) -> None:
    """Let the board play a sequence of patterns, until it ends or Ctrl-C.

    Example: mobilescope ring sequence dpc.toml --port /dev/ttyACM0
    """
    from mobilescope.app.instruments.ring_playing import play_until_told
    from mobilescope.app.terminal.signals import until_told
    from mobilescope.plans.illumination import load_sequence

    wanted = load_sequence(file)
    with until_told() as told:
        played = play_until_told(port, wanted, told, again=hold, on_step=say, on_trouble=_say_trouble)
    say(f"the sequence {'was stopped' if played.stopped else 'has ended'}, the ring is dark")
    if json:
        print_json({
            "file": str(file), "steps": len(wanted.steps), "seconds": played.seconds, "stopped": played.stopped,
        })


@ring_app.command()
def off(port: Port = None, json: Json = False) -> None:
    """Switch the light off.

    Example: mobilescope ring off
    """
    from mobilescope.devices.ring import Ring

    with Ring.open(port, keep_alive=False) as ring:
        ring.off()
        where = ring.identity.port
    say(f"{where}: the light is off")
    if json:
        print_json({"port": where, "lit": False})


@ring_app.command(name="test")
def self_test(
    no_walk: Annotated[bool, typer.Option("--no-walk", help="Leave out the walk of colours over the pixels.")] = False,
    port: Port = None,
    json: Json = False,
) -> None:
    """Let the board test itself, then walk red, green, blue and dim white over the pixels for the eye.

    Example: mobilescope ring test --no-walk
    """
    from mobilescope.app.firmware.ring_reading import self_test_json
    from mobilescope.app.instruments.ring_playing import walk
    from mobilescope.app.terminal.ring_tables import say_self_test
    from mobilescope.app.terminal.signals import until_told
    from mobilescope.devices.ring import Ring

    with until_told() as told, Ring.open(port) as ring:
        report = self_test_json(ring.self_test())
        say_self_test(report)
        if not no_walk:
            say("red, green, blue and dim white go round: look for pixels that stay dark or have another colour")
            walk(ring, told)
    say("the ring passed its self-test" if report["ok"] else "the ring FAILED its self-test")
    if json:
        print_json(report)
    if not report["ok"]:
        raise typer.Exit(1)


@ring_app.command()
def stats(port: Port = None, json: Json = False) -> None:
    """Print what the board and this end of the link have counted; the light stays as it is.

    Example: mobilescope ring stats --json
    """
    from mobilescope.app.firmware.ring_reading import reading_ring, statistics_json
    from mobilescope.app.terminal.ring_tables import say_facts

    with reading_ring(port) as ring:
        counted: dict[str, Any] = statistics_json(ring.statistics())
    say_facts("board, since its last reset", {name: value for name, value in counted.items() if name != "link"})
    say_facts("link", counted["link"])
    if json:
        print_json(counted)
