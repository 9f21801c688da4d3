"""The command that makes a camera of any phone's browser."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilescope.app.commands.option_types import Device, Json, given_options
from mobilescope.app.terminal.console import print_json, say
from mobilescope.core.errors import MobilescopeError, UserError
from mobilescope.core.phone_page_config import DEFAULT_PORT, LockWishes

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilescope.app.enhancement.live import LiveRun
    from mobilescope.devices.phone_page.server import PhonePageServer
    from mobilescope.devices.phone_page.stills import Still


def phone(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder that keeps the stills.")] = Path("phone-stills"),
    usb: Annotated[bool, typer.Option("--usb", help="Reach the phone on the cable, through adb.")] = False,
    lan: Annotated[bool, typer.Option("--lan", help="Listen in the local network, by HTTPS.")] = False,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Listen on this address of the computer.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = DEFAULT_PORT,
    model: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Send the preview back enhanced by this model (.pt).")
    ] = None,
    fast_model: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="A small network distilled from the model.")
    ] = None,
    fps: Annotated[float, typer.Option(min=0.1, max=1000, help="Rate of enhanced pictures to hold.")] = 15.0,
    region: Annotated[
        str | None, typer.Option(metavar="R,C,H,W", help="Enhance this part of the preview alone, in its pixels.")
    ] = None,
    rung: Annotated[str, typer.Option(help="auto, full, region, distilled or colour, as for live.")] = "auto",
    pixel_size_um: Annotated[
        float | None, typer.Option("--pixel-size-um", min=0.01, max=100, help="Pixel size of the preview.")
    ] = None,
    exposure_ms: Annotated[
        float | None, typer.Option("--exposure-ms", min=0.001, max=60000, help="Hold the exposure here.")
    ] = None,
    iso: Annotated[float | None, typer.Option(min=1, help="Hold the sensitivity here.")] = None,
    white_balance_k: Annotated[
        float | None, typer.Option("--white-balance-k", min=1000, max=40000, help="Hold the colour temperature here.")
    ] = None,
    focus: Annotated[float | None, typer.Option(min=0, help="Hold the focus here, in the phone's units.")] = None,
    zoom: Annotated[float | None, typer.Option(min=0.01, help="Hold the zoom here.")] = None,
    stills: Annotated[int | None, typer.Option(min=1, help="Stop after so many stills.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long.")] = None,
    qr: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the QR code there too, .svg or .png.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Forget all phones that were paired before.")] = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Serve a page that makes a camera of any phone's browser: settings held, stills kept, the preview enhanced.

    Without --usb, --lan or --host only this computer can reach it. In the terminal, Enter takes a still, n shows a new
    pairing code, q or Ctrl-C ends.

    Example: mobilescope phone --usb --out stills --model my.pt
    """
    from mobilescope.app.instruments.phone_serving import PageOptions, announce, served_page, summary_of
    from mobilescope.app.terminal.signals import until_told

    if lan and host is not None:
        raise UserError("--lan and --host both say where to listen", "give one of them")
    idle = given_options(context, ("fast_model", "fps", "region", "rung", "device")) if model is None else []
    if idle:
        raise UserError(f"{idle[0]} is of the enhanced preview, and no model was given", "give --model too")
    wishes = LockWishes(exposure_ms=exposure_ms, iso=iso, white_balance_k=white_balance_k, focus=focus, zoom=zoom)
    options = PageOptions(
        host="lan" if lan else host or "127.0.0.1", port=port, usb=usb, out=out, wishes=wishes,
        pixel_size_um=pixel_size_um, remember=not forget,
    )
    taken: list[Still] = []
    with until_told() as told, ExitStack() as stack:
        page = stack.enter_context(served_page(options))
        page.hub.on_still(_keeper(page, taken, told, stills))
        page.hub.guide("Focus on the specimen, then tap the shutter.")
        run = None
        if model is not None:
            from mobilescope.app.enhancement.live import LiveOptions
            from mobilescope.app.enhancement.phone_preview import enhanced_for_the_phone
            from mobilescope.app.instruments.live_sources import SourceOptions

            live = LiveOptions(
                model=model, source=SourceOptions("phone"), frames_per_s=fps, fast_model=fast_model, device=device,
                region=region, rung=rung,
            )
            run = stack.enter_context(enhanced_for_the_phone(page, live))
        announce(page, picture=qr)
        _listen_to_the_terminal(page, told)
        _watch(page, run, told, seconds=seconds)
        summary = summary_of(page, taken, None if run is None else run.summary())
    say(f"{len(taken)} stills in {out}")
    if json:
        print_json(summary)


def _keeper(
    page: PhonePageServer, taken: list[Still], told: threading.Event, most: int | None
) -> Callable[[Still], None]:
    def keep(still: Still) -> None:
        taken.append(still)
        size = f", {still.width}x{still.height}" if still.width else ""
        say(f"saved {still.path}{size} from {still.client}")
        page.hub.guide("Saved. Go to the next field, focus, then tap the shutter.")
        if most is not None and len(taken) >= most:
            told.set()

    return keep


def _listen_to_the_terminal(page: PhonePageServer, told: threading.Event) -> None:
    """Take Enter, n and q from a person; nothing where nobody sits there."""
    if not sys.stdin.isatty():
        return
    say("Enter takes a still, n shows a new pairing code, q ends")
    threading.Thread(target=_hear, args=(page, told), name="terminal", daemon=True).start()


def _hear(page: PhonePageServer, told: threading.Event) -> None:
    from mobilescope.app.instruments.phone_serving import new_code

    for line in sys.stdin:
        word = line.strip().lower()
        try:
            if word == "q":
                told.set()
                return
            if word == "n":
                new_code(page)
            elif not word:
                page.hub.shutter.take()
        except MobilescopeError as error:
            say(str(error))


def _watch(page: PhonePageServer, run: LiveRun | None, told: threading.Event, *, seconds: float | None) -> None:
    """Show how things stand until told to end; raises what failed in the live run."""
    from mobilescope.app.terminal.status_lines import status_place

    until_s = None if seconds is None else time.monotonic() + seconds
    with status_place() as put:
        while not told.wait(0.1):
            put(_status(page, run))
            if run is not None and run.pipeline.wait(0):
                break
            if until_s is not None and time.monotonic() >= until_s:
                break


def _status(page: PhonePageServer, run: LiveRun | None) -> str:
    from mobilescope.devices.phone_page.words import status_line

    line = status_line(page.hub.snapshot())
    if run is None:
        return line
    from mobilescope.enhance.live_words import rung_words

    return f"{line}; {rung_words(run.ladder.status())}"
