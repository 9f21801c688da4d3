"""R17's self-feeding: the network's output is enhanced again.

R17 does not say on which grid. Here the output is either brought back to the input's grid, so that the result has the
output's grid, or fed in as it is, so that the result is finer again by the network's factor.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Refeed = Literal["downsampled", "finer"]


def refeed(network: nn.Module, picture: Tensor, grid: Refeed) -> Tensor:
    """Return a picture enhanced twice.

    Parameters
    ----------
    network : Module
        Maps (batch, 3, rows, columns), 0-1, to a picture ``factor`` times as large.
    picture : Tensor, shape (batch, 3, rows, columns)
    grid : str
        "downsampled": the first result is brought to the input's grid before it is fed in, and the second is
        ``factor`` times as large as the input. "finer": it is fed in as it is; the second is factor² times as large.

    Returns
    -------
    Tensor, float32 or the network's own type
    """
    return fed_again(network, network(picture), picture, grid)


def fed_again(network: nn.Module, output: Tensor, picture: Tensor, grid: Refeed) -> Tensor:
    """Return the second result from the first, ``output``, of ``network(picture)``."""
    if grid == "finer":
        return network(output)
    # Bilinear with antialiasing is the average over the input pixel and its neighbours, with half-pixel centres.
    smaller = functional.interpolate(output.float(), size=picture.shape[-2:], mode="bilinear", antialias=True)
    return network(smaller)
