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
        common = math.gcd(network.config.shuffle, network.config.stride)
        self._period, self._repeat = network.config.stride // common, network.config.shuffle // common
        places, self._before, self._taps = _exit_places(network.config, self._repeat)
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
        # Scattering has a gather for a gradient; picking weights by index would have sums by atomic additions.
        repeat = self._repeat
        spread = network.exit.weight[:, None, None].expand(-1, repeat, repeat, -1, -1, -1).reshape(-1)
        rows_out, taps = config.channels * repeat**2, self._taps
        weight = spread.new_zeros(rows_out * outputs * taps**2).scatter(0, self._places, spread)
        weight = weight.view(rows_out, outputs, taps, taps)
        more_out = _rounded_up(rows_out, _LEAST_GROUP) - rows_out
        weight = functional.pad(weight, (0, 0, 0, 0, 0, padded - outputs, 0, more_out))
        ends = [
            self._period * (math.ceil(size / self._period) - 1) + taps - self._before - size
            for size in (columns, rows)
        ]
        sub_pixels = functional.pad(sub_pixels, (self._before, ends[0], self._before, ends[1]))
        out = functional.conv2d(sub_pixels, weight, stride=self._period)[:, :rows_out]
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


def _exit_places(config: NetworkConfig, repeat: int) -> tuple[Tensor, int, int]:
    """Return where the weights of the exit convolution stand in a convolution over sub-pixels as channels.

    Output line ``a`` of a period looks at sub-pixel lines ``stride·a − 1`` to ``stride·a + 1``, each in a feature line
    of its own.

    Returns
    -------
    places : Tensor (channels·repeat²·channels·9,), int64
        For each weight of each output pixel of a period, in the order output colour, row, column, input colour, tap
        row, tap column, its place in the flattened (channels·repeat², channels·shuffle², taps, taps). Channels are
        in the order in which pixel shuffle takes them: colour, row, column.
    before, taps : int
        Feature lines before a period that its outputs look at, and all that they look at.
    """
    shuffle, channels = config.shuffle, config.channels
    lines = [[divmod(config.stride * a + tap - 1, shuffle) for tap in range(3)] for a in range(repeat)]
    before = -min(line for row in lines for line, _ in row)
    taps = before + 1 + max(line for row in lines for line, _ in row)
    index = torch.arange(channels * repeat**2 * channels * shuffle**2 * taps**2)
    index = index.reshape(channels, repeat, repeat, channels, shuffle, shuffle, taps, taps)
    places = torch.empty((channels, repeat, repeat, channels, 3, 3), dtype=torch.int64)
    for a in range(repeat):
        for b in range(repeat):
            for i, (line, sub_row) in enumerate(lines[a]):
                for j, (column, sub_column) in enumerate(lines[b]):
                    places[:, a, b, :, i, j] = index[:, a, b, :, sub_row, sub_column, line + before, column + before]
    return places.reshape(-1), before, taps
