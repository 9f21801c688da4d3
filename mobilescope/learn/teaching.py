"""Distillation: a small network is trained towards what a full one makes of the training fields, beside the label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mobilescope.core.errors import UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken
from mobilescope.imaging.colour import to_float, to_uint8
from mobilescope.learn.checkpoint import ModelCard, load_model
from mobilescope.learn.device import pick_dtype, place
from mobilescope.learn.networks import EnhancementNetwork
from mobilescope.learn.patches import FieldPair, as_batch
from mobilescope.learn.sources import Sources


@dataclass(frozen=True, eq=False)
class Teacher:
    """A full model and the digest of its file.

    Raises
    ------
    UserError
        At opening: it works between other pixel sizes than the pairs, or has seen their validation slides in training.
    """

    network: EnhancementNetwork
    card: ModelCard
    sha256: str

    @classmethod
    def open(cls, path: Path, sources: Sources) -> Teacher:
        """Load a teacher for the pairs of a training."""
        network, card, _ = load_model(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if card.network.factor != float(sources.factor):
            raise UserError(
                f"the teacher {path} enlarges {card.network.factor:g} times, the pairs {float(sources.factor):g} times",
                "give a teacher that was trained on such pairs",
            )
        return cls(network, card, digest)

    def teach(
        self,
        fields: Sequence[FieldPair],
        weight: float,
        device: torch.device,
        on_progress: ProgressListener,
        stop: StopToken,
    ) -> list[FieldPair]:
        """Return the fields with labels mixed from their own and the teacher's pictures.

        The squared error against such a mixture is, up to a constant, the mixture of the squared errors against both.
        So the teacher looks at each field once, and training costs no more than without one.

        Parameters
        ----------
        weight : float
            The teacher's share, 0–1.
        """
        dtype = pick_dtype("auto", device)
        network = place(self.network, device)
        taught = []
        for done, field in enumerate(fields, start=1):
            stop.raise_if_requested("teaching")
            inputs = as_batch(field.input[None]).to(device, memory_format=torch.channels_last)
            with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                output = network(inputs)
            picture = output.float().clamp(0, 1)[0].permute(1, 2, 0).cpu().numpy()
            mixed = np.float32(1 - weight) * to_float(field.label) + np.float32(weight) * picture
            taught.append(replace(field, label=to_uint8(mixed)))
            on_progress(Progress("teach", done, len(fields)))
        return taught
