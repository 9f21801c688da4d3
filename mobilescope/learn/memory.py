"""How the libraries say that memory ran out."""

from __future__ import annotations

import torch

# torch on a CPU, oneDNN, OpenVINO and the C++ library raise plain RuntimeErrors with these words.
_PHRASES = ("can't allocate memory", "could not create a memory", "failed to allocate", "out of memory", "bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a computation failed for want of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return any(phrase in text for phrase in _PHRASES)
