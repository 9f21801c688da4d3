"""Whether what a model makes of a picture can be trusted: the picture held against the model's training set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mobilescope.enhance.pictures import check_shape, to_engine
from mobilescope.enhance.verdict import Limits, State, TrustReport, report
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.quality import saturated_fraction, specimen_mask
from mobilescope.learn.checkpoint import ModelCard, load_model, read_reference
from mobilescope.learn.networks import EnhancementNetwork

__all__ = ["State", "TrustAssessor", "TrustReport"]

LEAST_SIDE_PX = 64
_CLIPPED = Limits(caution=0.02, refusal=0.15)
# Ratio of the larger to the smaller of two pixel sizes, less one.
_PIXEL_OFF = Limits(caution=0.08, refusal=0.2)
_LEAST_SPECIMEN = 0.02

ReadPart = Callable[[slice, slice], NDArray[np.generic]]
Member = tuple[EnhancementNetwork, ModelCard, dict[str, Tensor]]


class TrustAssessor:
    """Judges pictures by what one model, or several of an ensemble, were trained on.

    The first member's training set is the one that pictures are held against.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = list(members)
        self._network, self._card, self._reference = self._members[0]

    @classmethod
    def from_checkpoint(cls, path: Path, device: str = "auto", *, others: Sequence[Path] = ()) -> Self:
        """Load a model and, for an ensemble, others; errors are `mobilescope.learn.checkpoint.load_model`'s."""
        members = []
        for each in (path, *others):
            network, card, _ = load_model(each)
            members.append((network, card, read_reference(each)))
        return cls(members)

    def assess(
        self, image: NDArray[np.generic], *, pixel_size_um: float | None = None, with_map: bool = False
    ) -> TrustReport:
        """Judge a picture before, or after, it is enhanced.

        Parameters
        ----------
        image : ndarray, shape (rows, columns, 3)
            As `mobilescope.enhance.enhancer.Enhancer` takes it.
        pixel_size_um : float, optional
            The picture's pixel pitch at the specimen, where it is known.
        with_map : bool
            Enhance the picture under all flips and quarter turns too, and map where the results disagree.
        """
        check_shape(image.shape)
        floats = to_float(to_engine(image))
        measures: dict[str, float] = {}
        findings: list[tuple[State, str]] = []
        if pixel_size_um is not None:
            expected = self._card.input_pixel_um
            measures["pixel_size_ratio"] = pixel_size_um / expected
            findings.append((
                _PIXEL_OFF.state(max(pixel_size_um / expected, expected / pixel_size_um) - 1),
                f"the picture is sampled at {pixel_size_um:.3g} um, the model was trained at {expected:.3g} um; "
                "resample the picture, or use a model for its pixel size",
            ))
        measures["clipped_share"] = saturated_fraction(floats)
        findings.append((
            _CLIPPED.state(measures["clipped_share"]),
            f"{measures['clipped_share']:.0%} of the pixels are at the end of the scale; expose less and capture again",
        ))
        if min(floats.shape[:2]) < LEAST_SIDE_PX:
            findings.append((
                "caution",
                f"the picture is too small to be judged; give at least {LEAST_SIDE_PX} pixels a side",
            ))
            return report(findings, measures)
        measures["specimen_share"] = float(specimen_mask(luminance(floats)).mean())
        if measures["specimen_share"] < _LEAST_SPECIMEN:
            findings.append(("caution", "there is no specimen in the picture; move to a field that shows some"))
        if not self._reference:
            findings.append((
                "caution",
                "this model carries no statistics of its training set; train it again to have pictures judged by them",
            ))
        return report(findings, measures)
