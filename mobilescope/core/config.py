"""TOML files checked by pydantic: every error names the file, the key and the value."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from mobilescope.core.development_config import DevelopmentConfig
from mobilescope.core.errors import ConfigError
from mobilescope.core.phone_config import PhoneConfig as PhoneConfig
from mobilescope.core.stage_config import StageConfig
from mobilescope.core.strict_model import StrictModel as StrictModel

Model = TypeVar("Model", bound=BaseModel)

TWIN_NAME = "digital twin"
UNNAMED = "unnamed instrument"


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
        said = first["ctx"]["error"] if first["type"] == "value_error" else first["msg"]
        where = f"{source}: {key}" if key else source
        raise ConfigError(f"{where}: {said}{_given(first['input'])}", "mend that key") from error


def _given(value: object) -> str:
    """Return what was given, for a message: no table or list, and no address with a name and a password in it."""
    return f" (got {value!r})" if isinstance(value, str | int | float) and "@" not in str(value) else ""


def load_model(model: type[Model], path: Path) -> Model:
    """Read a TOML file into a model."""
    return validate(model, read_toml(path), source=str(path))


Range = tuple[float, float]
Scalar = str | int | float | bool
_FOCUS_APPROACH_UM = 2.0


class BenchtopConfig(StrictModel):
    """Which benchtop microscope to use and how its camera samples the specimen.

    ``focus_approach_um`` is how far below a z the focus drive turns round before it goes there, more than its play;
    2 unless given, negative where it is to come from above, 0 for a drive without play, as a piezo.
    The keys below it belong to ``kind = "micromanager"``. ``backend`` says where Micro-Manager's core
    runs: in this process, from ``configuration``, or in a running Micro-Manager at ``host`` and ``port``. Devices that
    are not named are the core's own choice. Limits are in the devices' coordinates, as Micro-Manager shows them.
    ``properties`` are set at the start. ``light_on`` and ``light_off`` are written ``Property=value``. There pixel size
    and frame come from the calibration and the camera; where they are given, they must agree.
    """

    kind: Literal["twin", "micromanager"] = "twin"
    pixel_size_um: float = Field(default=0.37, gt=0)
    frame_rows: int = Field(default=1024, ge=64)
    frame_columns: int = Field(default=1024, ge=64)
    focus_approach_um: float | None = Field(default=None, ge=-50, le=50)
    backend: Literal["python", "java"] | None = None
    configuration: Path | None = None
    host: str | None = Field(default=None, min_length=1)
    port: int | None = Field(default=None, ge=1, le=65535)
    timeout_s: float | None = Field(default=None, gt=0, le=3600)
    calibration: Path | None = None
    exposure_ms: float | None = Field(default=None, gt=0)
    grey: Literal["refuse", "copy"] | None = None
    camera: str | None = None
    xy_stage: str | None = None
    focus: str | None = None
    autofocus: str | None = None
    objective: str | None = None
    shutter: str | None = None
    auto_shutter: bool | None = None
    light: str | None = None
    light_on: str | None = Field(default=None, pattern="=")
    light_off: str | None = Field(default=None, pattern="=")
    channel_group: str | None = Field(default=None, min_length=1)
    x_limits_um: Range | None = None
    y_limits_um: Range | None = None
    z_limits_um: Range | None = None
    properties: dict[str, Scalar | dict[str, Scalar]] | None = None

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> Self:
        common = {"kind", "pixel_size_um", "frame_rows", "frame_columns", "focus_approach_um"}
        given = [name for name in type(self).model_fields if name not in common and getattr(self, name) is not None]
        if self.kind == "twin":
            if given:
                raise ValueError(f"{given[0]} is for kind = \"micromanager\"")
            return self
        if self.backend != "java":
            for name in ("host", "port"):
                if name in given:
                    raise ValueError(f"{name} is for backend = \"java\"")
            if self.configuration is None:
                raise ValueError("backend = \"python\" needs configuration, a Micro-Manager .cfg file")
        if (self.light_on is None) != (self.light_off is None) or (self.light_on and not self.light):
            raise ValueError("light_on and light_off go together, with light")
        for name in ("x_limits_um", "y_limits_um", "z_limits_um"):
            limits = getattr(self, name)
            if limits is not None and limits[0] >= limits[1]:
                raise ValueError(f"{name}: the first must be below the second")
        return self

    @property
    def approach_um(self) -> float:
        """How far below a z the focus drive turns round."""
        return _FOCUS_APPROACH_UM if self.focus_approach_um is None else self.focus_approach_um

    def beside(self, folder: Path) -> Self:
        """Return the same with relative paths taken from ``folder``, where the instrument file lies."""
        paths = {name: getattr(self, name) for name in ("configuration", "calibration")}
        known = {name: folder / path for name, path in paths.items() if path is not None}
        return self.model_copy(update=known) if known else self


class RingConfig(StrictModel):
    """Which illumination ring lights the phone scope's slides.

    ``simulated`` runs the firmware without a board; ``serial`` drives a board, the only one plugged in unless ``port``
    names it. ``supply_ma`` is what the ring's supply can give: light that is estimated to take more is refused.
    """

    kind: Literal["simulated", "serial"] = "simulated"
    port: str | None = None
    supply_ma: int = Field(default=1000, ge=20, le=5000)


class InstrumentConfig(StrictModel):
    """One instrument file: a benchtop microscope, a phone scope with ring and stage, how its captures are developed.

    The table ``twin``, its parameters, is checked by the twin's own models, which this room does not know.
    """

    name: str = TWIN_NAME
    benchtop: BenchtopConfig = BenchtopConfig()
    phone: PhoneConfig = PhoneConfig()
    ring: RingConfig = RingConfig()
    stage: StageConfig = StageConfig()
    development: DevelopmentConfig = DevelopmentConfig()
    twin: dict[str, Any] = Field(default_factory=dict)
