"""Which library computes: OpenVINO where it is installed and the CPU is asked for, torch everywhere."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mobilescope.core.errors import UserError
from mobilescope.enhance.torch_engine import TorchEngine
from mobilescope.learn.device import Precision, pick_dtype
from mobilescope.learn.networks import EnhancementNetwork

EngineName = Literal["auto", "torch", "openvino"]
_OPENVINO_TYPES = (torch.float32, torch.bfloat16)


class Engine(Protocol):
    """Something that enhances tiles.

    Attributes
    ----------
    name : str
        Library, device and precision, for reports.
    batch_px : int
        Input pixels that are best computed together; 1 where every tile goes alone.
    """

    @property
    def name(self) -> str:
        """Library, device and precision."""

    @property
    def batch_px(self) -> int:
        """Input pixels that are best computed together."""

    def run(self, pictures: NDArray[np.generic]) -> NDArray[np.generic]:
        """Enhance tiles (count, rows, columns, 3) of one shape, uint8 or float32 0-1; the same type comes out."""

    def release(self) -> None:
        """Give back memory that is held for the next call."""


def pick_engine(
    name: EngineName,
    network: EnhancementNetwork,
    device: torch.device,
    precision: Precision,
    calibration: Sequence[NDArray[np.generic]] = (),
) -> Engine:
    """Return the engine named, ``"auto"`` the fastest there is for the device; UserError for what it can't do."""
    if name not in get_args(EngineName):
        raise UserError(f"there is no engine {name!r}", f"choose {', '.join(get_args(EngineName))}")
    dtype = pick_dtype(precision, device)
    possible = device.type == "cpu" and dtype in _OPENVINO_TYPES
    installed = importlib.util.find_spec("openvino") is not None
    if precision == "int8":
        if name == "torch" or not possible:
            raise UserError("int8 is computed by OpenVINO on a CPU alone", "choose fp32, bf16 or auto")
        from mobilescope.enhance.quantising import int8_engine

        return int8_engine(network, calibration, dtype)[0]
    if name == "openvino" and not possible:
        raise UserError(f"OpenVINO computes no {precision} on {device.type}", "choose the device cpu, fp32 or bf16")
    if name == "openvino" or (name == "auto" and possible and installed):
        from mobilescope.enhance.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(network, dtype)
    return TorchEngine(network, device, dtype)
