"""What is no RGB picture of a known type is refused before the network sees it."""

from __future__ import annotations

import numpy as np
import pytest

from mobilescope.core.errors import InputFileError, InputImageError
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.learn.checkpoint import ModelCard
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

SMALL = NetworkConfig(first_width=6, growth=4)


def enhancer():
    card = ModelCard(SMALL, 0.925, 0.37, "a twin", "phone")
    return Enhancer(EnhancementNetwork(SMALL), card, device="cpu", precision="fp32")


@pytest.mark.parametrize(
    "shape", [(20, 20), (20, 20, 1), (20, 20, 4), (3, 20, 20), (0, 20, 3), (20, 0, 3), (1, 9, 9, 3)]
)
def test_anything_but_an_rgb_picture_is_refused(shape):
    with pytest.raises(InputImageError, match="RGB"):
        enhancer()(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("kind", [np.int32, np.bool_, np.complex64])
def test_a_picture_of_another_type_is_refused(kind):
    with pytest.raises(InputImageError, match=np.dtype(kind).name):
        enhancer()(np.zeros((8, 8, 3), kind))


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputFileError, match=r"none\.pt"):
        Enhancer.from_checkpoint(tmp_path / "none.pt")
