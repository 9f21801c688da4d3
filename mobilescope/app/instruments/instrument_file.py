"""Reading an instrument file, for commands that need no more than a part of it."""

from __future__ import annotations

from pathlib import Path

from mobilescope.core.config import UNNAMED, InstrumentConfig, load_model


def load_instrument(path: Path | None) -> InstrumentConfig:
    """Read an instrument file; without one it is the twin with its defaults.

    The twin's name is not lent to a real microscope or phone scope: sessions, cards and reports would bear it.
    """
    if path is None:
        return InstrumentConfig()
    config = load_model(InstrumentConfig, path)
    folder = path.absolute().parent
    tables = {name: getattr(config, name).beside(folder) for name in ("benchtop", "phone", "development")}
    named = "name" in config.model_fields_set or not _has_hardware(config)
    return config.model_copy(update=tables if named else tables | {"name": UNNAMED})


def _has_hardware(config: InstrumentConfig) -> bool:
    return config.benchtop.kind != "twin" or config.phone.kind != "twin" or config.stage.kind != "none"
