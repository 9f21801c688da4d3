"""Which units of a network ever fire on pictures: many of a trained network's never do."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobilescope.imaging.colour import to_float
from mobilescope.learn.device import pick_dtype
from mobilescope.learn.networks import EnhancementNetwork, ResidualBlock

# How the names of these statistics begin in a checkpoint.
ACTIVITY = "activity."


def measure_activity(
    network: EnhancementNetwork, pictures: Iterable[NDArray[np.generic]]
) -> dict[str, Tensor]:
    """Return the greatest input that the first rectifier of each block met, for each of its units.

    Parameters
    ----------
    pictures : iterable of ndarray (rows, columns, 3)
        uint8, uint16 or float 0–1, sRGB-encoded.

    Returns
    -------
    dict of Tensor, float32, shape (units,)
        Named as the statistics of a checkpoint are; a unit whose value is not above 0 never fired.
    """
    device = next(network.parameters()).device
    dtype = pick_dtype("auto", device)
    peaks: dict[str, Tensor] = {}
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for picture in pictures:
            pixels = torch.from_numpy(np.ascontiguousarray(to_float(picture))).permute(2, 0, 1)[None]
            x = network.entry(pixels.to(device, memory_format=torch.channels_last))
            for index, block in enumerate(network.blocks):
                if not isinstance(block, ResidualBlock):
                    continue
                peak = block.first(x).amax((0, 2, 3)).float().cpu()
                name = f"{ACTIVITY}{index}"
                peaks[name] = torch.maximum(peaks[name], peak) if name in peaks else peak
                x = block(x)
    return peaks


def firing_units(network: EnhancementNetwork, statistics: dict[str, Tensor]) -> list[Tensor] | None:
    """Return for each block which units of its first convolution fired (bool), None where that was not measured."""
    found = []
    for index, block in enumerate(network.blocks):
        peak = statistics.get(f"{ACTIVITY}{index}")
        if not isinstance(block, ResidualBlock) or peak is None or peak.shape != (block.first.out_channels,):
            return None
        found.append(peak > 0)
    return found
