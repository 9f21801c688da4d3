"""The twin's parameters: models of `defaults.toml` and of the tables that override it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mobilescope.core.config import StrictModel, read_toml, validate
from mobilescope.core.errors import ConfigError

DEFAULTS = Path(__file__).with_name("defaults.toml")

Triple = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]


class BenchtopParameters(StrictModel):
    """Optics and camera of the benchtop; the file's comments say what each value is."""

    numerical_aperture: float = Field(gt=0, lt=1)
    wavelengths_nm: tuple[Positive, Positive, Positive]
    axial_colour_um: Triple
    vignetting: float = Field(ge=0, lt=1)
    lamp: Triple
    full_well_electrons: float = Field(gt=0)
    read_noise_electrons: float = Field(ge=0)
    exposure_ms: float = Field(gt=0)


class StageParameters(StrictModel):
    """Errors of the benchtop's stage."""

    backlash_um: float = Field(ge=0)
    repeatability_um: float = Field(ge=0)
    z_repeatability_um: float = Field(ge=0)
    z_backlash_um: float = Field(default=0.0, ge=0)


class SurfaceParameters(StrictModel):
    """How the specimen's height varies over a slide."""

    tilt_um_per_mm: float = Field(ge=0)
    waviness_um: float = Field(ge=0)
    wavelength_mm: float = Field(gt=0)


class PhoneParameters(StrictModel):
    """Optics, sensor and automatic settings of the phone scope."""

    bayer_rows: int = Field(ge=64, multiple_of=2)
    bayer_columns: int = Field(ge=64, multiple_of=2)
    bayer_pixel_um: float = Field(gt=0)
    cfa: Literal["RGGB", "BGGR", "GRBG", "GBRG"]
    half_pitch_um: float = Field(gt=0)
    half_pitch_contrast: float = Field(gt=0, lt=1)
    corner_blur: float = Field(ge=1)
    effective_aperture: float = Field(gt=0, lt=1)
    focus_error_um: float = Field(ge=0)
    lateral_colour_um: Triple
    barrel: float = Field(gt=-0.2, lt=0.2)
    warp_um: float = Field(ge=0)
    warp_wavelength_um: float = Field(gt=0)
    magnification_error: float = Field(ge=0)
    rotation_deg: float = Field(ge=0)
    position_error_um: float = Field(ge=0)
    crosstalk: tuple[Triple, Triple, Triple]
    colour_drift: float = Field(ge=0)
    exposure_drift: float = Field(ge=0)
    stray_light: float = Field(ge=0, lt=1)
    vignetting: float = Field(ge=0, lt=1)
    exposure: Triple
    white_balance: Triple
    full_well_electrons: float = Field(gt=0)
    read_noise_electrons: float = Field(ge=0)
    black_level: int = Field(ge=0)
    white_level: int = Field(gt=0, le=65535)
    exposure_ms: float = Field(gt=0)
    iso: int = Field(gt=0)
    jpeg_quality: int = Field(ge=1, le=100)
    # Where the phone scope's own stage frame lies in the benchtop's: one with it unless an instrument file says else.
    frame_shift_um: tuple[float, float] = (0.0, 0.0)
    frame_turn_deg: float = 0.0

    @model_validator(mode="after")
    def _levels_are_apart(self) -> PhoneParameters:
        if self.black_level >= self.white_level:
            raise ValueError(f"black_level {self.black_level} is not below white_level {self.white_level}")
        return self


class TwinParameters(StrictModel):
    """Both instruments of the twin."""

    benchtop: BenchtopParameters
    stage: StageParameters
    surface: SurfaceParameters
    phone: PhoneParameters


def load_parameters(
    overrides: dict[str, Any] | None = None, *, preset: str = "default", source: str = "instrument file"
) -> TwinParameters:
    """Return the frozen defaults with a preset's and then an instrument's own values laid over them.

    Raises
    ------
    ConfigError
        For an unknown preset, table or key, or a value out of range; names ``source`` and the key.
    """
    tables = read_toml(DEFAULTS)
    presets: dict[str, dict[str, dict[str, Any]]] = tables.pop("presets")
    if preset != "default" and preset not in presets:
        raise ConfigError(
            f"{source}: phone.preset: there is no preset {preset!r}", f"choose default, {', '.join(sorted(presets))}"
        )
    for layer in (presets.get(preset, {}), overrides or {}):
        for name, values in layer.items():
            if isinstance(values, dict) and isinstance(tables.get(name), dict):
                tables[name] |= values
            else:
                tables[name] = values
    return validate(TwinParameters, tables, source=source, prefix="twin")
