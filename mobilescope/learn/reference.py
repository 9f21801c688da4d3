"""Statistics of a training set, measured with the trained network and put into the model's file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.datasets import DATASET_FORMAT
from mobilescope.data.files import file_format
from mobilescope.data.pairs import PairStore
from mobilescope.imaging.appearance import (
    BLOCK_PX,
    LEAST_SIDE_PX,
    Image,
    detail_features,
    noise_level,
    pick_blocks,
    resized,
)
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.turns import spread_over_turns
from mobilescope.learn.activity import measure_activity
from mobilescope.learn.checkpoint import load_model, save_model
from mobilescope.learn.networks import EnhancementNetwork
from mobilescope.learn.signature import ASPECTS, Signature, signature
from mobilescope.learn.statistics import AS_TRAINED, BLUR_PX, FINER, Gaussian, TrainingStatistics, explain, pack

_MOST_FIELDS = 72
_MOST_EXAMPLES = 16
_EXAMPLE_PX = 240  # a whole block is left at the coarsest sampling that is tried
_TURNED_PATCHES = 12
_TURNED_PX = 64
_LEAST_BLOCKS = 4
# One field in some seven hundred lies so many standard deviations up in the logarithm of its distance.
_TAIL = 3.0
# A live frame's detail is a little finer than that of pairs, which were interpolated when they were registered.
_ROOM = {"detail": 1.5, "colour": 1.0, "network": 1.0}
# 99 % of the chi-square distribution with three degrees of freedom, for the choice of blur, sampling or both.
_EVIDENCE_TAIL = 11.3

Floats = NDArray[np.float64]
Item = TypeVar("Item")


def attach_reference(
    model: Path,
    pairs: Sequence[Path],
    *,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> int:
    """Measure a model's training set and rewrite the model's file, whole or not at all, with what was found.

    Accepted pairs of the roles "training" and "validation" are used, some 70 of each training set at most. Each file of
    pairs, and each stain of a dataset, is a training set of its own: a picture is held against the nearest.
    Beside what later inputs are judged by, it is measured which units of the network fire on any of these pairs.

    Returns
    -------
    int
        Number of fields measured. 0: none showed enough specimen, and the file is left as it is.

    Raises
    ------
    InputFileError, ModelKindError, NewerVersionError
        A model or a file of pairs that can't be read.
    CancelledError
        Stopped before the model was rewritten.
    """
    stop = stop or StopToken()
    network, card, state = load_model(model)
    total, groups, fields = sum(_count(path) for path in pairs), [], 0
    seen = itertools.count(1)

    def noticed() -> None:
        stop.raise_if_requested("measuring the training set")
        on_progress(Progress("measure the training set", next(seen), total))

    for measured in (each for path in pairs for each in _measure(network, path, noticed)):
        if sum(len(each.signature.detail) for each in measured) >= _LEAST_BLOCKS:
            groups.append(_summarised(network, measured, stop))
            fields += len(measured)
    if groups:
        activity = measure_activity(network, _every_picture(pairs, stop))
        save_model(model, network, card, state, pack(groups) | activity)
    return fields


@dataclass(frozen=True, eq=False)
class _Field:
    """What is kept of a field: its slide, signature, first block, and a part to try wrong focus and sampling on."""

    slide: str
    signature: Signature
    block: Image
    example: Image


def _measure(network: EnhancementNetwork, path: Path, noticed: Callable[[], None]) -> Iterator[list[_Field]]:
    """Measure the fields that show specimen of each training set of a file, one after the other."""
    with PairStore.open(path) as store:
        for chosen in _chosen(store):
            measured = []
            for index in chosen:
                noticed()
                top, bottom, left, right = store.records[index].bounds
                picture = to_float(store.input_window(index, top, left, bottom - top, right - left))
                blocks = pick_blocks(partial(_part, picture), picture.shape[0], picture.shape[1])
                if blocks.pixels:
                    found = signature(network, blocks)
                    example = _middle(picture, _EXAMPLE_PX)
                    measured.append(_Field(store.records[index].slide, found, blocks.pixels[0], example))
            yield measured


def _count(path: Path) -> int:
    with PairStore.open(path) as store:
        return sum(len(chosen) for chosen in _chosen(store))


def _chosen(store: PairStore) -> list[list[int]]:
    """Return accepted pairs that are large enough, spread over each training set: the file, or a dataset's stain."""
    stains = (store.provenance.get("stains") or {}) if file_format(store.path) == DATASET_FORMAT else {}
    usable: dict[str, list[int]] = {}
    for index, record in enumerate(store.records):
        top, bottom, left, right = record.bounds
        large = min(bottom - top, right - left) >= LEAST_SIDE_PX
        if record.accepted and record.role != "blind" and large:
            usable.setdefault(str(stains.get(record.slide)), []).append(index)
    return [_spread_out(found, _MOST_FIELDS) for found in usable.values()]


def _summarised(network: EnhancementNetwork, measured: Sequence[_Field], stop: StopToken) -> TrainingStatistics:
    becomes = hypotheses(_spread_out([each.example for each in measured], _MOST_EXAMPLES), stop)
    patches = [each.block[:_TURNED_PX, :_TURNED_PX] for each in _spread_out(measured, _TURNED_PATCHES)]
    return summarise(
        [each.slide for each in measured], [each.signature for each in measured], becomes,
        disagreement_limit(network, patches),
    )


def _every_picture(paths: Sequence[Path], stop: StopToken) -> Iterator[NDArray[np.uint16]]:
    """Yield the whole inputs that are measured, one at a time."""
    for path in paths:
        with PairStore.open(path) as store:
            for index in itertools.chain(*_chosen(store)):
                stop.raise_if_requested("measuring the training set")
                yield store.input(index)


def _part(picture: Image, rows: slice, columns: slice) -> Image:
    return picture[rows, columns]


def summarise(
    slides: Sequence[str], found: Sequence[Signature], becomes: Floats, disagreement: float
) -> TrainingStatistics:
    """Fit the statistics, and set their limits by fields that are held against the rest of the training set.

    Parameters
    ----------
    slides : sequence of str
        The slide of each field; where there are several, fields are held against other slides' alone.
    becomes : ndarray
        See `hypotheses`.
    """
    aspects = {name: Gaussian.fit([each.aspect(name) for each in found]) for name in ASPECTS}
    apart: dict[str, list[float]] = {name: [] for name in ASPECTS}
    evidence: list[float] = []
    for inside, outside in _held_out(slides):
        for name in ASPECTS:
            rest = Gaussian.fit([found[index].aspect(name) for index in inside])
            apart[name] += [rest.distance(found[index].aspect(name), found[index].blocks) for index in outside]
            if name == "detail":
                shifted = becomes - becomes[AS_TRAINED] + rest.centre
                judged = [found[index] for index in outside]
                evidence += [explain(rest, shifted, each.detail, each.blocks).evidence for each in judged]
    limited = {
        name: replace(fit, limit=_ROOM[name] * _upper(apart[name]))
        for name, fit in aspects.items()
    }
    detail = limited["detail"]
    # Distances of held-out fields are larger than those that Gaussians of known covariance would have.
    dimension = detail.basis.shape[1]
    expected = dimension * (1 - 2 / (9 * dimension)) ** 3
    excess = float(np.median(np.square(apart["detail"]))) / expected
    least = np.sqrt(_EVIDENCE_TAIL * max(1.0, excess))
    limit = max(float(least), 1.1 * float(np.quantile(evidence, 0.95)))
    return TrainingStatistics(limited, becomes - becomes[AS_TRAINED] + detail.centre, limit, disagreement)


def _held_out(slides: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """Return (fields to fit to, fields to judge) so that each field is judged once, without its slide if possible."""
    everything = range(len(slides))
    names = sorted(set(slides))
    smallest_rest = len(slides) - max(slides.count(name) for name in names)
    if len(names) > 1 and smallest_rest >= 8:
        groups = [[index for index in everything if slides[index] == name] for name in names]
    elif len(slides) > 1:
        groups = [[index] for index in everything]
    else:
        return [([0], [0])]
    return [([index for index in everything if index not in group], group) for group in groups]


def _upper(distances: Sequence[float]) -> float:
    """Return a distance that few exceed, from a normal distribution of their logarithms."""
    logarithms = np.log(np.maximum(distances, 1e-3))
    return float(np.exp(logarithms.mean() + _TAIL * max(float(logarithms.std()), 0.2)))


def hypotheses(pictures: Sequence[Image], stop: StopToken | None = None) -> Floats:
    """Return what the detail of pictures becomes when they are sampled finer and blurred, averaged over them.

    Returns
    -------
    ndarray, shape (len(FINER), len(BLUR_PX), detail features)
    """
    stop = stop or StopToken()
    rows = []
    for finer in FINER:
        stop.raise_if_requested("measuring the training set")
        blocks = [
            (_whole_block(resized(picture, float(finer))), noise_level(luminance(picture))) for picture in pictures
        ]
        rows.append([
            np.mean([detail_features(block, noise, float(blur)) for block, noise in blocks], axis=0)
            for blur in BLUR_PX
        ])
    return np.array(rows)


def _whole_block(picture: Image) -> Image:
    """Return a picture's middle block; a picture that became too small is continued by its mirror image."""
    missing = [max(0, LEAST_SIDE_PX - side) for side in picture.shape[:2]]
    return _middle(np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="reflect"), BLOCK_PX)


def _middle(picture: Image, side_px: int) -> Image:
    rows, columns = (min(side_px, side) for side in picture.shape[:2])
    top, left = (picture.shape[0] - rows) // 2, (picture.shape[1] - columns) // 2
    return picture[top : top + rows, left : left + columns]


def disagreement_limit(network: EnhancementNetwork, patches: Sequence[Image]) -> float:
    """Return a 95th percentile of the disagreement under turns that few pictures of the training set's kind exceed."""

    def enhance(image: Image) -> Image:
        batch = torch.from_numpy(image)[None].permute(0, 3, 1, 2)
        with torch.inference_mode():
            output: Tensor = network(batch.contiguous(memory_format=torch.channels_last))
        return np.ascontiguousarray(output[0].clamp(0, 1).permute(1, 2, 0).numpy())

    stride = network.config.stride
    return _upper([float(np.percentile(spread_over_turns([enhance], patch, stride), 95)) for patch in patches])


def _spread_out(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most so many items, evenly spread over the list."""
    if len(items) <= most:
        return list(items)
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, most)]
