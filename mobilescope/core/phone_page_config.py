"""What the camera of a phone's page is to be held at, and the port at which the page is served."""

from __future__ import annotations

from pydantic import Field

from mobilescope.core.strict_model import StrictModel

DEFAULT_PORT = 8765


class LockWishes(StrictModel):
    """What the camera is to be held at; a setting left out is held where its automatic found it.

    ``focus`` and ``zoom`` are in the phone's own units, as its page shows them.
    """

    exposure_ms: float | None = Field(default=None, gt=0, le=60_000)
    iso: float | None = Field(default=None, ge=1)
    white_balance_k: float | None = Field(default=None, ge=1000, le=40_000)
    focus: float | None = Field(default=None, ge=0)
    zoom: float | None = Field(default=None, gt=0)
