"""The network's last linear stages as one strided convolution, and the lines at a picture's edge where that differs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig, output_size


@dataclass(frozen=True, eq=False)
class FoldedTail:
    """Expansion, pixel shuffle and exit convolution as one convolution over the features.

    Nothing nonlinear stands between the three. Their pattern repeats every ``stride`` features, which yield
    ``repeat`` output pixels along each axis; the convolution gives those pixels as channels.

    Attributes
    ----------
    weight : Tensor, shape (repeat² · channels, features, taps, taps), float32
        Output channels in the order row, column, colour within the period.
    bias : Tensor, shape (repeat² · channels,), float32
    stride, repeat : int
    before : int
        Rows (or columns) of zeros that stand before the first feature.
    """

    weight: Tensor
    bias: Tensor
    stride: int
    repeat: int
    before: int

    def periods(self, size_px: int) -> int:
        """Return how many periods cover a line of features."""
        return math.ceil(size_px / self.stride)

    def after(self, size_px: int) -> int:
        """Return how many zeros stand after a line of features; negative where its end is never read."""
        return self.stride * (self.periods(size_px) - 1) + self.weight.shape[-1] - self.before - size_px


@dataclass(frozen=True)
class EdgeStrip:
    """Features ``first`` to ``last`` (excluded), whose plain stages give output line ``place`` as their line ``take``.

    Zero padding applies twice, to the features and to the sub-pixel plane. The folded convolution continues the
    sub-pixel plane past the edge instead, so the output lines that look there are computed by the plain stages.
    """

    first: int
    last: int
    place: int
    take: int


def fold_tail(network: EnhancementNetwork) -> FoldedTail:
    """Fold a network's last three stages, in double precision."""
    config = network.config
    shuffle, channels = config.shuffle, config.channels
    common = math.gcd(shuffle, config.stride)
    period, repeat = config.stride // common, shuffle // common
    expand = network.expand.weight.detach().double().cpu()
    features = expand.shape[1]
    expand = expand.reshape(channels, shuffle, shuffle, features, 3, 3)
    expand_bias = _bias(network.expand).reshape(channels, shuffle, shuffle)
    exit_weight, exit_bias = network.exit.weight.detach().double().cpu(), _bias(network.exit)

    # Output line `a` of a period looks at sub-pixels stride·a − 1 … stride·a + 1, each in a feature line of its own.
    taps = [[divmod(config.stride * a + tap - 1, shuffle) for tap in range(3)] for a in range(repeat)]
    lines = [line for row in taps for line, _ in row]
    before = 1 - min(lines)
    size = max(lines) + 1 + before + 1
    weight = torch.zeros(repeat, repeat, channels, features, size, size, dtype=torch.float64)
    bias = exit_bias.repeat(repeat, repeat, 1)
    for a in range(repeat):
        for b in range(repeat):
            for i, (line, sub_row) in enumerate(taps[a]):
                for j, (column, sub_column) in enumerate(taps[b]):
                    top, left = line + before - 1, column + before - 1
                    mix = exit_weight[:, :, i, j]
                    weight[a, b, :, :, top : top + 3, left : left + 3] += torch.einsum(
                        "oc,cfyx->ofyx", mix, expand[:, sub_row, sub_column]
                    )
                    bias[a, b] += mix @ expand_bias[:, sub_row, sub_column]
    return FoldedTail(
        weight.reshape(-1, features, size, size).float(), bias.reshape(-1).float(), period, repeat, before
    )


def _bias(layer: torch.nn.Conv2d) -> Tensor:
    if layer.bias is None:
        return torch.zeros(layer.out_channels, dtype=torch.float64)
    return layer.bias.detach().double().cpu()


def folding_pays(config: NetworkConfig) -> bool:
    """Return whether the folded convolution multiplies less than the stages that it replaces."""
    common = math.gcd(config.shuffle, config.stride)
    period, repeat = config.stride // common, config.shuffle // common
    size = period + 3 if config.stride > 1 else period + 4
    features = config.widths()[-1]
    folded = features * config.channels * (repeat * size / period) ** 2
    plain = 9 * config.channels * (features * config.shuffle**2 + config.channels * config.factor**2)
    return folded <= plain


def edge_strips(size_px: int, config: NetworkConfig) -> list[EdgeStrip]:
    """Return the strips of features whose output lines the plain stages must give, along one axis of a picture."""
    shuffle, stride = config.shuffle, config.stride
    strips = [EdgeStrip(0, min(size_px, 1 // shuffle + 2), 0, 0)]
    last = output_size(size_px, config) - 1
    if last > 0 and stride * last + 1 == shuffle * size_px:  # its third tap lies one sub-pixel past the edge
        needed = max(0, (stride * last - 1) // shuffle - 1)
        period = stride // math.gcd(shuffle, stride)
        first = needed // period * period
        strips.append(EdgeStrip(first, size_px, last, last - first * shuffle // stride))
    return strips
