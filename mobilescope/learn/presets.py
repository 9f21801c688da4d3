"""Training settings as data: the papers', one that finishes on a laptop, one for several stains, one for a student."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

from pydantic import Field

from mobilescope.core.config import StrictModel
from mobilescope.core.errors import UserError
from mobilescope.data.patch_places import stride_of
from mobilescope.learn.networks import NetworkConfig, Start

# Pixel shuffle and stride for each enlargement that a pair file can have.
_TAILS: dict[Fraction, tuple[int, int]] = {
    Fraction(1): (1, 1), Fraction(3, 2): (3, 2), Fraction(2): (2, 1), Fraction(5, 2): (5, 2), Fraction(3): (3, 1),
}


class TrainingConfig(StrictModel):
    """Everything that decides a training run besides the data.

    Attributes
    ----------
    steps, epochs : int
        How long to train; where ``epochs`` is given, it decides.
    patience : int or None
        End after this many validations without a better one.
    start : str
        How the first weights are drawn, see `EnhancementNetwork.initialise`.
    fast_step : str
        Compile the step and replay it as one recording; "auto" does so on a CUDA GPU, "off" nowhere.
    refeed, refeed_weight : str, float
        R17's self-feeding: the output, brought back to the input's grid, is enhanced again, and the second result
        compared with the label too.
    distil_weight : float
        With a teacher, its share in what the student is trained towards; the label has the rest.
    """

    preset: str
    batch: int = Field(ge=1)
    patch_px: int = Field(default=60, ge=16, multiple_of=2)
    patch_overlap: float = Field(default=0.4, ge=0, lt=1)
    learning_rate: float = Field(gt=0)
    adam_beta2: float = Field(default=0.999, gt=0, lt=1)
    schedule: Literal["constant", "one-cycle"]
    steps: int = Field(ge=1)
    epochs: int | None = Field(default=None, ge=1)
    patience: int | None = Field(default=None, ge=1)
    gradient_weight: float = Field(default=0.001, ge=0)
    augment: bool
    validate_every: int = Field(ge=1)
    validation_fields: int = Field(default=6, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    fast_step: Literal["auto", "off"] = "auto"
    refeed: Literal["off", "downsampled"] = "off"
    refeed_weight: float = Field(default=1.0, gt=0)
    distil_weight: float = Field(default=0.5, ge=0, le=1)
    start: Start = "r18"
    seed: int = Field(default=0, ge=0)

    @property
    def stride_px(self) -> int:
        """Distance between patches, rounded down to an even number of input pixels."""
        return stride_of(self.patch_px, self.patch_overlap)

    def for_patches(self, patches: int) -> TrainingConfig:
        """Return the settings with the steps that the epochs over so many patches take."""
        if self.epochs is None:
            return self
        return self.model_copy(update={"steps": math.ceil(self.epochs * patches / self.batch)})


PRESETS: dict[str, TrainingConfig] = {
    # R18: Adam, constant rate, batches of 32. Its 324 epochs of 43,528 blood-smear patches (Table 1) are 440,000 steps;
    # `epochs` takes the table's other rows: 95 for lung, 190 for Pap smears.
    "r18": TrainingConfig(
        preset="r18", batch=32, learning_rate=2e-4, schedule="constant", steps=440_000, augment=False,
        validate_every=1000, validation_fields=16,
    ),
    # R17: batches of 64, half the rate, the output fed back as input. It states no length; R18's patches are taken once
    # through as often.
    "r17": TrainingConfig(
        preset="r17", batch=64, learning_rate=1e-4, schedule="constant", steps=220_000, augment=False,
        validate_every=1000, validation_fields=16, refeed="downsampled",
    ),
    # A shorter memory of squared gradients (0.99) follows small batches at a high rate; with 0.999 some runs blow up.
    "quick": TrainingConfig(
        preset="quick", batch=4, learning_rate=4e-3, adam_beta2=0.99, schedule="one-cycle", steps=3500, augment=True,
        validate_every=350,
    ),
    # Several stains in one network, as R18's discussion asks: twice the width, and more to choose from in a batch.
    "universal": TrainingConfig(
        preset="universal", batch=16, learning_rate=2e-3, adam_beta2=0.99, schedule="one-cycle", steps=40_000,
        augment=True, validate_every=1000, validation_fields=24, patience=12, start="scaled",
    ),
    # Scaled first weights matter to a small network: from R18's it ended 0.017 of SSIM lower, on blood of the twin.
    "distilled": TrainingConfig(
        preset="distilled", batch=4, learning_rate=5e-3, adam_beta2=0.99, schedule="one-cycle", steps=6000,
        augment=True, validate_every=600, start="scaled",
    ),
}

# The networks of presets that don't train R18's.
_NETWORKS: dict[str, NetworkConfig] = {
    "universal": NetworkConfig(first_width=64, growth=20),
    # Six blocks of 16 see as far as R18's five; two of 24, or three of 32, learned less in the same time.
    "distilled": NetworkConfig(first_width=16, blocks=6, growth=0),
}


def preset(name: str) -> TrainingConfig:
    """Return a preset by name; an unknown one is a UserError listing those there are."""
    if name not in PRESETS:
        raise UserError(f"there is no training preset {name!r}", f"choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def network_for(preset_name: str, factor: Fraction) -> NetworkConfig:
    """Return the network that a preset trains, for pairs of a factor.

    Raises
    ------
    UserError
        No pixel shuffle and stride are laid down for the factor.
    """
    if factor not in _TAILS:
        known = ", ".join(f"{float(each):g}" for each in _TAILS)
        raise UserError(f"there is no network that enlarges {float(factor):g} times", f"register with one of {known}")
    shuffle, stride = _TAILS[factor]
    base = _NETWORKS.get(preset_name, NetworkConfig())
    return base.model_copy(update={"shuffle": shuffle, "stride": stride})
