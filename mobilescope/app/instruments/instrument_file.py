"""Reading an instrument file, for commands that need no more than a part of it."""

from __future__ import annotations

from pathlib import Path

from mobilescope.core.config import InstrumentConfig, load_model


def load_instrument(path: Path | None) -> InstrumentConfig:
    """Read an instrument file; without one it is the twin with its defaults."""
    if path is None:
        return InstrumentConfig()
    config = load_model(InstrumentConfig, path)
    folder = path.absolute().parent
    tables = {name: getattr(config, name).beside(folder) for name in ("benchtop", "phone", "development")}
    return config.model_copy(update=tables)
