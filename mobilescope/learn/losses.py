"""The training loss of R18 (eq. 5): squared error plus a penalty on the output's gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def gradient_energy(image: Tensor) -> Tensor:
    """Return the mean of |∇Y|² over pixels and channels, with the Sobel kernel and its transpose.

    Parameters
    ----------
    image : Tensor, shape (batch, channel, row, column)
    """
    kernel = torch.tensor(_SOBEL, dtype=image.dtype, device=image.device)
    both = torch.stack([kernel, kernel.T])[:, None]
    planes = image.reshape(-1, 1, *image.shape[-2:])
    gradients = functional.conv2d(planes, both)
    return gradients.square().sum(dim=1).mean()


def enhancement_loss(output: Tensor, label: Tensor, gradient_weight: float) -> Tensor:
    """Return mean squared error + ``gradient_weight`` · mean |∇output|² (both 0–1, same shape), in float32."""
    prediction = output.float()
    error = functional.mse_loss(prediction, label.float())
    return error + gradient_weight * gradient_energy(prediction) if gradient_weight > 0 else error
