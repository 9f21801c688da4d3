"""A job: which slides, what each is for, and where to scan and capture."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mobilescope.core.config import StrictModel, load_model
from mobilescope.core.errors import PlanError
from mobilescope.core.geometry import RegionUm
from mobilescope.plans.grids import FieldGrid

Role = Literal["training", "validation", "blind"]


class GridPlan(StrictModel):
    """Rows and columns of fields around a slide's centre; a negative overlap leaves a gap."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    overlap: float = Field(gt=-10, lt=0.9)

    def grid(self, width_um: float, height_um: float, centre_um: tuple[float, float] = (0.0, 0.0)) -> FieldGrid:
        """Return the grid for fields of the given size around a centre (x, y)."""
        return FieldGrid(self.rows, self.columns, width_um, height_um, *centre_um, overlap=self.overlap)


class SlidePlan(StrictModel):
    """One slide of a job.

    Scan and capture are laid around ``centre_um`` (x, y). ``content_um`` (x, y, width, height in the stage frame)
    bounds what may be evaluated on this slide; without it everything captured may be. ``stain`` is remembered by
    the models that learn from the slide.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    role: Role
    stain: str = Field(default="unknown", max_length=64)
    scan: GridPlan
    capture: GridPlan
    centre_um: tuple[float, float] = (0.0, 0.0)
    content_um: tuple[float, float, float, float] | None = None

    @model_validator(mode="after")
    def _content_has_area(self) -> SlidePlan:
        if self.content_um is not None and min(self.content_um[2:]) <= 0:
            raise ValueError("content_um needs a positive width and height")
        return self

    @property
    def content(self) -> RegionUm | None:
        """The region that may be evaluated."""
        return None if self.content_um is None else RegionUm(*self.content_um)


class JobPlan(StrictModel):
    """All slides of a job, in the order in which they are mounted."""

    slides: tuple[SlidePlan, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> JobPlan:
        names = [slide.name for slide in self.slides]
        if len(set(names)) != len(names):
            raise ValueError("two slides have the same name")
        return self

    def slide(self, name: str) -> SlidePlan:
        """Return a slide by name; PlanError where there is none."""
        for slide in self.slides:
            if slide.name == name:
                return slide
        known = ", ".join(slide.name for slide in self.slides)
        raise PlanError(f"the plan has no slide {name!r}", f"its slides are {known}")


def load_plan(path: Path) -> JobPlan:
    """Read a plan from a TOML file; errors are ConfigErrors naming file and key."""
    return load_model(JobPlan, path)
