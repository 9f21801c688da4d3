"""How a session's captures are to be developed where the command line or an instrument file says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from mobilescope.app.instruments.instrument_file import load_instrument
from mobilescope.app.pictures.development import development_of
from mobilescope.core.config import validate
from mobilescope.core.development_config import DevelopmentConfig, WhiteBalancePreset
from mobilescope.core.errors import UserError
from mobilescope.data.session import Session
from mobilescope.imaging.white_balance import Gains


def asked_development(
    path: Path, instrument: Path | None, white_balance: str | None, crops: str | None
) -> DevelopmentConfig:
    """Return how a session is to be developed: as asked, else as an instrument file given says, else as the session.

    Raises
    ------
    UserError
        The session or the instrument file can't be read, or no such white balance or crops exist.
    """
    if instrument is not None:
        base = load_instrument(instrument).development
    else:
        with Session.open(path) as session:
            base = development_of(session)
    asked: dict[str, Any] = {} if crops is None else {"crops": crops}
    if white_balance is not None:
        asked["white_balance"] = parse_white_balance(white_balance)
    return validate(DevelopmentConfig, base.model_dump() | asked, source="development")


def parse_white_balance(text: str) -> str | Gains:
    """Return a white balance as people type it: a preset's name, or gains of red, green and blue by commas."""
    if text in get_args(WhiteBalancePreset):
        return text
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        known = ", ".join(get_args(WhiteBalancePreset))
        raise UserError(f"there is no white balance {text!r}", f"give {known}, or gains: 2.1,1,1.5") from error
    return red, green, blue
