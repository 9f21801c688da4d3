"""How one slide is scanned: the region, z stack, channels and focus, as a plan file says it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import shapely
from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from mobilescope.core.config import StrictModel
from mobilescope.core.errors import PlanError
from mobilescope.core.geometry import RegionUm
from mobilescope.plans.grids import FieldGrid
from mobilescope.plans.tile_areas import Following, TileArea, cells_touching, covering_grid, nearest_cell

Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]
Byte = Annotated[int, Field(ge=0, le=255)]
_ALWAYS_WRITTEN = ("rows", "columns", "overlap")
# A lattice beyond this is a mistyped unit rather than a slide.
_MOST_TILES = 1_000_000


class ChannelPlan(StrictModel):
    """One channel: a colour of the ring, or a light or filter that the microscope knows by this name."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]*$", max_length=32)
    exposure_ms: float | None = Field(default=None, gt=0, le=60_000)
    colour: tuple[Byte, Byte, Byte] | None = None
    brightness: float = Field(default=1.0, gt=0, le=1)


class ZStackPlan(StrictModel):
    """An odd number of planes around the focus; ``centre_um`` is the middle plane's distance from the focus found.

    ``fuse`` adds one picture that is sharp everywhere; the planes are kept.
    """

    planes: int = Field(ge=3, le=201)
    step_um: float = Field(gt=0)
    centre_um: float = 0.0
    fuse: bool = False

    @model_validator(mode="after")
    def _has_a_middle(self) -> ZStackPlan:
        if self.planes % 2 == 0:
            raise ValueError(f"a stack needs a middle plane: planes must be odd, got {self.planes}")
        return self

    @property
    def offsets_um(self) -> dict[int, float]:
        """The planes from the lowest to the highest with their distance from the focus."""
        half = self.planes // 2
        return {plane: self.centre_um + plane * self.step_um for plane in range(-half, half + 1)}


class FocusPlan(StrictModel):
    """Where to search for the focus.

    ``mode = "every"`` searches at every ``every``-th tile and expects the plane through the last ones between.
    ``mode = "surface"`` searches at ``points`` tiles far from each other first, fits a surface, and searches again
    only where its uncertainty exceeds ``tolerance_um``; ``surface`` says of which kind. With ``sweep`` a search takes
    its first images while the drive moves, where the drive can be watched meanwhile.
    """

    mode: Literal["every", "surface"] = "every"
    sweep: bool = False
    every: int = Field(default=1, ge=1)
    points: int = Field(default=25, ge=6, le=10_000)
    surface: Literal["gaussian process", "plane", "quadratic", "thin plates"] = "gaussian process"
    tolerance_um: float = Field(default=0.49, gt=0)
    first_half_range_um: float = Field(default=20.0, gt=0)
    half_range_um: float = Field(default=4.0, gt=0)


class ScanOptions(StrictModel):
    """What every region's plan has. A tile with a larger share of saturated pixels than ``saturated`` is marked."""

    overlap: float = Field(default=0.1, gt=-10, lt=0.9)
    serpentine: bool = True
    z: ZStackPlan | None = None
    channels: tuple[ChannelPlan, ...] = ()
    focus: FocusPlan = FocusPlan()
    saturated: float = Field(default=0.05, gt=0, le=1)

    @model_validator(mode="after")
    def _channels_differ(self) -> ScanOptions:
        names = [channel.name for channel in self.channels]
        if len(set(names)) != len(names):
            raise ValueError("two channels have the same name")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out keys that say nothing, so that a session begun with an older plan is recognised."""
        written: dict[str, Any] = serialise(self)
        fields = type(self).model_fields
        first = {key: written[key] for key in _ALWAYS_WRITTEN if key in written}
        return first | {key: value for key, value in written.items() if getattr(self, key) != fields[key].default}

    def area(self, field_um: tuple[float, float], centre_um: Point, extent: RegionUm | None) -> TileArea:
        """Return the tiles for fields of a size (width, height).

        Parameters
        ----------
        centre_um : (x, y)
            The slide's centre, where the plan names no place of its own.
        extent : RegionUm, optional
            The slide's, or what the stage can reach.

        Raises
        ------
        PlanError
            The region is unknown, or holds more tiles than any slide.
        """
        raise NotImplementedError

    def _covering(self, region: RegionUm, field_um: tuple[float, float]) -> FieldGrid:
        grid = covering_grid(region, field_um, self.overlap, serpentine=self.serpentine)
        if len(grid) > _MOST_TILES:
            raise PlanError(
                f"a region of {region.width_um / 1000:g} x {region.height_um / 1000:g} mm takes {len(grid)} tiles",
                "check the units (micrometres) and the overlap",
            )
        return grid


class GridScan(ScanOptions):
    """Rows and columns of tiles around the slide's centre."""

    region: Literal["grid"] = "grid"
    rows: int = Field(ge=1, le=10_000)
    columns: int = Field(ge=1, le=10_000)

    def grid(self, width_um: float, height_um: float, centre_um: Point = (0.0, 0.0)) -> FieldGrid:
        """Return the lattice for fields of the given size around a centre (x, y)."""
        return FieldGrid(
            self.rows, self.columns, width_um, height_um, *centre_um, overlap=self.overlap, serpentine=self.serpentine
        )

    def area(self, field_um: tuple[float, float], centre_um: Point, extent: RegionUm | None) -> TileArea:
        """Return all cells."""
        return TileArea(self.grid(*field_um, centre_um))


class RectangleScan(ScanOptions):
    """The rectangle (x, y, width, height) in the stage frame."""

    region: Literal["rectangle"]
    rectangle_um: Rectangle

    @model_validator(mode="after")
    def _has_area(self) -> RectangleScan:
        _check_area("rectangle_um", self.rectangle_um)
        return self

    def area(self, field_um: tuple[float, float], centre_um: Point, extent: RegionUm | None) -> TileArea:
        """Return the lattice that covers the rectangle."""
        return TileArea(self._covering(RegionUm(*self.rectangle_um), field_um))


class PolygonScan(ScanOptions):
    """The area within a polygon of corners (x, y) in the stage frame."""

    region: Literal["polygon"]
    corners_um: tuple[Point, ...] = Field(min_length=3)

    @model_validator(mode="after")
    def _has_area(self) -> PolygonScan:
        polygon = shapely.Polygon(self.corners_um)
        if not polygon.is_valid or polygon.area <= 0:
            raise ValueError("corners_um must go round an area without crossing themselves")
        return self

    def area(self, field_um: tuple[float, float], centre_um: Point, extent: RegionUm | None) -> TileArea:
        """Return the cells whose field meets the polygon."""
        x, y = zip(*self.corners_um, strict=True)
        grid = self._covering(RegionUm(min(x), min(y), max(x) - min(x), max(y) - min(y)), field_um)
        return TileArea(grid, cells_touching(grid, self.corners_um))


class WholeSlideScan(ScanOptions):
    """All of the slide."""

    region: Literal["slide"]

    def area(self, field_um: tuple[float, float], centre_um: Point, extent: RegionUm | None) -> TileArea:
        """Return the lattice that covers the slide's extent."""
        return TileArea(self._covering(_known(extent), field_um))


class TissueScan(ScanOptions):
    """The tissue, found by following it: a spiral from ``start_um`` that grows wherever a tile shows specimen.

    ``within_um`` (x, y, width, height) and ``max_tiles`` bound it.
    """

    region: Literal["tissue"]
    within_um: Rectangle | None = None
    start_um: Point | None = None
    max_tiles: int = Field(default=1000, ge=1)

    @model_validator(mode="after")
    def _starts_inside(self) -> TissueScan:
        if self.within_um is not None:
            _check_area("within_um", self.within_um)
            if self.start_um is not None and not _contains(RegionUm(*self.within_um), self.start_um):
                raise ValueError("start_um lies outside within_um")
        return self

    def area(self, field_um: tuple[float, float], centre_um: Point, extent: RegionUm | None) -> TileArea:
        """Return the lattice over the bounds, and where to start."""
        bounds = _known(extent) if self.within_um is None else RegionUm(*self.within_um)
        grid = self._covering(bounds, field_um)
        start = self.start_um or (centre_um if _contains(bounds, centre_um) else bounds.centre_um)
        return TileArea(grid, following=Following(nearest_cell(grid, *start), self.max_tiles))


_REGIONS: dict[str, type[ScanOptions]] = {
    "grid": GridScan, "rectangle": RectangleScan, "polygon": PolygonScan, "slide": WholeSlideScan,
    "tissue": TissueScan,
}


def _choose(given: Any) -> Any:
    """Check a scan's table by the model that its key ``region`` names, so that an error names the key alone."""
    if isinstance(given, StrictModel) and not isinstance(given, ScanOptions):
        given = given.model_dump()
    if not isinstance(given, dict):
        return given
    region = given.get("region", "grid")
    model = _REGIONS.get(region) if isinstance(region, str) else None
    if model is None:
        raise ValueError(f"unknown region {region!r}: known are {', '.join(_REGIONS)}")
    return model.model_validate(given)


ScanPlan = Annotated[
    GridScan | RectangleScan | PolygonScan | WholeSlideScan | TissueScan, BeforeValidator(_choose)
]


def _check_area(key: str, rectangle: Rectangle) -> None:
    if min(rectangle[2:]) <= 0:
        raise ValueError(f"{key} needs a positive width and height")


def _contains(region: RegionUm, point: Point) -> bool:
    return region.x_um <= point[0] <= region.right_um and region.y_um <= point[1] <= region.bottom_um


def _known(extent: RegionUm | None) -> RegionUm:
    if extent is None:
        raise PlanError(
            "neither the slide nor the stage says how large the slide is",
            "give content_um or within_um, or choose region = 'rectangle'",
        )
    return extent
