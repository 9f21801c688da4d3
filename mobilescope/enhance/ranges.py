"""Ranges of the network's features, measured on pictures, and channels balanced so that 8 bits count them all well."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mobilescope.learn.networks import EnhancementNetwork, ResidualBlock

# A channel that hardly ever speaks is not blown up further than this.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class Ranges:
    """The least and greatest value at the input of each convolution of the blocks, in their order, and of the tail.

    None where a convolution is not to count in 8 bits.
    """

    limits: tuple[tuple[float, float] | None, ...]

    def only(self, convolutions: Collection[int]) -> Ranges:
        """Return these ranges for some convolutions; the others stay in floating point."""
        return Ranges(tuple(pair if index in convolutions else None for index, pair in enumerate(self.limits)))


def measure_ranges(network: EnhancementNetwork, pictures: Sequence[NDArray[np.float32]]) -> Ranges:
    """Return the ranges over pictures (rows, columns, 3) float32 0–1.

    Extremes count in full: clipping the rarest ten-thousandth made these pictures better and others much worse.
    """
    limits: list[tuple[float, float]] = []
    for picture in pictures:
        found = [
            (min(0.0, float(features.min())), max(1e-6, float(features.max())))
            for features in _inputs(network, picture)
        ]
        limits = found if not limits else [
            (min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(limits, found, strict=True)
        ]
    return Ranges(tuple(limits))


def balanced(network: EnhancementNetwork, pictures: Sequence[NDArray[np.float32]]) -> EnhancementNetwork:
    """Return a network that gives the same pictures with its features' channels on more even scales.

    A rectifier commutes with a positive scale, so each channel can be divided by one where it is made and
    multiplied where it is used. The square root of its peak shares the loss between features and weights.
    """
    peaks: list[Tensor] = []
    for picture in pictures:
        found = [features.abs().amax((0, 2, 3)) for features in _inputs(network, picture)]
        peaks = [torch.maximum(a, b) for a, b in zip(peaks, found, strict=True)] if peaks else found
    stream = torch.zeros_like(peaks[-1])
    for peak in peaks[::2]:
        stream[: len(peak)] = torch.maximum(stream[: len(peak)], peak)
    outer = _scale(stream)
    result = copy.deepcopy(network)
    with torch.no_grad():
        _divide_outputs(result.entry, outer)
        for block, peak in zip(residual_blocks(result), peaks[1::2], strict=True):
            inner = _scale(peak)
            _multiply_inputs(block.first, outer)
            _divide_outputs(block.first, inner)
            _multiply_inputs(block.second, inner)
            _divide_outputs(block.second, outer)
        _multiply_inputs(result.expand, outer)
    return result


def _scale(peaks: Tensor) -> Tensor:
    greatest = peaks.max().clamp_min(1e-12)
    return peaks.clamp_min(float(greatest) * _LEAST_SHARE).sqrt()


def _divide_outputs(layer: torch.nn.Conv2d, scale: Tensor) -> None:
    layer.weight /= scale[: layer.out_channels, None, None, None]
    if layer.bias is not None:
        layer.bias /= scale[: layer.out_channels]


def _multiply_inputs(layer: torch.nn.Conv2d, scale: Tensor) -> None:
    layer.weight *= scale[None, : layer.in_channels, None, None]


def residual_blocks(network: EnhancementNetwork) -> list[ResidualBlock]:
    """Return a network's blocks in their order."""
    return [block for block in network.blocks if isinstance(block, ResidualBlock)]


def _inputs(network: EnhancementNetwork, picture: NDArray[np.float32]) -> list[Tensor]:
    """Return the features at each convolution's input: two for each block, then the expansion's."""
    with torch.inference_mode():
        x = network.entry(torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None])
        found = []
        for block in residual_blocks(network):
            found += [x, functional.relu(block.first(x))]
            x = block(x)
        return [*found, x]
