"""The phone's page put together: the server with its folder of stills, announced with the code that lets a phone in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilescope.app.pictures.folders import prepare_folder
from mobilescope.app.terminal.console import say, stderr
from mobilescope.core.errors import DeviceError, UserError
from mobilescope.core.machine import cache_folder
from mobilescope.core.phone_page_config import DEFAULT_PORT, LockWishes

if TYPE_CHECKING:
    from mobilescope.devices.phone_page.hub import PhoneHub
    from mobilescope.devices.phone_page.server import PhonePageServer

_NEEDED = ("fastapi", "uvicorn", "websockets", "trustme", "segno", "av")
_LOOPBACK = "127.0.0.1"
_ADB_S = 15.0


@dataclass(frozen=True)
class PageOptions:
    """Where the page is served, what the camera is held at, and where stills go.

    Attributes
    ----------
    host : str
        Address to listen on; ``lan`` for this computer's in its network.
    usb : bool
        Have adb bring the server's port to the phone on the cable.
    out : Path
        Folder of the stills.
    pixel_size_um : float or None
        Pixel pitch of the preview at the specimen.
    remember : bool
        Whether phones that were paired in an earlier run may come back.
    """

    host: str = _LOOPBACK
    port: int = DEFAULT_PORT
    usb: bool = False
    out: Path = Path("phone-stills")
    wishes: LockWishes = field(default_factory=LockWishes)
    pixel_size_um: float | None = None
    remember: bool = True

    @classmethod
    def at(cls, place: str, *, pixel_size_um: float | None = None) -> PageOptions:
        """Return the options for a place: empty for the cable, ``lan``, or an address."""
        return cls(host=place or _LOOPBACK, pixel_size_um=pixel_size_um)


@contextmanager
def served_page(options: PageOptions, *, on_event: Callable[[str], None] = say) -> Iterator[PhonePageServer]:
    """Serve the page while the with-block runs.

    Raises
    ------
    UserError
        What it needs is not installed, or the address, the port or the folder can't be had.
    """
    check_installed()
    from mobilescope.devices.phone_page.addresses import lan_address
    from mobilescope.devices.phone_page.hub import PhoneHub
    from mobilescope.devices.phone_page.pairing import PairingDesk
    from mobilescope.devices.phone_page.server import PhonePageServer
    from mobilescope.devices.phone_page.stills import StillStore

    if options.usb and options.host != _LOOPBACK:
        raise UserError("--usb reaches the page through the cable", "leave --lan and --host out, or leave --usb out")
    prepare_folder(options.out)
    state = cache_folder() / "phone"
    desk = PairingDesk(state / "phones.json")
    if not options.remember:
        desk.forget_all()
    hub = PhoneHub(
        desk, StillStore(options.out), wishes=options.wishes, pixel_size_um=options.pixel_size_um, on_event=on_event
    )
    host = lan_address() if options.host == "lan" else options.host
    with ExitStack() as stack:
        server = stack.enter_context(PhonePageServer(hub, host=host, port=options.port, state=state))
        if options.usb:
            stack.enter_context(_reversed_port(server.port))
        yield server


@contextmanager
def announced_hub(options: PageOptions) -> Iterator[PhoneHub]:
    """Serve the page, tell how a phone is paired, and yield what knows the phone."""
    with served_page(options) as page:
        announce(page)
        yield page.hub


def check_installed() -> None:
    """Refuse to go on without what the page needs; UserError names it."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(
            f"the phone's page needs {', '.join(missing)}", "install it with: pip install 'mobilescope[phone]'"
        )


@contextmanager
def _reversed_port(port: int) -> Iterator[None]:
    """Have the phone on the cable reach this computer's port as its own."""
    _adb("reverse", f"tcp:{port}", f"tcp:{port}")
    try:
        yield
    finally:
        # The phone may be unplugged by now, which undoes it as well.
        with suppress(DeviceError):
            _adb("reverse", "--remove", f"tcp:{port}")


def _adb(*words: str) -> None:
    from mobilescope.devices.phones.adb_link import adb_program

    try:
        done = subprocess.run([adb_program(), *words], capture_output=True, text=True, check=False, timeout=_ADB_S)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"adb did not answer in {_ADB_S:g} s", "unplug the phone, plug it in again") from error
    if done.returncode:
        cause = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise DeviceError(f"adb: {cause}", "plug the phone in, allow USB debugging on it, and unplug all others")


def announce(page: PhonePageServer, *, picture: Path | None = None) -> None:
    """Say where the page is, what it exposes, and how a phone is paired: as a QR code, a link and a code to type.

    Parameters
    ----------
    picture : Path, optional
        File that takes the QR code too, ``.svg`` or ``.png``.
    """
    for line in page.listening.exposure():
        say(line)
    if page.listening.loopback:
        say(f"a phone on the cable: --usb, or adb reverse tcp:{page.port} tcp:{page.port}; without a cable: --lan")
    new_code(page, picture=picture)


def new_code(page: PhonePageServer, *, picture: Path | None = None) -> None:
    """Show a code that pairs one more phone."""
    import segno

    code = page.hub.desk.new_code()
    url = page.pairing_url(code)
    qr = segno.make(url, error="m", micro=False)
    if stderr.is_terminal:
        qr.terminal(out=sys.stderr, border=2, compact=True)
    if picture is not None:
        if picture.suffix.lower() not in (".svg", ".png"):
            raise UserError(f"{picture} is neither .svg nor .png", "give the QR code's file such a name")
        prepare_folder(picture.parent)
        qr.save(str(picture), scale=8, border=4)
    say(f"pair a phone, good once and for 15 minutes: {url}")
    say(f"or open {page.listening.urls[0]} on it and type {code}")


def summary_of(page: PhonePageServer, taken: list[Any], enhanced: dict[str, Any] | None) -> dict[str, Any]:
    """Return the contract's JSON object of a served page; ``enhanced`` is what a live run sums up."""
    now = page.hub.snapshot()
    return {
        "url": page.listening.urls[0],
        "folder": str(page.hub.store.folder),
        "stills": [
            {"file": still.path.name, "sha256": still.digest, "width": still.width, "height": still.height}
            for still in taken
        ],
        "preview_pictures": now.pictures,
        "phones": now.paired,
        "refused": now.refused,
        "enhanced": enhanced,
    }
