"""What a GPU computes with more features than the network has is what the network computes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mobilescope.enhance.stages import BYTES, UNIT, Stages, padded_weights, scaled_weights
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig


def network(**shape):
    made = EnhancementNetwork(NetworkConfig(**shape))
    made.initialise(5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return made.eval()


@pytest.mark.parametrize(
    "shape",
    [{}, {"first_width": 24, "blocks": 1, "growth": 0}, {"shuffle": 3, "stride": 1}],
)
@pytest.mark.parametrize("scale", [BYTES, UNIT])
def test_padded_stages_give_the_networks_output(shape, scale):
    made = network(**shape)
    picture = scale.full * torch.rand((2, 21, 34, 3), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = scale.full * made(picture.permute(0, 3, 1, 2) / scale.full).permute(0, 2, 3, 1)
        found = Stages(made, scale, torch.device("cpu"), torch.float32, group=32)(picture) + scale.centre
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * scale.full)


def test_every_stage_is_equally_wide_and_the_surplus_is_zero():
    weights = padded_weights(scaled_weights(network(), UNIT), 32)
    assert weights.entry[0].shape[:2] == (64, 8)
    assert {tuple(layer[0].shape[:2]) for block in weights.blocks for layer in block} == {(64, 64)}
    assert weights.tail is not None
    assert weights.tail.weight.shape[:2] == (80, 64)
    first = weights.blocks[0][0]
    assert not first[0][34:].any()
    assert not first[0][:, 32:].any()
    assert not first[1][34:].any()
    assert not weights.entry[1].any()
    features = functional.conv2d(torch.rand(1, 8, 9, 9), weights.entry[0], padding=1)
    assert not features[:, 32:].any()
