"""The same network without the units that never fired on its training pictures."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mobilescope.learn.networks import EnhancementNetwork, ResidualBlock


def without_silent_units(network: EnhancementNetwork, firing: Sequence[Tensor]) -> EnhancementNetwork:
    """Return a network whose blocks hold only the inner units named, with the weights that they have.

    A unit that does not fire gives zeros to the second convolution of its block, so leaving it out changes nothing on
    pictures on which it stays silent: above 100 dB on three stains of the twin, those of other stains included, while
    two thirds of the inner units go. On pictures unlike any specimen (noise, black frames) such units can fire.

    Parameters
    ----------
    firing : sequence of Tensor (units,), bool
        For each block, which units of its first convolution to keep; at least one is kept in each.
    """
    result = copy.deepcopy(network)
    blocks = [block for block in result.blocks if isinstance(block, ResidualBlock)]
    for block, kept in zip(blocks, firing, strict=True):
        places = torch.nonzero(kept if bool(kept.any()) else torch.arange(len(kept)) == 0).flatten()
        first = _narrower(block.first, block.first.in_channels, len(places))
        second = _narrower(block.second, len(places), block.second.out_channels)
        with torch.no_grad():
            first.weight.copy_(block.first.weight[places])
            second.weight.copy_(block.second.weight[:, places])
            for new, old, which in ((first, block.first, places), (second, block.second, slice(None))):
                if new.bias is not None and old.bias is not None:
                    new.bias.copy_(old.bias[which])
        block.first, block.second = first, second
    return result.eval()


def _narrower(layer: nn.Conv2d, inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=layer.bias is not None)
