"""How facts of a file are set out for reading."""

from __future__ import annotations

_KEY_WIDTH = 16


def card_line(key: str, text: str) -> str:
    """Return one line of a card."""
    return f"  {key:<{_KEY_WIDTH}} {text}"
