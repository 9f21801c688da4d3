"""The training loop: deterministic by seed, resumable to the same weights, best weights by validation loss."""

from __future__ import annotations

import csv
import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobilescope.core.errors import InputFileError, TrainingError, UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.data.pairs import PairStore
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.metrics import ssim
from mobilescope.learn.checkpoint import ModelCard, load_model, save_model
from mobilescope.learn.device import pick_device, pick_dtype, place
from mobilescope.learn.losses import enhancement_loss
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig
from mobilescope.learn.patches import FieldPair, PatchSet, as_batch, load_fields
from mobilescope.learn.presets import TrainingConfig

_LOG_COLUMNS = ("step", "seconds", "learning_rate", "training_loss", "validation_loss", "validation_ssim")


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended; ``stopped`` tells that it was asked to stop before its last step."""

    model: Path
    steps: int
    patches: int
    best_step: int
    validation_loss: float
    validation_ssim: float
    seconds: float
    stopped: bool


@dataclass
class _Best:
    step: int = 0
    loss: float = math.inf
    ssim: float = 0.0


def learning_rate_at(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step: constant, or a linear warm-up over 5 % and a cosine to 1 % of the peak."""
    if config.schedule == "constant":
        return config.learning_rate
    warm_up = max(1, config.steps // 20)
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    part = (step - warm_up) / max(1, config.steps - warm_up)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2)


def train(
    pairs: Path,
    model: Path,
    config: TrainingConfig,
    *,
    network: NetworkConfig | None = None,
    device: str = "auto",
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> TrainingResult:
    """Train on the pairs of the role "training", watching those of the role "validation".

    ``model`` receives the weights of least validation loss; ``<model stem>.last.pt`` beside it everything to go on
    from, and ``<model stem>.csv`` the log. Where a ``.last.pt`` of the same configuration and data is there, the run
    goes on from it and ends with the weights that it would have had without the interruption.

    Raises
    ------
    TrainingError
        No accepted training or validation pairs, or a loss that is no longer finite.
    UserError
        An unfinished run of another configuration or other data in the way.
    """
    run = _Run(pairs, model, config, network or NetworkConfig(), pick_device(device))
    return run.go(on_progress, stop or StopToken())


class _Run:
    """One training run: data, network, optimizer and the best so far."""

    def __init__(
        self, pairs: Path, model: Path, config: TrainingConfig, network: NetworkConfig, device: torch.device
    ) -> None:
        self._model_path, self._config, self._device = model, config, device
        self._last_path = model.with_name(f"{model.stem}.last.pt")
        self._log_path = model.with_name(f"{model.stem}.csv")
        training = load_fields(pairs, "training", windowed=False)
        self._patches = PatchSet(training, config.patch_px, config.stride_px)
        self._validation = _spread(load_fields(pairs, "validation", windowed=True), config.validation_fields)
        if not self._validation:
            raise TrainingError(
                f"{pairs} has no accepted validation pairs", "register a slide with the role 'validation'"
            )
        self._card = _card(pairs, config, network, training, self._validation)
        self._network = EnhancementNetwork(network)
        self._network.initialise(config.seed)
        place(self._network, device)
        self._dtype = pick_dtype(config.precision, device)
        self._optimizer = torch.optim.Adam(
            self._network.parameters(), lr=config.learning_rate, betas=(0.9, config.adam_beta2)
        )
        self._best = _Best()
        self._step = 0
        self._seconds = 0.0

    def go(self, on_progress: ProgressListener, stop: StopToken) -> TrainingResult:
        """Run to the last step, or until asked to stop; the best and the last weights are on the disk either way."""
        self._resume()
        config, started, recent = self._config, time.monotonic() - self._seconds, math.nan
        while self._step < config.steps and not stop.requested:
            loss = self._one_step()
            recent = loss if math.isnan(recent) else 0.95 * recent + 0.05 * loss
            if self._step % config.validate_every == 0 or self._step == config.steps:
                self._seconds = time.monotonic() - started
                self._validate(recent)
            on_progress(Progress("train", self._step, config.steps, self._note(recent)))
        self._seconds = time.monotonic() - started
        if not self._validated:
            self._validate(recent)
        self._save_last()
        return TrainingResult(
            self._model_path, self._step, len(self._patches), self._best.step, self._best.loss, self._best.ssim,
            self._seconds, stopped=self._step < config.steps,
        )

    def _note(self, loss: float) -> str:
        seen = f", validation SSIM {self._best.ssim:.4f}" if self._best.step else ""
        return f"loss {loss:.5f}{seen}"

    def _one_step(self) -> float:
        config, step = self._config, self._step
        inputs, labels = self._patches.batch(*self._draw(step))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate_at(config, step)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            output = self._network(inputs.to(self._device, memory_format=torch.channels_last))
        loss = enhancement_loss(output, labels.to(self._device), config.gradient_weight)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {step}", "train with a lower learning rate; the best model so far is kept"
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._step = step + 1
        return value

    def _draw(self, step: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a step's patch numbers and turns: a function of seed and step alone, so resuming is exact."""
        config, count = self._config, len(self._patches)
        places = np.arange(step * config.batch, (step + 1) * config.batch)
        orders = {
            epoch: np.random.default_rng([config.seed, epoch]).permutation(count)
            for epoch in {int(place) for place in places // count}
        }
        numbers = np.array([orders[int(place) // count][place % count] for place in places])
        if not config.augment:
            return numbers, None
        return numbers, np.random.default_rng([config.seed, step, 8]).integers(0, 8, config.batch)

    def _validate(self, training_loss: float) -> None:
        self._network.eval()
        losses, scores = [], []
        with torch.no_grad():
            for field in self._validation:
                inputs = as_batch(field.input[None]).to(self._device, memory_format=torch.channels_last)
                with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
                    output = self._network(inputs)
                label = as_batch(field.label[None]).to(self._device)
                losses.append(float(enhancement_loss(output, label, self._config.gradient_weight)))
                picture = output.float().clamp(0, 1)[0].permute(1, 2, 0).cpu().numpy()
                scores.append(ssim(luminance(picture), luminance(to_float(field.label))))
        self._network.train()
        loss, score = float(np.mean(losses)), float(np.mean(scores))
        if not math.isfinite(loss):
            raise TrainingError(
                f"the validation loss is {loss} at step {self._step}",
                "train with a lower learning rate; the best model so far is kept",
            )
        self._log(training_loss, loss, score)
        if loss < self._best.loss:
            self._best = _Best(self._step, loss, score)
            self._save(self._model_path, {})
        self._save_last()

    def _log(self, training_loss: float, loss: float, score: float) -> None:
        new = not self._log_path.exists()
        with self._log_path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(_LOG_COLUMNS)
            rate = learning_rate_at(self._config, max(0, self._step - 1))
            writer.writerow([
                self._step, f"{self._seconds:.1f}", f"{rate:.3g}",
                f"{training_loss:.6f}", f"{loss:.6f}", f"{score:.5f}",
            ])

    def _save(self, path: Path, state: dict[str, Any]) -> None:
        training = self._card.training | {
            "steps_done": self._step,
            "best_step": self._best.step,
            "validation_loss": self._best.loss,
            "validation_ssim": self._best.ssim,
            "seconds": round(self._seconds, 1),
        }
        card = ModelCard(
            self._card.network, self._card.input_pixel_um, self._card.output_pixel_um,
            self._card.instrument, self._card.warp, training,
        )
        save_model(path, self._network, card, state)

    def _save_last(self) -> None:
        self._save(self._last_path, {
            "step": self._step,
            "seconds": self._seconds,
            "best": [float(self._best.step), self._best.loss, self._best.ssim],
            "optimizer": self._optimizer.state_dict(),
        })

    def _resume(self) -> None:
        """Go on from ``.last.pt`` where there is one; after a finished run nothing is left to do."""
        if not self._last_path.exists():
            self._log_path.unlink(missing_ok=True)
            return
        network, card, state = load_model(self._last_path)
        same = all(card.training.get(key) == self._card.training[key] for key in ("config", "pairs_sha256"))
        if not same or card.network != self._card.network:
            raise UserError(
                f"{self._last_path} belongs to a run with other settings or other pairs",
                "delete it to start anew, or give another output",
            )
        if not {"step", "seconds", "best", "optimizer"} <= state.keys():
            raise InputFileError(f"{self._last_path} does not hold an unfinished run", "delete it to start anew")
        self._network.load_state_dict(network.state_dict())
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._seconds = int(state["step"]), float(state["seconds"])
        step, loss, score = state["best"]
        if self._model_path.exists():
            self._best = _Best(int(step), loss, score)
        self._trim_log()

    @property
    def _validated(self) -> bool:
        return self._best.step > 0

    def _trim_log(self) -> None:
        """Drop what a killed run logged after the state that is resumed from."""
        if not self._log_path.exists():
            return
        with self._log_path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
        with self._log_path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) <= self._step)])


def _spread(fields: list[FieldPair], count: int) -> list[FieldPair]:
    """Return at most ``count`` fields spread evenly over the list."""
    if len(fields) <= count:
        return fields
    return [fields[round(place)] for place in np.linspace(0, len(fields) - 1, count)]


def _card(
    pairs: Path, config: TrainingConfig, network: NetworkConfig, training: list[FieldPair], validation: list[FieldPair]
) -> ModelCard:
    with PairStore.open(pairs) as store:
        provenance = store.provenance
    with pairs.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    output_pixel_um = float(provenance["label_pixel_um"])
    return ModelCard(
        network=network,
        input_pixel_um=output_pixel_um * network.factor,
        output_pixel_um=output_pixel_um,
        instrument=str(provenance["instrument"]),
        warp=str(provenance["warp"]),
        training={
            "config": config.model_dump(),
            "pairs_sha256": digest,
            "slides": {
                "training": sorted({field.slide for field in training}),
                "validation": sorted({field.slide for field in validation}),
            },
            "pairs": len(training),
        },
    )
