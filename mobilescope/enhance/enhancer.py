"""Enhancement of images of any size: tiles with the exact halo, equal to the untiled result."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from mobilescope.core.errors import InputImageError
from mobilescope.imaging.colour import to_float, to_uint8
from mobilescope.learn.checkpoint import ModelCard, load_model
from mobilescope.learn.device import Precision, pick_device, pick_dtype, place
from mobilescope.learn.networks import EnhancementNetwork, halo_px, output_size

_TILE_PX = 512


class Enhancer:
    """A trained network, ready for pictures.

    Call it with one RGB image (rows, columns, 3): uint8 in gives uint8 out, uint16 uint16, float 0–1 float32. The
    output is ``card.network.factor`` times larger along each axis.
    """

    def __init__(
        self,
        network: EnhancementNetwork,
        card: ModelCard,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        tile_px: int = _TILE_PX,
    ) -> None:
        self._device = pick_device(device)
        self._dtype = pick_dtype(precision, self._device)
        self._network = place(network.eval(), self._device)
        self._tile_px = max(network.config.stride, tile_px // network.config.stride * network.config.stride)
        self.card = card

    @classmethod
    def from_checkpoint(cls, path: Path, device: str = "auto", precision: Precision = "auto") -> Self:
        """Load a model file; the errors are those of `mobilescope.learn.checkpoint.load_model`."""
        network, card, _ = load_model(path)
        return cls(network, card, device=device, precision=precision)

    def __call__(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """Enhance one image."""
        if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
            raise InputImageError(
                f"an image of shape {image.shape} can't be enhanced", "give an RGB image (rows, columns, 3)"
            )
        enhanced = self._tiled(to_float(image))
        if image.dtype == np.uint8:
            return to_uint8(enhanced)
        if image.dtype == np.uint16:
            return np.round(enhanced * 65535).astype(np.uint16)
        return enhanced

    def _tiled(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        config = self._network.config
        rows, columns, channels = image.shape
        result = np.empty((output_size(rows, config), output_size(columns, config), channels), dtype=np.float32)
        halo, tile = halo_px(config), self._tile_px
        for top in range(0, rows, tile):
            for left in range(0, columns, tile):
                bottom, right = min(top + tile, rows), min(left + tile, columns)
                # Past the picture's own edge the network's zero padding takes over, as it does untiled.
                first_row, first_column = max(0, top - halo), max(0, left - halo)
                piece = image[first_row : min(rows, bottom + halo), first_column : min(columns, right + halo)]
                output = self._run(piece)
                out_top, out_left = output_size(top, config), output_size(left, config)
                skip_row = out_top - output_size(first_row, config)
                skip_column = out_left - output_size(first_column, config)
                height, width = output_size(bottom, config) - out_top, output_size(right, config) - out_left
                result[out_top : out_top + height, out_left : out_left + width] = output[
                    skip_row : skip_row + height, skip_column : skip_column + width
                ]
        return result

    def _run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        batch = batch.to(self._device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(
            self._device.type, self._dtype, enabled=self._dtype != torch.float32
        ):
            output = self._network(batch)
        return output.float().clamp(0, 1)[0].permute(1, 2, 0).cpu().numpy()
