"""The network on OpenVINO (the extra ``fast``): one graph for each tile shape, 8-bit pictures in and out."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mobilescope.core.errors import UserError
from mobilescope.enhance.folding import EdgeStrip, edge_strips
from mobilescope.enhance.openvino_graph import build_graph
from mobilescope.enhance.ranges import Ranges
from mobilescope.enhance.stages import BYTES, UNIT, Scale, Weights, scaled_weights
from mobilescope.learn.networks import EnhancementNetwork

_SHAPES_KEPT = 4
_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class OpenVinoEngine:
    """Enhances tiles with OpenVINO on a CPU; see `mobilescope.enhance.engines.Engine`.

    Parameters
    ----------
    ranges : Ranges, optional
        Convolve 8-bit integers within these ranges; ``dtype`` is then what stands between the convolutions.
    """

    def __init__(self, network: EnhancementNetwork, dtype: torch.dtype, ranges: Ranges | None = None) -> None:
        openvino = _import()
        self._network, self._dtype, self._ranges = network, dtype, ranges
        self._weights: dict[Scale, Weights] = {}
        self._prepared: OrderedDict[tuple[tuple[int, ...], str], _Prepared] = OrderedDict()
        kind = "int8" if ranges is not None else str(dtype).removeprefix("torch.")
        self.name = f"openvino {openvino.__version__.split('-')[0]} on cpu, {kind}"
        self.batch_px = 1

    def run(self, pictures: NDArray[np.generic]) -> NDArray[np.generic]:
        """Enhance tiles (count, rows, columns, 3), uint8 or float32; the output is of the same type, clipped."""
        key = (pictures.shape, pictures.dtype.name)
        if key not in self._prepared:
            while len(self._prepared) >= _SHAPES_KEPT:
                self._prepared.popitem(last=False)
            self._prepared[key] = self._prepare(pictures.shape, BYTES if pictures.dtype == np.uint8 else UNIT)
        self._prepared.move_to_end(key)
        return self._prepared[key].run(np.ascontiguousarray(pictures))

    def release(self) -> None:
        """Give back memory that is held for the next call."""
        self._prepared.clear()

    def _prepare(self, shape: tuple[int, ...], scale: Scale) -> _Prepared:
        if scale not in self._weights:
            self._weights[scale] = scaled_weights(self._network, scale)
        weights, config = self._weights[scale], self._network.config
        model = build_graph(weights, config, scale, shape, self._ranges)
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[self._dtype],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
        }
        request = _core().compile_model(model, "CPU", options).create_infer_request()
        if weights.tail is None:
            return _Prepared(request, [], [])
        return _Prepared(request, edge_strips(shape[1], config), edge_strips(shape[2], config))


class _Prepared:
    """A compiled graph of one tile shape, with the output lines that it gives apart."""

    def __init__(self, request: Any, rows: list[EdgeStrip], columns: list[EdgeStrip]) -> None:
        self._request, self._rows, self._columns = request, rows, columns

    def run(self, pictures: NDArray[np.generic]) -> NDArray[np.generic]:
        self._request.infer([pictures], share_inputs=True)
        output: NDArray[np.generic] = self._request.get_output_tensor(0).data.copy()
        for index, strip in enumerate(self._rows, start=1):
            output[:, strip.place] = self._request.get_output_tensor(index).data[:, 0]
        for index, strip in enumerate(self._columns, start=1 + len(self._rows)):
            output[:, :, strip.place] = self._request.get_output_tensor(index).data[:, :, 0]
        return output


@cache
def _core() -> Any:
    """Return the one core of this process, which is never dropped.

    Its CPU plugin gives the thread that made it a stack for signals, and frees that wherever it is dropped. Where that
    is another thread, the next signal, such as Ctrl-C, ends the process with a segmentation fault.
    """
    return _import().Core()


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise UserError("OpenVINO is not installed", "install it with: pip install 'mobilescope[fast]'") from error
    return openvino
