"""Training settings as data: the paper's, and one that finishes on a laptop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mobilescope.core.config import StrictModel
from mobilescope.core.errors import UserError


class TrainingConfig(StrictModel):
    """Everything that decides a training run besides the data."""

    preset: str
    batch: int = Field(ge=1)
    patch_px: int = Field(default=60, ge=16, multiple_of=2)
    patch_overlap: float = Field(default=0.4, ge=0, lt=1)
    learning_rate: float = Field(gt=0)
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    schedule: Literal["constant", "one-cycle"]
    steps: int = Field(ge=1)
    gradient_weight: float = Field(default=0.001, ge=0)
    augment: bool
    validate_every: int = Field(ge=1)
    validation_fields: int = Field(default=6, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(default=0, ge=0)

    @property
    def stride_px(self) -> int:
        """Distance between patches, rounded down to an even number of input pixels."""
        return max(2, int(self.patch_px * (1 - self.patch_overlap)) // 2 * 2)


PRESETS: dict[str, TrainingConfig] = {
    # R18: Adam, constant rate, batches of 32. Its 324 epochs of 43,528 blood-smear patches (Table 1) are 440,000 steps.
    "r18": TrainingConfig(
        preset="r18", batch=32, learning_rate=2e-4, schedule="constant", steps=440_000, augment=False,
        validate_every=1000, validation_fields=16,
    ),
    # A shorter memory of squared gradients (0.99) follows small batches at a high rate; with 0.999 some runs blow up.
    "quick": TrainingConfig(
        preset="quick", batch=4, learning_rate=4e-3, adam_beta2=0.99, schedule="one-cycle", steps=3500, augment=True,
        validate_every=350,
    ),
}


def preset(name: str) -> TrainingConfig:
    """Return a preset by name; an unknown one is a UserError listing those there are."""
    if name not in PRESETS:
        raise UserError(f"there is no training preset {name!r}", f"choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
