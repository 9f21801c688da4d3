"""A network without the units that stay silent gives the same pictures, and fewer multiplications."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobilescope.enhance.compaction import without_silent_units
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.learn.activity import firing_units, measure_activity
from mobilescope.learn.checkpoint import ModelCard, save_model
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig


@pytest.fixture
def network():
    """A network, some of whose inner units can't fire on any picture."""
    made = EnhancementNetwork(NetworkConfig(first_width=8, growth=4, blocks=2))
    made.initialise(0)
    with torch.no_grad():
        for number, block in enumerate(made.blocks):
            block.first.bias[: 3 + number] = -100.0
        made.exit.bias.fill_(0.5)
    return made.eval()


def pictures(count=3):
    return [np.random.default_rng(seed).random((40, 46, 3), dtype=np.float32) for seed in range(count)]


def test_silent_units_are_found(network):
    firing = firing_units(network, measure_activity(network, pictures()))
    assert firing is not None
    assert not firing[0][:3].any()
    assert not firing[1][:4].any()
    assert firing[0][3:].any()


def test_leaving_silent_units_out_changes_nothing(network):
    firing = firing_units(network, measure_activity(network, pictures()))
    smaller = without_silent_units(network, firing)
    assert smaller.parameter_count() < network.parameter_count()
    batch = torch.from_numpy(np.stack(pictures())).permute(0, 3, 1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(smaller(batch), network(batch), rtol=0, atol=1e-6)


def test_a_block_that_never_fires_keeps_one_unit(network):
    nothing = [torch.zeros(block.first.out_channels, dtype=torch.bool) for block in network.blocks]
    smaller = without_silent_units(network, nothing)
    with torch.inference_mode():
        assert smaller(torch.rand(1, 3, 16, 16)).shape == (1, 3, 40, 40)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_the_enhancer_leaves_them_out_where_the_model_tells_which(network, tmp_path, engine):
    path, picture = tmp_path / "model.pt", (255 * pictures(1)[0]).astype(np.uint8)
    card = ModelCard(network.config, 0.925, 0.37, "a twin", "phone")
    save_model(path, network, card, reference=measure_activity(network, pictures()))
    made = Enhancer.from_checkpoint(path, "cpu", "fp32", engine=engine)
    whole = Enhancer.from_checkpoint(path, "cpu", "fp32", engine=engine, whole=True)
    assert np.abs(made(picture).astype(int) - whole(picture)).max() <= 1
    assert made.units < whole.units


def test_statistics_of_another_network_are_not_used(network):
    other = EnhancementNetwork(NetworkConfig(first_width=9, growth=4, blocks=2)).eval()
    assert firing_units(network, measure_activity(other, pictures(1))) is None
