"""The network as a CPU likes to train it: the same function and the same gradients, without the units that are silent.

A unit whose rectifier lets nothing through, in a whole batch, adds nothing to what follows and gets no gradient. Many
are so: after a third of a run of R18's network about half of the inner ones. Once a batch has shown which they are,
they are left out of the second convolution of their block and of both convolutions' gradients, wherever that saves a
vector.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mobilescope.learn.networks import EnhancementNetwork, ResidualBlock

# Channels that a convolution takes at a time: float32 values of an AVX-512 vector.
_LANES = 16


class SparingNetwork(nn.Module):
    """Computes what ``network`` computes, and hands the gradients to its parameters.

    Its gradients can't be differentiated again.
    """

    def __init__(self, network: EnhancementNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Enhance a batch (batch, channels, rows, columns), as `EnhancementNetwork.forward` does."""
        network = self.network
        x = network.entry(x)
        for block in network.blocks:
            if isinstance(block, ResidualBlock):
                first, second = block.first, block.second
                x = _SparingBlock.apply(  # type: ignore[no-untyped-call]
                    x, first.weight, first.bias, second.weight, second.bias
                )
        return network.exit(_expanded(x, network.expand, network.config.shuffle))


class _SparingBlock(torch.autograd.Function):
    """`ResidualBlock` of an input (batch, width_in, rows, columns) and its two convolutions' weights and biases."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor
    ) -> Tensor:
        dtype = x.dtype
        used_first, used_second = first.to(dtype), second.to(dtype)
        inner = functional.conv2d(x, used_first, first_bias.to(dtype), padding=1).relu_()
        fired = _firing(inner)
        if fired is not None:
            inner = _of_channels(inner, fired)
            used_first = used_first.index_select(0, fired)
            used_second = used_second.index_select(1, fired).contiguous(memory_format=torch.channels_last)
        added = functional.conv2d(inner, used_second, second_bias.to(dtype), padding=1).relu_()
        out = added + functional.pad(x, (0, 0, 0, 0, 0, added.shape[1] - x.shape[1]))
        fired_after = _firing(added)
        if fired_after is not None:
            used_second = used_second.index_select(0, fired_after)
        ctx.save_for_backward(x, inner, added, used_first, used_second, fired, fired_after)
        ctx.shapes, ctx.dtype = (first.shape, second.shape), first.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        x, inner, added, used_first, used_second, fired, fired_after = ctx.saved_tensors
        (first_shape, second_shape), dtype = ctx.shapes, ctx.dtype
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        through = _of_channels(torch.ops.aten.threshold_backward(gradient, added, 0), fired_after)
        through, of_second, of_second_bias = _convolution_gradients(through, inner, used_second)
        through = torch.ops.aten.threshold_backward(through, inner, 0)
        of_x, of_first, of_first_bias = _convolution_gradients(through, x, used_first)
        # A sum over channels that don't follow each other takes four times as long as copying them does.
        of_x += gradient[:, : x.shape[1]].contiguous(memory_format=torch.channels_last)
        of_second = _in_place(of_second, (len(of_second), *second_shape[1:]), 1, fired)
        return (
            of_x,
            _in_place(of_first, first_shape, 0, fired).to(dtype),
            _in_place(of_first_bias, first_shape[:1], 0, fired).to(dtype),
            _in_place(of_second, second_shape, 0, fired_after).to(dtype),
            _in_place(of_second_bias, second_shape[:1], 0, fired_after).to(dtype),
        )


def _expanded(x: Tensor, expand: nn.Conv2d, shuffle: int) -> Tensor:
    """Return the pixel shuffle of a convolution, channels-last.

    With the output channels in the order in which a row of sub-pixels has them, whole rows are moved, which takes a
    third of the time.
    """
    assert expand.bias is not None
    batch, _, rows, columns = x.shape
    weight, bias = (
        each.unflatten(0, (-1, shuffle**2)).transpose(0, 1).flatten(0, 1) for each in (expand.weight, expand.bias)
    )
    features = functional.conv2d(x, weight, bias, padding=1).permute(0, 2, 3, 1)
    strips = features.reshape(batch, rows, columns, shuffle, -1).transpose(2, 3)
    return strips.reshape(batch, rows * shuffle, columns * shuffle, -1).permute(0, 3, 1, 2)


def _firing(rectified: Tensor) -> Tensor | None:
    """Return the channels that are not 0 throughout, at least one; None where leaving out the rest saves no vector."""
    # Rows first, which takes half as long; the greatest value would take ten times as long.
    fired = rectified.permute(0, 2, 3, 1).sum(2).sum((0, 1)).nonzero()[:, 0]
    if math.ceil(len(fired) / _LANES) >= math.ceil(rectified.shape[1] / _LANES):
        return None
    return fired if len(fired) else fired.new_zeros(1)


def _of_channels(x: Tensor, channels: Tensor | None) -> Tensor:
    """Return some channels of a channels-last tensor, channels-last."""
    if channels is None:
        return x
    batch, _, rows, columns = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    # Unlike index_select, gather shares the work among threads.
    picked = torch.gather(pixels, 1, channels.expand(len(pixels), -1))
    return picked.view(batch, rows, columns, -1).permute(0, 3, 1, 2)


def _in_place(gradient: Tensor, shape: torch.Size | tuple[int, ...], axis: int, places: Tensor | None) -> Tensor:
    """Return a gradient put at its places along an axis of a whole one, which is zero elsewhere."""
    return gradient if places is None else gradient.new_zeros(shape).index_copy_(axis, places, gradient)


def _convolution_gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a 3×3 convolution's input, weights and biases."""
    wanted: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, True]
    )
    return wanted
