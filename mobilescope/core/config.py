"""TOML files checked by pydantic: every error names the file, the key and the value."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mobilescope.core.errors import ConfigError


class StrictModel(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; a missing, unreadable or malformed one is a ConfigError naming it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}", "check the path") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder", "give the TOML file inside it") from error
    except PermissionError as error:
        raise ConfigError(f"{path} may not be read", "check its permissions") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file", "give a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", "mend that line") from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}", "check the path") from error


def validate(model: type[Model], data: object, *, source: str, prefix: str = "") -> Model:
    """Check data against a model; the first error becomes a ConfigError naming key, value and ``source``."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in ((prefix, *first["loc"]) if prefix else first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(model.model_fields)) if len(first["loc"]) == 1 else ""
            remedy = f"known keys: {known}" if known else "remove it or check its spelling"
            raise ConfigError(f"{source}: unknown key {key!r}", remedy) from error
        given = "" if first["type"] == "missing" or not first["loc"] else f" (got {first['input']!r})"
        raise ConfigError(f"{source}: {key or 'file'}: {first['msg']}{given}", "mend that key") from error


def load_model(model: type[Model], path: Path) -> Model:
    """Read a TOML file into a model."""
    return validate(model, read_toml(path), source=str(path))


class BenchtopConfig(StrictModel):
    """Which benchtop microscope to use and how its camera samples the specimen."""

    kind: Literal["twin"] = "twin"
    pixel_size_um: float = Field(default=0.37, gt=0)
    frame_rows: int = Field(default=1024, ge=64)
    frame_columns: int = Field(default=1024, ge=64)


class PhoneConfig(StrictModel):
    """Which phone scope to use, and the finest lines that it resolves (R18: 0.87 µm line and space)."""

    kind: Literal["twin"] = "twin"
    preset: str = "default"
    half_pitch_um: float = Field(default=0.87, gt=0)


class RingConfig(StrictModel):
    """Which illumination ring lights the phone scope's slides.

    ``simulated`` runs the firmware without a board; ``serial`` drives a board, the only one plugged in unless ``port``
    names it. ``supply_ma`` is what the ring's supply can give: light that is estimated to take more is refused.
    """

    kind: Literal["simulated", "serial"] = "simulated"
    port: str | None = None
    supply_ma: int = Field(default=1000, ge=20, le=5000)


class InstrumentConfig(StrictModel):
    """One instrument file: a benchtop microscope, a phone scope with its ring, and the twin's parameters if it is one.

    The table ``twin`` is checked by the twin's own models, which this room does not know.
    """

    name: str = "digital twin"
    benchtop: BenchtopConfig = BenchtopConfig()
    phone: PhoneConfig = PhoneConfig()
    ring: RingConfig = RingConfig()
    twin: dict[str, Any] = Field(default_factory=dict)
