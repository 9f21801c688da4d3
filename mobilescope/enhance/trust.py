"""Whether what a model makes of a picture can be trusted: the picture held against the model's training set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import UserError
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.pictures import check_shape, to_engine
from mobilescope.enhance.verdict import ModelFacts, State, TrustReport, judge
from mobilescope.imaging.appearance import LEAST_SIDE_PX, Image, pick_blocks
from mobilescope.imaging.colour import to_float
from mobilescope.imaging.turns import spread_over_turns
from mobilescope.learn.checkpoint import ModelCard, load_model, read_reference
from mobilescope.learn.device import pick_device
from mobilescope.learn.device import place as place_on
from mobilescope.learn.networks import EnhancementNetwork
from mobilescope.learn.signature import Signature, signature
from mobilescope.learn.statistics import TrainingStatistics, unpack

__all__ = ["State", "TrustAssessor", "TrustReport"]

_HIGH_PERCENTILE = 95

ReadPart = Callable[[slice, slice], NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Member:
    """A model of an ensemble; ``statistics`` has its training sets, none where it was saved without them."""

    network: EnhancementNetwork
    card: ModelCard
    statistics: Sequence[TrainingStatistics]


class TrustAssessor:
    """Judges pictures by what a model was trained on.

    Of an ensemble's members, the first one's training set is what pictures are held against; where the members'
    results disagree is mapped.
    """

    def __init__(self, members: Sequence[Member], *, device: str = "auto") -> None:
        self._device = device
        self._members = list(members)
        self._network = place_on(self._members[0].network, pick_device(device)).eval()
        self._card, self._statistics = self._members[0].card, self._members[0].statistics
        self._facts = ModelFacts(self._card.stain, self._card.input_pixel_um, bool(self._statistics))
        self._enhancers: list[Enhancer] = []

    @classmethod
    def from_checkpoint(cls, path: Path, device: str = "auto", *, others: Sequence[Path] = ()) -> Self:
        """Load a model and, for an ensemble, others; the errors are `mobilescope.learn.checkpoint.load_model`'s.

        A model without statistics of its training set loads too; its pictures are never trusted.
        """
        return cls([_member(each) for each in (path, *others)], device=device)

    def assess(
        self, image: NDArray[np.generic], *, pixel_size_um: float | None = None, with_map: bool = False
    ) -> TrustReport:
        """Judge a picture to be enhanced.

        Parameters
        ----------
        image : ndarray, shape (rows, columns, 3)
            As `mobilescope.enhance.enhancer.Enhancer` takes it, of any size; a few places spread over it are looked at.
        pixel_size_um : float, optional
            The picture's pixel pitch at the specimen, where it is known; the picture's look has to tell otherwise.
        with_map : bool
            Enhance the picture in all eight flips and quarter turns, by each member, and map where the results
            disagree: a trustworthy structure does not depend on how the picture was turned. Takes as long as
            enhancing it eight times.

        Returns
        -------
        TrustReport
            Its measures, where they could be taken. ``*_level`` is in parts of what a few fields in a thousand of the
            training set's kind reach: 1 means caution, 2 not for use.

            - ``level``: the largest of all
            - ``colour_level``, ``network_level``, ``detail_level``: distance from the nearest training set in colours,
              in the network's own features, and in how detail is spread over sizes
            - ``blur_level``, ``sampling_level``: evidence in the detail for blur, and for another sampling; ``blur_px``
              and ``sampled_um`` what fits best, ``detail_explained`` how well (0–1)
            - ``pixel_size_ratio``: given pixel size over the model's
            - ``specimen_share``, ``white_share``, ``black_share``: see `mobilescope.imaging.appearance.Blocks`
            - ``disagreement_mean``, ``disagreement_p95``: of the map; ``disagreement_level`` for one model

        Raises
        ------
        InputImageError
            For what can't be enhanced either.
        """
        report = self.assess_parts(lambda rows, columns: image[rows, columns], image.shape, pixel_size_um=pixel_size_um)
        if not with_map:
            return report
        return self._with_map(report, to_float(to_engine(image)))

    def assess_parts(
        self, read: ReadPart, shape: tuple[int, ...], *, pixel_size_um: float | None = None
    ) -> TrustReport:
        """Judge a picture that is read in parts, so that a large slide is never held whole; see `assess`.

        Parameters
        ----------
        read : callable
            Gives the pixels of a slice of rows and one of columns.
        shape : tuple of int
            The whole picture's.
        """
        check_shape(shape)

        def read_floats(rows: slice, columns: slice) -> Image:
            return to_float(to_engine(read(rows, columns)))

        measures: dict[str, float] = {}
        if pixel_size_um is not None:
            if not (np.isfinite(pixel_size_um) and pixel_size_um > 0):
                raise UserError(f"{pixel_size_um} µm is no pixel size", "give a positive number of micrometres")
            measures["pixel_size_ratio"] = pixel_size_um / self._card.input_pixel_um
        if min(shape[:2]) < LEAST_SIDE_PX:
            read_floats(slice(0, shape[0]), slice(0, shape[1]))  # which refuses what is no picture
            return judge(measures, self._facts)
        blocks = pick_blocks(read_floats, shape[0], shape[1])
        measures |= {
            "specimen_share": blocks.specimen_share,
            "white_share": blocks.white_share,
            "black_share": blocks.black_share,
        }
        if not self._statistics or not blocks.pixels:
            return judge(measures, self._facts)
        measured = signature(self._network, blocks)
        reports = [judge(measures | self._against(each, measured), self._facts) for each in self._statistics]
        return min(reports, key=lambda report: report.measures["level"])

    def _against(self, statistics: TrainingStatistics, measured: Signature) -> dict[str, float]:
        """Return a picture's distances from a training set."""
        explanation = statistics.explain(measured)
        limit = statistics.evidence_limit
        return {f"{name}_level": value for name, value in statistics.distances(measured).items()} | {
            "blur_level": explanation.blur_only / limit,
            "sampling_level": explanation.sampling_only / limit,
            "blur_px": explanation.blur_px,
            "sampled_um": self._card.input_pixel_um / explanation.finer,
            "detail_explained": explanation.explained,
        }

    def _with_map(self, report: TrustReport, image: Image) -> TrustReport:
        if not self._enhancers:
            self._enhancers = [
                # Rounding in half precision would show as disagreement.
                Enhancer(member.network, member.card, device=self._device, precision="fp32", engine="torch")
                for member in self._members
            ]
        multiple = math.lcm(*(member.card.network.stride for member in self._members))
        spread = spread_over_turns(self._enhancers, image, multiple)
        high = float(np.percentile(spread, _HIGH_PERCENTILE))
        measures = report.measures | {"disagreement_mean": float(spread.mean()), "disagreement_p95": high}
        if len(self._members) == 1 and self._statistics:
            measures["disagreement_level"] = high / max(each.disagreement_limit for each in self._statistics)
        return judge(measures, self._facts, spread)


def _member(path: Path) -> Member:
    network, card, _ = load_model(path)
    return Member(network, card, unpack(read_reference(path), source=str(path)))
