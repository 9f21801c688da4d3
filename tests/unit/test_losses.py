"""The loss is R18's equation 5, worked out here by hand and by plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mobilescope.learn.losses import enhancement_loss, gradient_energy, lean_enhancement_loss

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=np.float64)


def energy_by_loops(images):
    total = []
    for image in images.reshape(-1, *images.shape[-2:]):
        for row in range(image.shape[0] - 2):
            for column in range(image.shape[1] - 2):
                window = image[row : row + 3, column : column + 3]
                total.append((window * SOBEL).sum() ** 2 + (window * SOBEL.T).sum() ** 2)
    return np.mean(total)


def test_the_gradient_of_a_ramp():
    ramp = torch.arange(8.0).repeat(6, 1)[None, None] * 0.1
    # The kernel weighs a slope of 0.1 by eight: (0.8)² across and nothing down.
    assert float(gradient_energy(ramp)) == pytest.approx(0.64, rel=1e-5)
    assert float(gradient_energy(ramp.transpose(-1, -2))) == pytest.approx(0.64, rel=1e-5)


def test_a_flat_image_has_no_gradient_not_even_at_its_edge():
    assert float(gradient_energy(torch.full((2, 3, 7, 9), 0.8))) == pytest.approx(0, abs=1e-12)


def test_the_gradient_is_averaged_over_pixels_and_channels():
    images = np.random.default_rng(0).random((2, 3, 7, 6))
    assert float(gradient_energy(torch.from_numpy(images))) == pytest.approx(energy_by_loops(images))


def test_the_loss_is_squared_error_plus_weighted_gradient_of_the_output():
    generator = np.random.default_rng(1)
    output, label = generator.random((2, 2, 3, 8, 9))
    expected = np.mean((output - label) ** 2) + 0.001 * energy_by_loops(output)
    found = enhancement_loss(torch.from_numpy(output), torch.from_numpy(label), 0.001)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    plain = enhancement_loss(torch.from_numpy(output), torch.from_numpy(label), 0.0)
    assert float(plain) == pytest.approx(np.mean((output - label) ** 2), rel=1e-5)


def test_the_loss_of_a_perfect_flat_output_is_nothing():
    image = torch.full((1, 3, 8, 8), 0.5)
    assert float(enhancement_loss(image, image, 0.001)) == 0


def test_the_loss_is_computed_in_single_precision():
    output = torch.full((1, 3, 8, 8), 0.5, dtype=torch.bfloat16)
    assert enhancement_loss(output, torch.zeros(1, 3, 8, 8), 0.001).dtype == torch.float32


@pytest.mark.parametrize("weight", [0.0, 0.001, 10.0])
@pytest.mark.parametrize("shape", [(2, 3, 9, 12), (1, 1, 3, 3), (1, 3, 4, 3)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_lean_loss_is_the_loss_with_its_gradient(weight, shape, memory_format):
    generator = torch.Generator().manual_seed(3)
    output, label = (torch.rand(shape, generator=generator).contiguous(memory_format=memory_format) for _ in range(2))
    told = []
    for function in (enhancement_loss, lean_enhancement_loss):
        given = output.clone().requires_grad_()
        loss = function(given, label, weight)
        (3 * loss).backward()
        told.append((loss.detach(), given.grad))
    torch.testing.assert_close(told[1], told[0], rtol=1e-5, atol=1e-8)


def test_the_lean_loss_gives_half_precision_its_own_kind_of_gradient_back():
    output = torch.rand((1, 3, 8, 8)).bfloat16().requires_grad_()
    loss = lean_enhancement_loss(output, torch.zeros(1, 3, 8, 8), 0.001)
    loss.backward()
    assert (loss.dtype, output.grad.dtype) == (torch.float32, torch.bfloat16)
