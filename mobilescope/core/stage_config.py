"""The table `[stage]` of an instrument file: which motorised or manual stage carries the phone scope's slide."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mobilescope.core.strict_model import StrictModel

Axis = Literal["x", "y", "z"]
Range = tuple[float, float]
Triple = tuple[float, float, float]
AXES: tuple[Axis, ...] = ("x", "y", "z")


class StageConfig(StrictModel):
    """Which stage to drive, and what is known about its mechanics.

    The stage frame is what `move` takes and `where` tells: the board's coordinates, mirrored on the axes that
    ``reversed`` names, with zero at ``origin_um`` of the board. ``backlash_um`` is the play of each axis: moves end in
    the direction of growing coordinates, from at least so far below. Limits are in the stage frame; a Grbl board that
    homes and has soft limits brings its own. ``um_per_step`` belongs to a Sangaboard, the speeds to Grbl, ``camera``
    (``camera:N`` or a URL, as `live` takes them) and ``camera_pixel_um`` to a manual stage, which is followed by it.
    """

    kind: Literal["none", "grbl", "sangaboard", "manual"] = "none"
    port: str | None = Field(default=None, min_length=1)
    um_per_step: Triple | None = None
    x_limits_um: Range | None = None
    y_limits_um: Range | None = None
    z_limits_um: Range | None = None
    origin_um: Triple = (0.0, 0.0, 0.0)
    reversed: tuple[Axis, ...] = ()
    backlash_um: Triple = (0.0, 0.0, 0.0)
    settling_ms: float = Field(default=100.0, ge=0, le=10_000)
    xy_speed_um_s: float | None = Field(default=None, gt=0)
    z_speed_um_s: float | None = Field(default=None, gt=0)
    camera: str | None = Field(default=None, min_length=1)
    camera_pixel_um: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> Self:
        needs = {"sangaboard": "the board knows no limits", "manual": "a manual stage has none of its own"}
        if self.kind in needs:
            missing = [name for name, limits in self.limits_um().items() if limits is None]
            if missing:
                raise ValueError(f"kind = \"{self.kind}\" needs {missing[0]}_limits_um: {needs[self.kind]}")
        if self.kind == "sangaboard":
            if self.um_per_step is None or min(self.um_per_step) <= 0:
                raise ValueError("kind = \"sangaboard\" needs um_per_step, the µm that a step moves x, y and z")
        elif self.um_per_step is not None:
            raise ValueError("um_per_step is for kind = \"sangaboard\"")
        if self.kind != "grbl" and (self.xy_speed_um_s or self.z_speed_um_s):
            raise ValueError("speeds are for kind = \"grbl\"")
        if (self.kind == "manual") != bool(self.camera and self.camera_pixel_um):
            raise ValueError("camera and camera_pixel_um go together with kind = \"manual\"")
        if min(self.backlash_um) < 0:
            raise ValueError("backlash_um: play is 0 or more")
        for name, limits in self.limits_um().items():
            if limits is not None and limits[0] >= limits[1]:
                raise ValueError(f"{name}_limits_um: the first must be below the second")
        return self

    def limits_um(self) -> dict[Axis, Range | None]:
        """Return the limits of each axis, None where the file gives none."""
        return {"x": self.x_limits_um, "y": self.y_limits_um, "z": self.z_limits_um}

    @property
    def signs(self) -> Triple:
        """−1 for each axis that is mirrored, else 1."""
        x, y, z = (-1.0 if axis in self.reversed else 1.0 for axis in AXES)
        return x, y, z
