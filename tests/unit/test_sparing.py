"""What leaves silent units out is the network: the same pictures, and the same gradients for its parameters."""

from __future__ import annotations

import pytest
import torch

from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig
from mobilescope.learn.sparing import SparingNetwork


def network(*, silent: int, dtype=torch.float64, **shape):
    """Return a network of which so many units of every block's convolutions never fire."""
    made = EnhancementNetwork(NetworkConfig(**shape)).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        for block in made.blocks:
            block.first.bias[torch.randperm(block.first.out_channels, generator=generator)[:silent]] = -100
            block.second.bias[torch.randperm(block.second.out_channels, generator=generator)[:silent]] = -100
    return made


def gradients(function, made, batch):
    made.zero_grad()
    picture = function(batch)
    picture.square().mean().backward()
    return picture, {name: parameter.grad.clone() for name, parameter in made.named_parameters()}


@pytest.mark.parametrize("silent", [0, 5, 20, 24, 31])
@pytest.mark.parametrize("shape", [{}, {"growth": 0}, {"shuffle": 2, "stride": 1, "blocks": 2}, {"channels": 1}])
def test_output_and_gradients_are_the_networks(silent, shape):
    made = network(silent=silent, **shape)
    generator = torch.Generator().manual_seed(2)
    batch = torch.rand((2, made.config.channels, 12, 14), generator=generator, dtype=torch.float64)
    expected, wanted = gradients(made, made, batch)
    found, mine = gradients(SparingNetwork(made), made, batch)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    for name, gradient in wanted.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-8, atol=1e-10, msg=name)


def test_a_block_in_which_nothing_fires_passes_its_input_on():
    made = network(silent=32, growth=0)
    batch = torch.rand((1, 3, 8, 8), dtype=torch.float64)
    expected, wanted = gradients(made, made, batch)
    found, mine = gradients(SparingNetwork(made), made, batch)
    torch.testing.assert_close(found, expected)
    assert all(torch.equal(mine[name], wanted[name]) for name in wanted if ".first" in name or ".second" in name)


def test_a_picture_fed_again_adds_its_gradients():
    made = network(silent=20)
    batch = torch.rand((1, 3, 10, 10), dtype=torch.float64)

    def twice(function):
        return lambda x: function(function(x)[..., ::2, ::2][..., :10, :10])

    _, wanted = gradients(twice(made), made, batch)
    _, mine = gradients(twice(SparingNetwork(made)), made, batch)
    for name, gradient in wanted.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-8, atol=1e-10, msg=name)


def test_a_picture_that_is_not_a_number_stays_one():
    made = network(silent=20, dtype=torch.float32)
    batch = torch.rand((1, 3, 8, 8))
    batch[0, 0, 4, 4] = torch.nan
    assert torch.isnan(SparingNetwork(made)(batch)).any()


def test_its_parameters_are_the_networks_own():
    made = network(silent=0)
    assert [id(each) for each in SparingNetwork(made).parameters()] == [id(each) for each in made.parameters()]
