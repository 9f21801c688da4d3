"""Networks, losses, training, evaluation, checkpoints."""
