"""The network as it is computed: linear stages folded, scales of 8-bit pictures inside the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilescope.enhance.folding import FoldedTail, edge_strips, fold_tail, folding_pays
from mobilescope.learn.networks import EnhancementNetwork, ResidualBlock, output_size


@dataclass(frozen=True)
class Scale:
    """How pictures are counted: full scale 255 or 1, and what the last layer is centred on.

    Half precision keeps small numbers finer than large ones, so the last layer gives differences from mid-grey.
    """

    full: float
    centre: float


# Groups of features that a GPU's matrix units convolve best: 34 to 62 channels each took 0.60-0.68 ms on an H200 as 64,
# 0.76-1.16 ms as the next multiple of eight (2048², bfloat16).
GPU_GROUP = 32
_LEAST_GROUP = 8

BYTES = Scale(255.0, 128.0)
UNIT = Scale(1.0, 0.5)


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's stages with a picture's scale in them (float32, CPU).

    Attributes
    ----------
    entry, expand, exit : (weight, bias)
    blocks : list of ((weight, bias), (weight, bias))
    tail : FoldedTail or None
        None where folding does not pay.
    """

    entry: tuple[Tensor, Tensor]
    blocks: list[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]
    expand: tuple[Tensor, Tensor]
    exit: tuple[Tensor, Tensor]
    tail: FoldedTail | None


def scaled_weights(network: EnhancementNetwork, scale: Scale) -> Weights:
    """Return a network's weights for pictures of one scale; the first and last stage take the scale up."""
    tail = fold_tail(network) if folding_pays(network.config) else None
    if tail is not None:
        tail = FoldedTail(
            tail.weight * scale.full, tail.bias * scale.full - scale.centre, tail.stride, tail.repeat, tail.before
        )
    entry, leave = _pair(network.entry), _pair(network.exit)
    return Weights(
        (entry[0] / scale.full, entry[1]),
        [(_pair(block.first), _pair(block.second)) for block in network.blocks if isinstance(block, ResidualBlock)],
        _pair(network.expand),
        (leave[0] * scale.full, leave[1] * scale.full - scale.centre),
        tail,
    )


def padded_weights(weights: Weights, multiple: int) -> Weights:
    """Return weights of the same network with zeros added, so that its features come in equal, round numbers.

    Matrix units multiply whole groups of channels, and a sum of two pictures of features is one pass over memory only
    where both are equally wide. Zero weights and biases yield features that are zero, which change nothing. The first
    convolution's bias, which would be another such pass, becomes the weight of a channel that is 1 in every pixel.

    Parameters
    ----------
    multiple : int
        Features between the blocks become the least multiple of this that holds the widest, those inside a block
        the least multiple that holds them.
    """
    widest = max(weights.entry[0].shape[0], *(second[0].shape[0] for _, second in weights.blocks))
    width = _rounded_up(widest, multiple)

    entry, entry_bias = _grown(weights.entry, width, _LEAST_GROUP)
    channels = weights.entry[0].shape[1]
    if channels < _LEAST_GROUP:
        entry[:, channels, 1, 1] = entry_bias
        entry_bias = torch.zeros_like(entry_bias)
    blocks = []
    for first, second in weights.blocks:
        inner = _rounded_up(first[0].shape[0], multiple)
        blocks.append((_grown(first, inner, width), _grown(second, width, inner)))
    tail = weights.tail
    if tail is not None:
        # Eight is what a matrix unit's narrowest tile takes; the surplus outputs are cut away after the convolution.
        outputs = _rounded_up(tail.weight.shape[0], _LEAST_GROUP)
        weight, bias = _grown((tail.weight, tail.bias), outputs, width)
        tail = replace(tail, weight=weight, bias=bias)
    return Weights(
        (entry, entry_bias),
        blocks,
        _grown(weights.expand, weights.expand[0].shape[0], width),
        weights.exit,
        tail,
    )


def _rounded_up(count: int, multiple: int) -> int:
    return math.ceil(count / multiple) * multiple


def _grown(pair: tuple[Tensor, Tensor], outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """Return weight and bias with zeros for further channels."""
    weight, bias = pair
    more_out, more_in = outputs - weight.shape[0], inputs - weight.shape[1]
    return functional.pad(weight, (0, 0, 0, 0, 0, more_in, 0, more_out)), functional.pad(bias, (0, more_out))


def _pair(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    weight = layer.weight.detach().float().cpu()
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().float().cpu()
    return weight.clone(), bias.clone()


class Stages(nn.Module):
    """The network on pictures of one scale: (batch, rows, columns, 3) in the engine's type in, the same out, centred.

    The output still lacks ``scale.centre``, and is neither clipped nor rounded.

    Parameters
    ----------
    group : int
        Features are padded to a multiple of this; 1 leaves them as they are.
    """

    def __init__(
        self, network: EnhancementNetwork, scale: Scale, device: torch.device, dtype: torch.dtype, group: int = 1
    ) -> None:
        super().__init__()
        self._config = network.config
        weights = scaled_weights(network, scale)
        if group > 1:
            weights = padded_weights(weights, group)
        self._tail = weights.tail

        def placed(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            weight = pair[0].to(device=device, dtype=dtype, memory_format=torch.channels_last)
            return weight, pair[1].to(device=device, dtype=dtype)

        self._entry, entry_bias = placed(weights.entry)
        self._entry_bias = entry_bias if bool(entry_bias.any()) else None
        self._blocks = [(placed(first), placed(second)) for first, second in weights.blocks]
        self._expand, self._exit = placed(weights.expand), placed(weights.exit)
        self._folded = None if weights.tail is None else placed((weights.tail.weight, weights.tail.bias))

    def forward(self, pictures: Tensor) -> Tensor:
        """Enhance a batch of pictures."""
        surplus = self._entry.shape[1] - pictures.shape[-1]
        if surplus:
            pictures = functional.pad(pictures, (0, surplus), value=1.0)
        x = functional.conv2d(pictures.permute(0, 3, 1, 2), self._entry, self._entry_bias, padding=1)
        for first, second in self._blocks:
            inner = _conv_relu(_conv_relu(x, first), second)
            if inner.shape[1] == x.shape[1]:
                inner += x
            else:
                inner[:, : x.shape[1]] += x
            x = inner
        if self._tail is None or self._folded is None:
            return self._plain_tail(x).permute(0, 2, 3, 1)
        return self._folded_tail(x, self._tail, self._folded)

    def _plain_tail(self, features: Tensor) -> Tensor:
        expanded = functional.conv2d(features, *self._expand, padding=1)
        shuffled = functional.pixel_shuffle(expanded, self._config.shuffle)
        return functional.conv2d(shuffled, *self._exit, stride=self._config.stride, padding=1)

    def _folded_tail(self, features: Tensor, tail: FoldedTail, folded: tuple[Tensor, Tensor]) -> Tensor:
        batch, _, rows, columns = features.shape
        repeat, channels = tail.repeat, self._config.channels
        padding = (tail.before, tail.after(columns), tail.before, tail.after(rows))
        out = _padded_conv(features, folded, tail.stride, padding).permute(0, 2, 3, 1)
        down, across = tail.periods(rows), tail.periods(columns)
        out = out[..., : repeat * repeat * channels].reshape(batch, down, across, repeat, repeat * channels)
        out = out.transpose(2, 3).reshape(batch, down * repeat, across * repeat, channels)
        out = out[:, : output_size(rows, self._config), : output_size(columns, self._config)]
        for strip in edge_strips(rows, self._config):
            line = self._plain_tail(features[:, :, strip.first : strip.last])[:, :, strip.take]
            out[:, strip.place] = line.permute(0, 2, 1)
        for strip in edge_strips(columns, self._config):
            line = self._plain_tail(features[:, :, :, strip.first : strip.last])[..., strip.take]
            out[:, :, strip.place] = line.permute(0, 2, 1)
        return out


def _padded_conv(x: Tensor, pair: tuple[Tensor, Tensor], stride: int, padding: tuple[int, int, int, int]) -> Tensor:
    """Convolve with zeros (left, right, top, bottom) around, without a copy of ``x`` where the convolution can pad."""
    left, right, top, bottom = padding
    if left == top and max(right - left, bottom - top) <= 0:
        # More zeros at the far end than are asked for yield lines that are cut away.
        rows = (x.shape[2] + top + bottom - pair[0].shape[2]) // stride + 1
        columns = (x.shape[3] + left + right - pair[0].shape[3]) // stride + 1
        return functional.conv2d(x, *pair, stride=stride, padding=left)[:, :, :rows, :columns]
    return functional.conv2d(functional.pad(x, padding), *pair, stride=stride)


def _conv_relu(x: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
    """Return a rectified 3×3 convolution, the rectifier within the convolution where the library has that."""
    weight, bias = pair
    if x.is_cuda:
        return torch.cudnn_convolution_relu(x, weight, bias, (1, 1), (1, 1), (1, 1), 1)
    if _HAS_FUSED:
        return torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, [1, 1], [1, 1], [1, 1], 1, "relu", [], ""
        )
    return functional.conv2d(x, weight, bias, padding=1).relu_()


# What torch's own compiler puts in for a convolution and a rectifier on a CPU; not every build of torch has oneDNN.
_HAS_FUSED = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
