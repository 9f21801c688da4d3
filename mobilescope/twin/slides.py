"""The rack of slides that the twin can mount: a specimen and its surface, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from mobilescope.core.config import StrictModel
from mobilescope.core.errors import ConfigError
from mobilescope.core.geometry import RegionUm
from mobilescope.twin.parameters import SurfaceParameters
from mobilescope.twin.specimens.base import BlankSlide, Specimen
from mobilescope.twin.specimens.blood import BloodSmear
from mobilescope.twin.specimens.image import ImageSpecimen
from mobilescope.twin.specimens.tissue import StainedTissue
from mobilescope.twin.specimens.usaf import UsafTarget
from mobilescope.twin.surface import Surface

BLANK = "blank"


class SlideSpec(StrictModel):
    """What lies on one of the twin's slides.

    ``image`` and ``pixel_size_um`` are for ``specimen = "image"``; ``part_um`` cuts a rectangle
    (x, y, width, height around the image's centre) out of it.
    """

    specimen: Literal["blood", "h&e", "trichrome", "usaf", "image", "blank"]
    seed: int = Field(default=0, ge=0)
    image: Path | None = None
    pixel_size_um: float | None = Field(default=None, gt=0)
    part_um: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Slide:
    """A specimen and its height."""

    specimen: Specimen
    surface: Surface


def build_specimen(spec: SlideSpec) -> Specimen:
    """Make the specimen that a spec describes."""
    if spec.specimen == "image":
        if spec.image is None:
            raise ConfigError("a slide with specimen = 'image' has no key 'image'", "name the image file")
        part = RegionUm(*spec.part_um) if spec.part_um else None
        return ImageSpecimen(spec.image, spec.pixel_size_um, part)
    if spec.specimen == "blood":
        return BloodSmear(seed=spec.seed)
    if spec.specimen == "usaf":
        return UsafTarget()
    if spec.specimen == "blank":
        return BlankSlide()
    return StainedTissue(seed=spec.seed, stain=spec.specimen)


class SlideRack:
    """Slides by name, built when first mounted. The clear slide ``"blank"`` is always there."""

    def __init__(self, specs: dict[str, SlideSpec], surface: SurfaceParameters) -> None:
        self._specs = {BLANK: SlideSpec(specimen="blank"), **specs}
        self._surface = surface
        self._slides: dict[str, Slide] = {}

    def slide(self, name: str) -> Slide:
        """Return a slide; an unknown name is a ConfigError that lists the known ones."""
        if name not in self._specs:
            raise ConfigError(
                f"the twin has no slide {name!r}",
                f"known slides: {', '.join(sorted(self._specs))}; others stand in an instrument file (--config) as "
                f"[twin.slides.{name}]",
            )
        if name not in self._slides:
            spec = self._specs[name]
            # The surface follows from the name too, so that two cuts of one image do not share it.
            surface_seed = spec.seed + int.from_bytes(name.encode(), "big") % 1_000_003
            self._slides[name] = Slide(build_specimen(spec), Surface.drawn(self._surface, surface_seed))
        return self._slides[name]
