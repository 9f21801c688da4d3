"""The network as a GPU likes to train it: the same function of the same parameters, in round numbers of channels.

Matrix units convolve groups of channels. 34, 38 or 44 of them, or the 3 of the sub-pixel plane, fall back to kernels
several times slower, so zeros are added to the weights at each step; their gradients are cut away by the same token.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig, ResidualBlock, output_size

GROUP = 32
_LEAST_GROUP = 8


class WideNetwork(nn.Module):
    """Computes what ``network`` computes, and hands the gradients to its parameters.

    Parameters
    ----------
    group : int
        Features come in multiples of this.
    """

    def __init__(self, network: EnhancementNetwork, group: int = GROUP) -> None:
        super().__init__()
        self.network = network
        self._group = group
        self._width = _rounded_up(max(network.config.widths()), group)
        self._places: Tensor
        places, self._before, self._period = _exit_places(network.config)
        self.register_buffer("_places", places, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Enhance a batch (batch, channels, rows, columns), as `EnhancementNetwork.forward` does."""
        network, width = self.network, self._width
        x = functional.pad(x, (0, 0, 0, 0, 0, _rounded_up(x.shape[1], _LEAST_GROUP) - x.shape[1]))
        x = _conv(x, network.entry, width)
        for block in network.blocks:
            if isinstance(block, ResidualBlock):
                inner = functional.relu(_conv(x, block.first, _rounded_up(block.first.out_channels, self._group)))
                x = functional.relu(_conv(inner, block.second, width)) + x
        return self._tail(x)

    def _tail(self, features: Tensor) -> Tensor:
        """Expand, and convolve the sub-pixels where they stand, as channels, in place of shuffling three planes.

        Zeros around the features are zeros around the sub-pixel plane, so nothing changes at the edges.
        """
        network, config = self.network, self.network.config
        rows, columns = features.shape[-2:]
        outputs = network.expand.out_channels
        padded = _rounded_up(outputs, _LEAST_GROUP)
        sub_pixels = _conv(features, network.expand, padded)
        none = network.exit.weight.new_zeros(1)
        weight = torch.cat([network.exit.weight.flatten(), none])[self._places]
        more_out = _rounded_up(len(weight), _LEAST_GROUP) - len(weight)
        weight = functional.pad(weight, (0, 0, 0, 0, 0, padded - outputs, 0, more_out))
        ends = [
            self._period * (math.ceil(size / self._period) - 1) + weight.shape[-1] - self._before - size
            for size in (columns, rows)
        ]
        sub_pixels = functional.pad(sub_pixels, (self._before, ends[0], self._before, ends[1]))
        out = functional.conv2d(sub_pixels, weight, stride=self._period)[:, : len(self._places)]
        repeat = math.isqrt(len(self._places) // config.channels)
        picture = functional.pixel_shuffle(out, repeat)
        if network.exit.bias is not None:
            picture = picture + network.exit.bias[:, None, None]
        return picture[..., : output_size(rows, config), : output_size(columns, config)]


def _rounded_up(count: int, multiple: int) -> int:
    return math.ceil(count / multiple) * multiple


def _conv(x: Tensor, layer: nn.Conv2d, outputs: int) -> Tensor:
    """Convolve with a layer's weights, widened by zeros to the channels of ``x`` and to ``outputs``."""
    more = outputs - layer.out_channels
    weight = functional.pad(layer.weight, (0, 0, 0, 0, 0, x.shape[1] - layer.in_channels, 0, more))
    bias = None if layer.bias is None else functional.pad(layer.bias, (0, more))
    return functional.conv2d(x, weight, bias, padding=1)


def _exit_places(config: NetworkConfig) -> tuple[Tensor, int, int]:
    """Return where the weights of the exit convolution stand in a convolution over sub-pixels as channels.

    Output line ``a`` of a period looks at sub-pixel lines ``stride·a − 1`` to ``stride·a + 1``, each in a feature line
    of its own.

    Returns
    -------
    places : Tensor (channels·repeat², channels·shuffle², taps, taps), int64
        Index into the flattened weights; the number of weights where there is none. Channels are in the order in
        which pixel shuffle takes them: colour, row, column.
    before, period : int
        Feature lines before a period that its outputs look at, and features from one period to the next.
    """
    shuffle, channels = config.shuffle, config.channels
    common = math.gcd(shuffle, config.stride)
    period, repeat = config.stride // common, shuffle // common
    lines = [[divmod(config.stride * a + tap - 1, shuffle) for tap in range(3)] for a in range(repeat)]
    before = -min(line for row in lines for line, _ in row)
    taps = before + 1 + max(line for row in lines for line, _ in row)
    index = torch.arange(channels * channels * 9).reshape(channels, channels, 3, 3)
    places = torch.full((channels, repeat, repeat, channels, shuffle, shuffle, taps, taps), index.numel())
    for a in range(repeat):
        for b in range(repeat):
            for i, (line, sub_row) in enumerate(lines[a]):
                for j, (column, sub_column) in enumerate(lines[b]):
                    places[:, a, b, :, sub_row, sub_column, line + before, column + before] = index[:, :, i, j]
    return places.reshape(channels * repeat**2, channels * shuffle**2, taps, taps), before, period
