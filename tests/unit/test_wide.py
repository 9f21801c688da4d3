"""The widened network is the network: the same pictures, and the same gradients for its parameters."""

from __future__ import annotations

import pytest
import torch

from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig
from mobilescope.learn.wide import WideNetwork


def network(**shape):
    made = EnhancementNetwork(NetworkConfig(**shape)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


@pytest.mark.parametrize(
    "shape",
    [
        {}, {"shuffle": 3, "stride": 2}, {"shuffle": 2, "stride": 1}, {"shuffle": 1, "stride": 1},
        {"shuffle": 4, "stride": 2}, {"first_width": 24, "blocks": 1, "growth": 0},
        {"channels": 1, "shuffle": 3, "stride": 1},
    ],
)
@pytest.mark.parametrize("size", [(20, 24), (15, 21), (1, 2)])
def test_output_and_gradients_are_the_networks(shape, size):
    made = network(**shape)
    generator = torch.Generator().manual_seed(2)
    batch = torch.rand((2, made.config.channels, *size), generator=generator, dtype=torch.float64)
    expected = made(batch)
    expected.square().mean().backward()
    wanted = {name: parameter.grad.clone() for name, parameter in made.named_parameters()}
    made.zero_grad()
    found = WideNetwork(made)(batch)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    found.square().mean().backward()
    for name, parameter in made.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-8, atol=1e-10, msg=name)


def test_its_parameters_are_the_networks_own():
    made = network()
    assert [id(parameter) for parameter in WideNetwork(made).parameters()] == [id(each) for each in made.parameters()]
