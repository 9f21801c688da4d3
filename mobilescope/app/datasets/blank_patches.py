"""Which training patches show nothing, and which of those are kept."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.data.pairs import PairStore
from mobilescope.data.patch_places import patch_places, stride_of
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.quality import specimen_mask


@dataclass(frozen=True)
class PatchPlan:
    """How pairs are cut into patches.

    Attributes
    ----------
    patch_px, overlap : int, float
        Side in input pixels, even; share that neighbours have in common.
    least_specimen : float
        A patch is blank where less of it shows specimen.
    keep_blank : float
        Share of the blank patches that is kept, 0-1.
    seed : int
        Which ones.
    """

    patch_px: int = 60
    overlap: float = 0.4
    least_specimen: float = 0.05
    keep_blank: float = 0.1
    seed: int = 0

    @property
    def stride_px(self) -> int:
        """Distance between patches in input pixels."""
        return stride_of(self.patch_px, self.overlap)


ThinJob = tuple[Path, frozenset[str], PatchPlan]


@dataclass(frozen=True, eq=False)
class FilePatches:
    """The patches of the accepted pairs of some slides of a pair file.

    Attributes
    ----------
    patches, blank : dict of int
        Counts by slide.
    dropped : ndarray, shape (n, 3), int32
        Blank ones that are left out: number of the pair in its file, first row and first column in input pixels.
    """

    patches: dict[str, int]
    blank: dict[str, int]
    dropped: NDArray[np.int32]


# Runs `thin_file` for each job, here or elsewhere, and yields what comes of it in the same order.
Thin = Callable[[list[ThinJob]], Iterator[FilePatches]]


def specimen_shares(store: PairStore, index: int, plan: PatchPlan) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the places of a pair's patches, (patches, 2), and which share of each shows specimen.

    Judged on the label, at the input's pitch, by the measure of the registration's gate.
    """
    rows, columns = store.records[index].shape
    grey = luminance(to_float(store.label(index)))
    small = np.asarray(cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.float32)
    total = cv2.integral(specimen_mask(small).astype(np.uint8)).astype(np.float64)
    places, size = patch_places((rows, columns), plan.patch_px, plan.stride_px), plan.patch_px
    row, column = places.T
    inside = total[row + size, column + size] - total[row, column + size] - total[row + size, column]
    return places, (inside + total[row, column]) / size**2


def thin_file(path: Path, slides: frozenset[str], plan: PatchPlan) -> FilePatches:
    """Find the blank patches of a pair file's accepted pairs of some slides, and draw those that are left out.

    The draw of a pair depends on the seed and that pair alone, not on what else is in the file or the dataset.
    """
    patches, blank = dict.fromkeys(slides, 0), dict.fromkeys(slides, 0)
    dropped = [np.empty((0, 3), np.int32)]
    with PairStore.open(path) as store:
        session = str(store.provenance.get("session_digest", ""))
        for index, record in enumerate(store.records):
            if not record.accepted or record.slide not in slides:
                continue
            places, shares = specimen_shares(store, index, plan)
            bare = shares < plan.least_specimen
            name = f"{session}/{record.slide}/{record.capture}/{record.row}/{record.column}"
            drawn = np.random.default_rng([plan.seed, zlib.crc32(name.encode("utf-8"))]).random(len(places))
            out = places[bare & (drawn >= plan.keep_blank)]
            patches[record.slide] += len(places)
            blank[record.slide] += int(bare.sum())
            dropped.append(np.column_stack([np.full(len(out), index), out]).astype(np.int32))
    return FilePatches(patches, blank, np.concatenate(dropped))
