"""How fast the network is trained, beside a plain loop of torch, on the CPU and on a CUDA GPU where there is one.

    python tests/benchmarks/bench_training.py [--pairs FILE] [--steps N] [--batch N] [--device cpu|cuda] [--json]

The peer is what a user of torch would write: eager float32, contiguous, a ``DataLoader`` over the same patches, the
loss's Sobel gradients as a convolution, Adam. Both take the same steps on the same batches from the same weights, and
end with their validation loss. Without ``--pairs`` the pairs are random. The share of data loading is what a step takes
less, at the end of the run, when its batch is already there. It needs no more packages than ``learn`` does.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from mobilescope.data.pair_writer import PairWriter
from mobilescope.learn.device import pick_device, pick_dtype, place
from mobilescope.learn.feed import DataOptions, Feed, Order, make_feed
from mobilescope.learn.losses import enhancement_loss
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig
from mobilescope.learn.patches import FieldPair, PatchSet, as_batch
from mobilescope.learn.presets import TrainingConfig, preset
from mobilescope.learn.ranks import Ranks
from mobilescope.learn.sources import Sources, read_fields
from mobilescope.learn.stepping import Stepper
from mobilescope.learn.train import learning_rate_at

WARM_UP = 20
PEER_WORKERS = 8


def random_pairs(path: Path, fields: int = 12, size: int = 240) -> None:
    """Write pairs of noise, enough for the speed of a step."""
    random = np.random.default_rng(0)
    with PairWriter(path, {"label_pixel_um": 0.37, "instrument": "noise", "warp": "phone", "factor": 2.5}) as writer:
        for number in range(fields):
            writer.add(
                random.integers(0, 65536, (size, size, 3), dtype=np.uint16),
                random.integers(0, 256, (size * 5 // 2, size * 5 // 2, 3), dtype=np.uint8),
                slide="noise" if number else "check", role="training" if number else "validation", capture=number,
                row=0, column=0, accepted=True, reason="", quality={}, warp="phone", origin_px=(0.0, 0.0), window=None,
            )


class PlainPatches(Dataset[tuple[Tensor, Tensor]]):
    """The patches in the order of a run, one at a time, as a user's data set gives them."""

    def __init__(self, patches: PatchSet, order: Order, steps: int) -> None:
        self._patches = patches
        self._draws = [
            (int(number), int(turn)) for step in range(steps) for number, turn in zip(*order.draw(step), strict=True)
        ]

    def __len__(self) -> int:
        return len(self._draws)

    def __getitem__(self, place_in_run: int) -> tuple[Tensor, Tensor]:
        number, turn = self._draws[place_in_run]
        inputs, labels = self._patches.batch(np.array([number]), np.array([turn]))
        return inputs[0].contiguous(), labels[0].contiguous()


def network_of(config: TrainingConfig) -> EnhancementNetwork:
    """Return R18's network as every run starts with it."""
    network = EnhancementNetwork(NetworkConfig())
    network.initialise(config.seed)
    return network


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def plain_loss(output: Tensor, label: Tensor, gradient_weight: float) -> Tensor:
    """Return R18's loss as its equation reads: Sobel gradients as convolutions with a kernel and its transpose."""
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=output.device)
    both = torch.stack([kernel, kernel.T])[:, None]
    gradients = functional.conv2d(output.reshape(-1, 1, *output.shape[-2:]), both)
    return functional.mse_loss(output, label) + gradient_weight * gradients.square().sum(dim=1).mean()


def plain(patches: PatchSet, config: TrainingConfig, device: torch.device) -> tuple[EnhancementNetwork, float]:
    """Train as a plain loop; return the network and seconds for a step."""
    network = network_of(config).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=(0.9, config.adam_beta2))
    order = Order(len(patches), config.batch, config.seed, augment=config.augment)
    workers = PEER_WORKERS if device.type == "cuda" else 0
    loader = DataLoader(PlainPatches(patches, order, config.steps), batch_size=config.batch, num_workers=workers)
    started = time.perf_counter()
    for step, (inputs, labels) in enumerate(loader):
        if step == WARM_UP:
            synchronise(device)
            started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(config, step)
        loss = plain_loss(network(inputs.to(device)), labels.to(device), config.gradient_weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not math.isfinite(loss.item()):
            raise ArithmeticError(f"the loss is {loss.item()} at step {step}")
    synchronise(device)
    return network, (time.perf_counter() - started) / (config.steps - WARM_UP)


def ours(feed: Feed, config: TrainingConfig, device: torch.device) -> tuple[EnhancementNetwork, float, float]:
    """Train as `mobilescope train` does; return the network, seconds for a step, and the share of loading in it."""
    network = place(network_of(config), device)
    stepper = Stepper(network, feed, config, Ranks(), device, pick_dtype(config.precision, device))
    started = time.perf_counter()
    for step, (one, two) in enumerate(feed.batches(0, config.steps)):
        if step == WARM_UP:
            synchronise(device)
            started = time.perf_counter()
        loss = stepper.step(one, two, learning_rate_at(config, step))
        if step % (25 if device.type == "cuda" else 1) == 0:
            float(loss)
    synchronise(device)
    each = (time.perf_counter() - started) / (config.steps - WARM_UP)
    kept = EnhancementNetwork(NetworkConfig())
    kept.load_state_dict({name: value.detach().cpu().clone() for name, value in network.state_dict().items()})
    # Steps become shorter in the course of a run, so both are measured at its end, in turns.
    spent = {"from the feed": 0.0, "there already": 0.0}
    repeats = min(25, config.steps)
    for _ in range(8):
        for name, batches in (
            ("from the feed", feed.batches(config.steps - repeats, config.steps)),
            ("there already", repeat((one, two), repeats)),
        ):
            started = time.perf_counter()
            for drawn in batches:
                loss = stepper.step(*drawn, 0.0)
            float(loss)
            synchronise(device)
            spent[name] += time.perf_counter() - started
    return kept, each, 1 - spent["there already"] / spent["from the feed"]


def validation_loss(network: EnhancementNetwork, fields: list[FieldPair], config: TrainingConfig) -> float:
    """Return the mean loss in float32 on the CPU."""
    network = network.cpu().eval()
    with torch.inference_mode():
        losses = [
            float(enhancement_loss(network(as_batch(f.input[None])), as_batch(f.label[None]), config.gradient_weight))
            for f in fields
        ]
    return float(np.mean(losses))


def measure(pairs: Path, device: torch.device, batch: int, steps: int) -> list[dict[str, Any]]:
    """Train both ways and return their rows."""
    config = preset("quick").model_copy(update={"batch": batch, "steps": steps})
    sources = Sources.open([pairs])
    patches = PatchSet(
        read_fields(sources.fields("training", windowed=False), windowed=False), config.patch_px, config.stride_px,
        sources.factor,
    )
    checks = read_fields(sources.validation_fields(config.validation_fields), windowed=True)
    order = Order(len(patches), batch, config.seed, augment=config.augment)
    feed = make_feed(patches, order, DataOptions(), device)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        # Ours changes how the process keeps its memory, so the peer comes first.
        theirs, plain_each = plain(patches, config, device)
        mine, each, loading = ours(feed, config, device)
    return [
        {"name": "torch eager fp32, contiguous", "ms": plain_each * 1e3, "times": 1.0, "loading": math.nan,
         "validation_loss": validation_loss(theirs, checks, config)},
        {"name": "ours", "ms": each * 1e3, "times": plain_each / each, "loading": max(0.0, loading),
         "validation_loss": validation_loss(mine, checks, config)},
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = [options.device] if options.device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        pairs = options.pairs or Path(folder) / "random.pairs.h5"
        if options.pairs is None:
            random_pairs(pairs)
        for name in names:
            device = pick_device(name)
            batch = options.batch or (32 if name == "cuda" else 4)
            steps = options.steps or (1500 if name == "cuda" else 120)
            shown = torch.cuda.get_device_name() if name == "cuda" else f"CPU, {torch.get_num_threads()} threads"
            print(f"\n{shown}: {steps} steps of {batch} patches of 60 px, torch {torch.__version__}")
            print(f"{'':32} {'ms':>8} {'×':>6} {'loading':>8} {'validation loss':>16}")
            found[name] = measure(pairs, device, batch, steps)
            for row in found[name]:
                loading = "" if math.isnan(row["loading"]) else f"{row['loading']:.1%}"
                figures = f"{row['ms']:8.2f} {row['times']:6.2f} {loading:>8} {row['validation_loss']:16.6f}"
                print(f"{row['name']:32} {figures}", flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
