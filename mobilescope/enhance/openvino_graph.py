"""The network as an OpenVINO graph of one shape, from picture bytes to picture bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mobilescope.enhance.folding import FoldedTail, edge_strips
from mobilescope.enhance.ranges import Ranges
from mobilescope.enhance.stages import BYTES, Scale, Weights
from mobilescope.learn.networks import NetworkConfig, output_size

_LEVELS = 256
_TINY = np.float32(1e-12)

Node = Any  # OpenVINO's Python classes carry no usable types


def build_graph(
    weights: Weights, config: NetworkConfig, scale: Scale, shape: tuple[int, ...], ranges: Ranges | None = None
) -> Any:
    """Return the graph for pictures (batch, rows, columns, 3), uint8 or float32 by ``scale``.

    Output 0 is the picture; where the last stages are folded, the edge strips' lines follow, rows before columns.
    """
    import openvino

    return openvino.Model(*_Builder(weights, config, scale, shape, ranges).build())


class _Builder:
    def __init__(
        self, weights: Weights, config: NetworkConfig, scale: Scale, shape: tuple[int, ...], ranges: Ranges | None
    ) -> None:
        from openvino import opset13

        self._op: Any = opset13
        self._weights, self._config, self._scale, self._ranges = weights, config, scale, ranges
        self._batch, self._rows, self._columns = shape[:3]
        self._convolutions = 0

    def build(self) -> tuple[list[Node], list[Node]]:
        op, config = self._op, self._config
        kind = np.uint8 if self._scale is BYTES else np.float32
        picture = op.parameter([self._batch, self._rows, self._columns, config.channels], kind)
        x = picture if self._scale is not BYTES else op.convert(picture, np.float32)
        x = self._conv(op.transpose(x, op.constant([0, 3, 1, 2])), self._weights.entry)
        width = self._weights.entry[0].shape[0]
        for first, second in self._weights.blocks:
            inner = self._block_conv(self._block_conv(x, first), second)
            extra = second[0].shape[0] - width
            x = op.add(inner, self._widened(x, extra) if extra else x)
            width += extra
        tail = self._weights.tail
        if tail is None:
            return [self._picture(op.transpose(self._plain_tail(x), op.constant([0, 2, 3, 1])))], [picture]
        return [self._folded(x, tail), *self._strips(x)], [picture]

    def _folded(self, features: Node, tail: FoldedTail) -> Node:
        op, config = self._op, self._config
        down, across = tail.periods(self._rows), tail.periods(self._columns)
        ends = [tail.after(self._rows), tail.after(self._columns)]
        limits = None if self._ranges is None else self._ranges.limits[-1]
        x = self._conv(features, (tail.weight, tail.bias), tail.stride, [tail.before, tail.before], ends, limits)
        x = self._picture(op.transpose(x, op.constant([0, 2, 3, 1])))
        shape = [self._batch * down, across, tail.repeat, tail.repeat * config.channels]
        x = op.transpose(op.reshape(x, op.constant(shape), False), op.constant([0, 2, 1, 3]))
        shape = [self._batch, down * tail.repeat, across * tail.repeat, config.channels]
        x = op.reshape(x, op.constant(shape), False)
        stop = [output_size(self._rows, config), output_size(self._columns, config)]
        return x if stop == shape[1:3] else self._cut(x, [0, 0], stop, [1, 2])

    def _strips(self, features: Node) -> list[Node]:
        op, nodes = self._op, []
        for axis, size in ((2, self._rows), (3, self._columns)):
            for strip in edge_strips(size, self._config):
                x = self._plain_tail(self._cut(features, [strip.first], [strip.last], [axis]))
                x = self._cut(x, [strip.take], [strip.take + 1], [axis])
                nodes.append(self._picture(op.transpose(x, op.constant([0, 2, 3, 1]))))
        return nodes

    def _plain_tail(self, features: Node) -> Node:
        x = self._op.depth_to_space(self._conv(features, self._weights.expand), "depth_first", self._config.shuffle)
        return self._conv(x, self._weights.exit, self._config.stride)

    def _picture(self, x: Node) -> Node:
        """Put mid-grey back, clip, and round for bytes; integers up to 128 are exact in half precision."""
        op, scale = self._op, self._scale
        centre = op.constant(np.float32(scale.centre))
        if scale is BYTES:
            x = op.round(op.clamp(x, -128.0, 127.0), "half_to_even")
            return op.convert(op.add(x, centre), np.uint8)
        return op.clamp(op.add(x, centre), 0.0, 1.0)

    def _conv(
        self,
        x: Node,
        pair: tuple[Tensor, Tensor],
        stride: int = 1,
        before: list[int] | None = None,
        after: list[int] | None = None,
        limits: tuple[float, float] | None = None,
    ) -> Node:
        """Convolve, in 8-bit integers where the input's ``limits`` are given."""
        op, (weight, bias) = self._op, (each.numpy() for each in pair)
        kernel = op.constant(weight)
        if limits is not None:
            ends = [op.constant(np.float32(end)) for end in limits]
            x = op.fake_quantize(x, *ends, *ends, _LEVELS)
            most = np.maximum(np.abs(weight).max(axis=(1, 2, 3), keepdims=True), _TINY)
            low, high = op.constant(-most * 128 / 127), op.constant(most)
            kernel = op.fake_quantize(kernel, low, high, low, high, _LEVELS)
        x = op.convolution(x, kernel, [stride] * 2, before or [1, 1], after or [1, 1], [1, 1])
        return op.add(x, op.constant(bias.reshape(1, -1, 1, 1)))

    def _block_conv(self, x: Node, pair: tuple[Tensor, Tensor]) -> Node:
        """Convolve and rectify."""
        limits = None if self._ranges is None else self._ranges.limits[self._convolutions]
        self._convolutions += 1
        return self._op.relu(self._conv(x, pair, limits=limits))

    def _widened(self, x: Node, extra: int) -> Node:
        op = self._op
        zeros, more = op.constant([0, 0, 0, 0]), op.constant([0, extra, 0, 0])
        return op.pad(x, zeros, more, "constant", op.constant(np.float32(0)))

    def _cut(self, x: Node, start: list[int], stop: list[int], axes: list[int]) -> Node:
        op = self._op
        steps: NDArray[np.int64] = np.ones(len(axes), np.int64)
        return op.slice(x, op.constant(start), op.constant(stop), op.constant(steps), op.constant(axes))
