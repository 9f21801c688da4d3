"""The enhancement network is R18's: its widths, its parameters, its sizes and how far it sees."""

from __future__ import annotations

import pytest
import torch

from mobilescope.learn.networks import R18_PARAMETERS, EnhancementNetwork, NetworkConfig, halo_px, output_size

TINY = NetworkConfig(first_width=2, growth=2)


def transparent(config):
    """Return a network of positive weights without biases: every pixel that can influence an output does."""
    network = EnhancementNetwork(config).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(0.0 if name.endswith("bias") else 0.1)
    return network.eval()


def test_widths_and_parameters_are_the_papers():
    config = NetworkConfig()
    assert config.widths() == [32, 34, 38, 44, 52, 62]
    assert config.factor == 2.5
    assert EnhancementNetwork(config).parameter_count() == 229_197 == R18_PARAMETERS


def test_the_list_of_convolutions_is_that_of_table_1():
    stages = [m for m in EnhancementNetwork().modules() if isinstance(m, torch.nn.Conv2d)]
    pairs = [(stage.in_channels, stage.out_channels) for stage in stages]
    blocks = [pair for a, b in ((32, 34), (34, 38), (38, 44), (44, 52), (52, 62)) for pair in ((a, b), (b, b))]
    assert pairs == [(3, 32), *blocks, (62, 75), (3, 3)]
    assert {(stage.kernel_size, stage.padding) for stage in stages} == {((3, 3), (1, 1))}
    assert [stage.stride for stage in stages] == [(1, 1)] * 12 + [(2, 2)]


@pytest.mark.parametrize(("rows", "columns"), [(555, 333), (60, 60), (1, 1), (7, 10)])
def test_the_output_is_two_and_a_half_times_larger_rounded_up(rows, columns):
    with torch.no_grad():
        output = EnhancementNetwork(TINY)(torch.zeros(1, 3, rows, columns))
    assert output.shape == (1, 3, output_size(rows, TINY), output_size(columns, TINY))
    assert output_size(555, TINY) == 1388
    assert output_size(333, TINY) == 833


def test_a_block_adds_its_input_padded_with_empty_channels():
    network = EnhancementNetwork(NetworkConfig(first_width=2, blocks=1, growth=2))
    block = network.blocks[0]
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        x = torch.randn(1, 2, 5, 6)
        output = block(x)
    assert torch.equal(output[:, :2], x)
    assert output.shape[1] == 4
    assert not output[:, 2:].any()


@pytest.mark.parametrize("blocks", [1, 3, 5])
def test_the_halo_is_how_far_the_layers_see(blocks):
    """Change one pixel and see which outputs follow: none farther away than the reach, some just at it."""
    config = NetworkConfig(first_width=2, growth=2, blocks=blocks)
    reach = 2 * blocks + 3
    size = 4 * reach + 2
    network, centre = transparent(config), size // 2
    base = torch.rand(1, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    changed = base.clone()
    changed[..., centre, centre] += 1.0
    with torch.no_grad():
        rows = (network(changed) - network(base)).abs().amax(dim=(0, 1, 3)).nonzero().ravel()
    # Output row u belongs to the input row that holds its centre: x + 0.5 = (u + 0.5) / 2.5, by sub-pixel 2u of 5.
    distance = [int(2 * row) // 5 - centre for row in rows]
    assert max(abs(d) for d in distance) == reach
    assert reach <= halo_px(config) < reach + config.stride


def test_the_papers_halo_is_13_rounded_up_to_14():
    assert halo_px(NetworkConfig()) == 14


def test_shift_by_the_stride_shifts_the_output_whole():
    network = EnhancementNetwork(TINY)
    network.initialise(0)
    image = torch.rand(1, 3, 80, 80, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole, part = network(image), network(image[..., 2:, 4:])
    inner = slice(40, 120)
    torch.testing.assert_close(whole[..., 45:125, 50:130], part[..., inner, inner], rtol=0, atol=1e-5)


def test_initial_weights_are_cut_normal_and_follow_the_seed():
    first, again, other = (EnhancementNetwork() for _ in range(3))
    for network, seed in ((first, 1), (again, 1), (other, 2)):
        network.initialise(seed)
    weights = torch.cat([v.ravel() for k, v in first.named_parameters() if k.endswith("weight")])
    assert weights.abs().max() <= 0.1
    # A normal distribution cut at two sigma keeps 0.88 of its standard deviation.
    assert float(weights.detach().std()) == pytest.approx(0.88 * 0.05, rel=0.02)
    assert not any(v.any() for k, v in first.named_parameters() if k.endswith("bias"))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.entry.weight, other.entry.weight)


@pytest.mark.parametrize("shape", [{"blocks": 0}, {"first_width": 0}, {"depth": 3}])
def test_a_network_that_can_not_be_is_refused(shape):
    with pytest.raises(ValueError, match=r"blocks|first_width|depth"):
        NetworkConfig(**shape)


def test_scaled_weights_keep_the_size_of_what_passes_through():
    batch = torch.rand((4, 3, 40, 40), generator=torch.Generator().manual_seed(0))
    sizes = {}
    for start in ("r18", "scaled"):
        network = EnhancementNetwork(NetworkConfig(first_width=16, blocks=6, growth=0))
        network.initialise(0, start)
        with torch.inference_mode():
            features = network.blocks(network.entry(batch))
            sizes[start] = float(features.std() / batch.std())
    assert 0.3 < sizes["scaled"] < 3
    assert sizes["r18"] < sizes["scaled"]
