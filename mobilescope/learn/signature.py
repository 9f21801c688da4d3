"""How a picture looks to a network: its blocks' detail, colours, and the network's own features of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobilescope.imaging.appearance import BLOCK_PX, Blocks, colour_features, detail_features, richest_window
from mobilescope.imaging.turns import TURNS, turned
from mobilescope.learn.networks import EnhancementNetwork

Features = NDArray[np.float64]

# The first blocks see a neighbourhood of 11 pixels, as much as the finest structures need, at a fifth of the cost.
_DEPTH = 2
_EDGE_PX = 1 + 2 * _DEPTH
_MOST_PATCHES = 8
ASPECTS = ("detail", "colour", "network")


@dataclass(frozen=True, eq=False)
class Signature:
    """A picture's features, one row for each of its blocks; float64.

    ``blocks`` is the number of whole blocks that they stand for: a small picture's are smaller.
    """

    detail: Features
    colour: Features
    network: Features
    blocks: float

    def aspect(self, name: str) -> Features:
        """Return the features named in `ASPECTS`, shape (blocks, features)."""
        rows: Features = getattr(self, name)
        return rows


def signature(network: EnhancementNetwork, blocks: Blocks) -> Signature:
    """Measure a picture's blocks, of which there must be at least one; the network computes where its weights are."""
    chosen = blocks.pixels
    if len(chosen) > _MOST_PATCHES:
        chosen = [chosen[round(place)] for place in np.linspace(0, len(chosen) - 1, _MOST_PATCHES)]
    patches = [richest_window(block) for block in chosen]
    return Signature(
        np.stack([detail_features(block, blocks.noise) for block in blocks.pixels]),
        np.stack([colour_features(block) for block in blocks.pixels]),
        # Channels answer to directions, which a picture may be turned to: each patch is shown another way round.
        network_features(network, np.stack([turned(patch, number % TURNS) for number, patch in enumerate(patches)])),
        sum(block.shape[0] * block.shape[1] for block in blocks.pixels) / BLOCK_PX**2,
    )


def network_features(network: EnhancementNetwork, patches: NDArray[np.float32]) -> Features:
    """Return means and logarithmic spreads of the channels after the second block, (patches, 2 × channels)."""
    parameter = next(network.parameters())
    batch = torch.from_numpy(np.ascontiguousarray(patches)).permute(0, 3, 1, 2).to(parameter.device)
    with torch.inference_mode():
        features: Tensor = network.blocks[:_DEPTH](network.entry(batch.contiguous(memory_format=torch.channels_last)))
        # Zero padding reaches in from the border, which a picture that goes on beyond it does not have.
        inner = features[:, :, _EDGE_PX:-_EDGE_PX, _EDGE_PX:-_EDGE_PX].float()
        spread = inner.std(dim=(2, 3))
    return torch.cat([inner.mean(dim=(2, 3)), torch.log(spread + 1e-3)], dim=1).double().cpu().numpy()
