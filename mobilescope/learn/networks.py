"""R18's enhancement network and its measurements: output size, receptive field, parameter count."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mobilescope.core.config import StrictModel

R18_PARAMETERS = 229_197
_R18_SIGMA = 0.05
_ADDED_SHARE = 0.3

Start = Literal["r18", "scaled"]


class NetworkConfig(StrictModel):
    """Shape of an enhancement network; the defaults are those of Rivenson et al. 2018 (Table 1, eq. 1-4).

    The enlargement is ``shuffle / stride``: pixel shuffle first, then a strided convolution.
    """

    channels: int = Field(default=3, ge=1, le=64)
    first_width: int = Field(default=32, ge=1, le=1024)
    blocks: int = Field(default=5, ge=1, le=64)
    growth: int = Field(default=10, ge=0, le=1024)
    shuffle: int = Field(default=5, ge=1, le=16)
    stride: int = Field(default=2, ge=1, le=16)

    @property
    def factor(self) -> float:
        """Output pixels per input pixel along each axis."""
        return self.shuffle / self.stride

    def widths(self) -> list[int]:
        """Return the channels before and after each residual block, A_0 … A_K (R18 eq. 4)."""
        widths = [self.first_width]
        for block in range(1, self.blocks + 1):
            widths.append(widths[-1] + math.floor(self.growth * block / self.blocks + 0.5))
        return widths


class ResidualBlock(nn.Module):
    """``ReLU(conv(ReLU(conv(x)))) + x``, where x is padded with zero channels to the wider output (R18 eq. 2)."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.second = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.extra = width_out - width_in

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, width_in, rows, columns) to (batch, width_out, rows, columns)."""
        residual = functional.relu(self.second(functional.relu(self.first(x))))
        return residual + functional.pad(x, (0, 0, 0, 0, 0, self.extra))


class EnhancementNetwork(nn.Module):
    """Phone picture in, benchtop picture out, ``shuffle / stride`` times larger.

    Input and output are sRGB-encoded RGB, 0–1, (batch, channel, row, column). Output sizes are
    ``ceil(rows * shuffle / stride)``; tiles must start at multiples of ``stride``.
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        widths = self.config.widths()
        channels, shuffle = self.config.channels, self.config.shuffle
        self.entry = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in pairwise(widths)))
        self.expand = nn.Conv2d(widths[-1], channels * shuffle**2, 3, padding=1)
        self.exit = nn.Conv2d(channels, channels, 3, stride=self.config.stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Enhance a batch (batch, 3, rows, columns)."""
        features = self.expand(self.blocks(self.entry(x)))
        return self.exit(functional.pixel_shuffle(features, self.config.shuffle))

    def initialise(self, seed: int, start: Start = "r18") -> None:
        """Draw the weights from a normal distribution cut at 2 σ, biases 0, by seed.

        Parameters
        ----------
        start : str
            "r18": σ 0.05 everywhere, as R18 has it. "scaled": σ by each layer's fan-in, so that pictures neither fade
            nor grow on their way, and less in each block's second convolution, which adds to what it is given.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                sigma = _R18_SIGMA
                if start == "scaled":
                    sigma = module.weight[0].numel() ** -0.5 * (_ADDED_SHARE if name.endswith(".second") else 1.0)
                nn.init.trunc_normal_(module.weight, std=sigma, a=-2 * sigma, b=2 * sigma, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def parameter_count(self) -> int:
        """Return the number of trainable values."""
        return sum(parameter.numel() for parameter in self.parameters())


def halo_px(config: NetworkConfig) -> int:
    """Return how many input pixels around a tile its output depends on, rounded up to a multiple of the stride.

    Each 3×3 convolution at the input's pitch reaches one pixel: entry, two in each block, and the expansion. The
    last convolution reaches one sub-pixel, which lies in the next input pixel.
    """
    reach = 1 + 2 * config.blocks + 1 + 1
    return math.ceil(reach / config.stride) * config.stride


def output_size(size_px: int, config: NetworkConfig) -> int:
    """Return the output's rows (or columns) for an input's."""
    return math.ceil(size_px * config.shuffle / config.stride)
