"""Addresses with a user name and password in them: apart for asking, left out for showing and storing."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit, urlunsplit


def without_secret(address: str) -> str:
    """Return an address without the user name and password in it, for messages and files."""
    parts = urlsplit(address)
    if "@" not in parts.netloc:
        return address
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def credentials(address: str) -> tuple[str, str] | None:
    """Return user name and password of an address, None where it has none."""
    parts = urlsplit(address)
    return None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
