"""Networks, losses, training, evaluation, checkpoints."""

import os

# How long OpenMP's threads look for work before they sleep. By their own rule they spin for milliseconds, and starve
# each other as soon as another program wants a core (once, 470 ms a training step on average instead of 76). At once
# asleep, a step took 43 ms on an idle machine; with this, 33, and on a busy one as long as before. The setting is read
# when torch is imported, so it stands here.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
