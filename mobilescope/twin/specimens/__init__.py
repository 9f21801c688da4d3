"""What the twin's slides are made of: procedural specimens, image files and resolution targets."""

from mobilescope.twin.specimens.base import BlankSlide, Specimen, SpecimenObject
from mobilescope.twin.specimens.blood import BloodSmear
from mobilescope.twin.specimens.image import ImageSpecimen, cut_into_parts
from mobilescope.twin.specimens.tissue import StainedTissue
from mobilescope.twin.specimens.usaf import UsafElement, UsafTarget

__all__ = [
    "BlankSlide",
    "BloodSmear",
    "ImageSpecimen",
    "Specimen",
    "SpecimenObject",
    "StainedTissue",
    "UsafElement",
    "UsafTarget",
    "cut_into_parts",
]
