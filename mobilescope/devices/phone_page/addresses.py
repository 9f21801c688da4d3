"""Where the page's server can be reached: this computer's addresses, and which of them stay inside it."""

from __future__ import annotations

import ipaddress
import socket

from mobilescope.core.errors import UserError

_ANY = ("0.0.0.0", "::")
# TEST-NET-1 of RFC 5737: nothing is sent there; the system only says which of its addresses it would send from.
_SOMEWHERE = ("192.0.2.1", 9)


def lan_address() -> str:
    """Return this computer's address in its local network; UserError where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
            address = str(probe.getsockname()[0])
        except OSError:
            address = "127.0.0.1"
    if is_loopback(address):
        raise UserError(
            "this computer is in no network", "connect it to the phone's WLAN, or use the cable: --usb"
        )
    return address


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this computer alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable_at(host: str) -> tuple[str, ...]:
    """Return the addresses at which a server bound to ``host`` answers, the best for a phone first."""
    if host not in _ANY:
        return (host,)
    try:
        return (lan_address(), "127.0.0.1")
    except UserError:
        return ("127.0.0.1",)


def host_names(host: str) -> frozenset[str]:
    """Return what a browser may write in place of the host: other names come from foreign pages."""
    names = {address.lower() for address in reachable_at(host)}
    if is_loopback(host) or host in _ANY:
        names |= {"localhost", "127.0.0.1", "::1"}
    if not is_loopback(host):
        own = socket.gethostname().lower()
        names |= {own, f"{own}.local"}
    return frozenset(names)
