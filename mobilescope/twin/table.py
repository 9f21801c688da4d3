"""The ``[twin]`` table of an instrument file: seed, slides, and parameters that differ from the defaults."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mobilescope.core.config import StrictModel
from mobilescope.twin.parameters import TwinParameters, load_parameters
from mobilescope.twin.slides import SlideSpec


class TwinTable(StrictModel):
    """What a twin is made of; the parameter tables are laid over `defaults.toml`."""

    seed: int = Field(default=0, ge=0)
    slides: dict[str, SlideSpec] = Field(default_factory=dict)
    benchtop: dict[str, Any] = Field(default_factory=dict)
    stage: dict[str, Any] = Field(default_factory=dict)
    surface: dict[str, Any] = Field(default_factory=dict)
    phone: dict[str, Any] = Field(default_factory=dict)

    def parameters(self, *, preset: str, source: str) -> TwinParameters:
        """Return the defaults with the preset and these tables laid over them."""
        overrides = {
            "benchtop": self.benchtop, "stage": self.stage, "surface": self.surface, "phone": self.phone,
        }
        return load_parameters(overrides, preset=preset, source=source)
