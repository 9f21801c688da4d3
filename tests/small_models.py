"""Models that are small enough for tests of what is around them."""

from __future__ import annotations

from pathlib import Path

import torch

from mobilescope.learn.checkpoint import ModelCard, save_model
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

TINY = NetworkConfig(first_width=4, blocks=1, growth=2)


def save_small_model(path: Path, *, seed: int = 3, config: NetworkConfig = TINY, training: dict | None = None) -> Path:
    """Write a model from 0.925 µm to 0.37 µm whose outputs vary around mid-grey."""
    network = EnhancementNetwork(config)
    network.initialise(seed)
    with torch.no_grad():
        network.exit.bias.fill_(0.5)
    save_model(path, network, ModelCard(config, 0.925, 0.37, "a twin", "phone", training or {}, stain="blood"))
    return path
