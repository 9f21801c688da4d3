"""The folded convolution gives what expansion, shuffle and exit convolution give, at every edge of every size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobilescope.enhance import stages
from mobilescope.enhance.folding import edge_strips, fold_tail, folding_pays
from mobilescope.enhance.torch_engine import TorchEngine
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

SIZES = [1, 2, 3, 4, 5, 6, 9]


def network(shuffle=5, stride=2):
    """Return a small network whose biases and weights all matter, with outputs well within 0–1."""
    made = EnhancementNetwork(NetworkConfig(first_width=5, growth=4, blocks=1, shuffle=shuffle, stride=stride))
    generator = torch.Generator().manual_seed(shuffle + 10 * stride)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.15, generator=generator)
        made.exit.bias.fill_(0.5)
    return made.eval()


def plain(made, pictures):
    with torch.inference_mode():
        return made(torch.from_numpy(pictures).permute(0, 3, 1, 2)).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def worst(made, engine):
    random = np.random.default_rng(1)
    differences = []
    for rows in SIZES:
        for columns in (1, 2, 5, 8):
            pictures = random.random((2, rows, columns, 3), dtype=np.float32)
            expected, found = plain(made, pictures), engine.run(pictures)
            assert found.shape == expected.shape
            differences.append(np.abs(found - expected).max())
    return max(differences)


RATIOS = [(5, 2), (3, 2), (4, 2), (2, 2), (1, 2), (5, 3), (7, 4), (2, 1), (3, 1), (1, 1)]


@pytest.mark.parametrize(("shuffle", "stride"), RATIOS)
def test_folded_equals_plain(monkeypatch, shuffle, stride):
    monkeypatch.setattr(stages, "folding_pays", lambda config: True)
    made = network(shuffle, stride)
    assert worst(made, TorchEngine(made, torch.device("cpu"), torch.float32)) < 1e-5


def test_the_edges_are_worth_their_strips(monkeypatch):
    """Without them the comparison above fails, so it does see the edges."""
    monkeypatch.setattr(stages, "edge_strips", lambda size, config: [])
    made = network()
    assert worst(made, TorchEngine(made, torch.device("cpu"), torch.float32)) > 1e-3


@pytest.mark.parametrize(("shuffle", "stride"), [(2, 1), (3, 1), (1, 1)])
def test_where_folding_costs_more_it_is_left(shuffle, stride):
    made = network(shuffle, stride)
    assert not folding_pays(made.config)
    assert worst(made, TorchEngine(made, torch.device("cpu"), torch.float32)) < 1e-5


def test_the_papers_tail_is_one_5_by_5_convolution_of_stride_2():
    config = NetworkConfig()
    tail = fold_tail(EnhancementNetwork(config))
    assert folding_pays(config)
    assert tail.weight.shape == (75, 62, 5, 5)
    assert (tail.stride, tail.repeat, tail.before) == (2, 5, 2)


def test_only_the_first_line_and_an_odd_sizes_last_differ():
    config = NetworkConfig()
    assert [strip.place for strip in edge_strips(8, config)] == [0]
    assert [strip.place for strip in edge_strips(9, config)] == [0, 22]
