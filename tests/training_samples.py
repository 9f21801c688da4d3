"""A network and settings small enough to be trained in a test."""

from __future__ import annotations

from mobilescope.learn.networks import NetworkConfig
from mobilescope.learn.presets import TrainingConfig

TINY = NetworkConfig(first_width=4, blocks=1, growth=2)
QUICK = TrainingConfig(
    preset="test", batch=4, patch_px=16, learning_rate=3e-3, schedule="one-cycle", steps=24, augment=True,
    validate_every=6, validation_fields=2, precision="fp32",
)
