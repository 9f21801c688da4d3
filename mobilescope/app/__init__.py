"""The composition root: configuration to instrument, workflows, report, command line."""

import os

# numpy's BLAS waits for its threads in a loop that takes whole cores, and most of our matrices are small: beside four
# other programs on two cores a registration of 256² took 9 s with two threads of it, and 0.7 s with one. What is worth
# more threads has its own. The number is read when numpy is imported, so it stands here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
