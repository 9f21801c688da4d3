"""A job: which slides, what each is for, and where to scan and capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from mobilescope.core.config import StrictModel, load_model
from mobilescope.core.errors import PlanError
from mobilescope.core.geometry import RegionUm
from mobilescope.plans.field_lights import FieldLights
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.scan_plans import ScanPlan

Role = Literal["training", "validation", "blind"]


class GridPlan(StrictModel):
    """Rows and columns of fields around a slide's centre; a negative overlap leaves a gap.

    Each field is taken in white light, and in those of ``lights`` that are due there.
    """

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    overlap: float = Field(gt=-10, lt=0.9)
    lights: FieldLights = ()

    @model_serializer(mode="wrap")
    def _without_lights(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``lights`` out where there are none, as plans did that knew nothing of them."""
        written: dict[str, Any] = serialise(self)
        return {key: value for key, value in written.items() if key != "lights" or value}

    def grid(self, width_um: float, height_um: float, centre_um: tuple[float, float] = (0.0, 0.0)) -> FieldGrid:
        """Return the grid for fields of the given size around a centre (x, y)."""
        return FieldGrid(self.rows, self.columns, width_um, height_um, *centre_um, overlap=self.overlap)


class SlidePlan(StrictModel):
    """One slide of a job.

    Grids are laid around ``centre_um`` (x, y). ``content_um`` (x, y, width, height in the stage frame) bounds what may
    be evaluated on this slide, and is what a scan of the whole slide covers; without it everything captured may be.
    A slide without ``capture`` is scanned only, one without ``scan`` is captured only; several entries of one physical
    slide name it as ``mount``. ``stain`` is remembered by the models that learn from the slide.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    role: Role
    mount: str | None = Field(default=None, max_length=64)
    stain: str = Field(default="unknown", max_length=64)
    scan: ScanPlan | None = None
    capture: GridPlan | None = None
    centre_um: tuple[float, float] = (0.0, 0.0)
    content_um: tuple[float, float, float, float] | None = None

    @model_validator(mode="after")
    def _content_has_area(self) -> SlidePlan:
        if self.content_um is not None and min(self.content_um[2:]) <= 0:
            raise ValueError("content_um needs a positive width and height")
        return self

    @model_serializer(mode="wrap")
    def _without_mount(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``mount`` out where it says nothing, so that a session begun with an older plan is recognised."""
        written: dict[str, Any] = serialise(self)
        return {key: value for key, value in written.items() if key != "mount" or value is not None}

    @property
    def mounted(self) -> str:
        """The name of the slide to put under the objective."""
        return self.mount or self.name

    @property
    def content(self) -> RegionUm | None:
        """The region that may be evaluated."""
        return None if self.content_um is None else RegionUm(*self.content_um)

    def fields(self, width_um: float, height_um: float) -> FieldGrid:
        """Return the grid of phone fields of the given size; PlanError for a slide that is scanned only."""
        if self.capture is None:
            raise PlanError(f"the plan has no phone fields for slide {self.name!r}", "add the key capture to it")
        return self.capture.grid(width_um, height_um, self.centre_um)


class JobPlan(StrictModel):
    """All slides of a job, in the order in which they are mounted."""

    slides: tuple[SlidePlan, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> JobPlan:
        names = [slide.name for slide in self.slides]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two slides are called {twice!r}")
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
