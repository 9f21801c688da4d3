"""Training on a server that has little more than torch: ``python -m mobilescope.learn PAIRS... --out MODEL``.

On several GPUs, or several processes of one machine:

    torchrun --nproc-per-node 4 -m mobilescope.learn session.pairs.h5 --out model.pt --preset r18
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from mobilescope.core.errors import CancelledError, MobilescopeError, UserError
from mobilescope.core.progress import Progress, StopToken
from mobilescope.learn.feed import DataOptions
from mobilescope.learn.presets import PRESETS, preset
from mobilescope.learn.ranks import is_main_process
from mobilescope.learn.train import train


def main(arguments: list[str] | None = None) -> int:
    """Train as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m mobilescope.learn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="+", type=Path, help="pair files (.h5)")
    parser.add_argument("--out", type=Path, default=Path("model.pt"), help="model file; an interrupted run goes on")
    parser.add_argument("--preset", choices=list(PRESETS), default="quick")
    parser.add_argument("--steps", type=int, help="steps, instead of the preset's")
    parser.add_argument("--epochs", type=int, help="epochs, instead of steps")
    parser.add_argument("--batch", type=int, help="patches in a step, over all processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, or cuda:N")
    parser.add_argument("--workers", type=int, help="processes that read from the disk")
    parser.add_argument("--teacher", type=Path, help="model to distil")
    parser.add_argument("--tensorboard", action="store_true")
    options = parser.parse_args(arguments)
    changes = {name: getattr(options, name) for name in ("steps", "epochs", "batch") if getattr(options, name)}
    stop = StopToken()
    signal.signal(signal.SIGINT, _asking(stop))
    try:
        result = train(
            options.pairs, options.out, preset(options.preset).model_copy(update=changes | {"seed": options.seed}),
            device=options.device, data=DataOptions(workers=options.workers), teacher=options.teacher,
            tensorboard=options.tensorboard, on_progress=_Teller(), stop=stop,
        )
        if result.stopped:
            raise CancelledError(f"training stopped at step {result.steps}", "run the same command to go on")
    except (UserError, CancelledError) as error:
        if is_main_process():  # each process says the same
            sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    except (MobilescopeError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status if isinstance(error, MobilescopeError) else 1
    if is_main_process():
        sys.stdout.write(json.dumps(asdict(result) | {"model": str(result.model)}) + "\n")
    return 0


class _Teller:
    """Tells progress as a line for each fiftieth of a stage."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def __call__(self, progress: Progress) -> None:
        part = 50 * progress.done // max(1, progress.total)
        if part > self._told.get(progress.stage, 0):
            self._told[progress.stage] = part
            sys.stderr.write(f"{progress.stage}: {progress.done}/{progress.total}  {progress.note}\n")


def _asking(stop: StopToken) -> Callable[[int, FrameType | None], None]:
    def handler(_number: int, _frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.request()

    return handler


if __name__ == "__main__":
    sys.exit(main())
