"""Several processes that train one network: who this one is, and what they agree on.

``torchrun --nproc-per-node N`` starts the processes and tells each its number; a process that was started alone is all
there is, and then nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from mobilescope.core.errors import UserError
from mobilescope.learn.device import pick_device


def is_main_process() -> bool:
    """Return whether this process is the one that writes files and talks to the person."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass(frozen=True)
class Ranks:
    """A process among those that train together."""

    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Return this process's part of a global batch.

        Raises
        ------
        UserError
            The batch can't be divided evenly: the mean over it would not be that of one process.
        """
        if batch % self.world:
            raise UserError(
                f"a batch of {batch} can't be divided among {self.world} processes",
                f"choose a batch that is a multiple of {self.world}",
            )
        each = batch // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replace each gradient by its mean over the processes, in one exchange."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(together)
        together /= self.world
        place = 0
        for gradient in gradients:
            gradient.copy_(together[place : place + gradient.numel()].view_as(gradient))
            place += gradient.numel()

    def average(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        if self.world == 1:
            return values
        summed = values.clone()
        distributed.all_reduce(summed)
        return summed / self.world

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is set in any process."""
        if self.world == 1:
            return flag
        count = torch.tensor([float(flag)], device=device)
        distributed.all_reduce(count)
        return bool(count.item() > 0)

    def from_main(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Return the numbers that the main process gives; the others' are ignored."""
        if self.world == 1:
            return list(values)
        sent = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.broadcast(sent, 0)
        return [float(value) for value in sent]

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Yield who this process is and its device, having joined the others that torchrun started.

    On GPUs each process takes the one of its local number, and NCCL carries the gradients; on CPUs it is Gloo.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    picked = pick_device(device)
    if world == 1:
        yield Ranks(), picked
        return
    if picked.type == "cuda":
        picked = pick_device(f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}")
        torch.cuda.set_device(picked)
    distributed.init_process_group("nccl" if picked.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), world), picked
        distributed.barrier()  # whoever leaves first must not take the connection away from the others
    finally:
        distributed.destroy_process_group()
