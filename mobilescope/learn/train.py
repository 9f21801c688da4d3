"""The training loop: deterministic by seed, resumable to the same weights, best weights by validation loss."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobilescope.core.errors import InputFileError, TrainingError, UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.imaging.colour import luminance, to_float
from mobilescope.imaging.metrics import ssim
from mobilescope.learn.checkpoint import ModelCard, load_model, read_card, read_reference, save_model
from mobilescope.learn.device import pick_dtype, place
from mobilescope.learn.feed import DataOptions, Feed, Order, make_feed
from mobilescope.learn.logs import LogRow, TrainingLog
from mobilescope.learn.losses import enhancement_loss
from mobilescope.learn.memory import is_out_of_memory
from mobilescope.learn.model_place import alone, check_place
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig
from mobilescope.learn.patches import FieldPair, PatchIndex, PatchSet, StoredPatches, as_batch
from mobilescope.learn.presets import TrainingConfig, network_for
from mobilescope.learn.ranks import Ranks, joined
from mobilescope.learn.reference import attach_reference
from mobilescope.learn.sources import Sources, decoded_bytes, read_fields
from mobilescope.learn.stepping import Stepper
from mobilescope.learn.teaching import Teacher

# On a GPU the loss is looked at this often: each look waits until the device has caught up.
_GPU_LOOKS_EVERY = 25


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
    pairs: Path | Sequence[Path],
    model: Path,
    config: TrainingConfig,
    *,
    network: NetworkConfig | None = None,
    device: str = "auto",
    data: DataOptions | None = None,
    teacher: Path | None = None,
    tensorboard: bool = False,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> TrainingResult:
    """Train on the pairs of the role "training", watching those of the role "validation".

    ``model`` receives the weights of least validation loss; ``<model stem>.last.pt`` beside it everything to go on
    from, ``<model stem>.csv`` the log and ``<model stem>.panels`` pictures of validation fields. Where a ``.last.pt``
    of the same configuration and data is there, the run goes on from it and ends with the weights that it would have
    had without the interruption. At the end the model's file also takes up what its training set looks like, by which
    later inputs are judged. Under torchrun the processes share each batch, and the first one writes.

    Parameters
    ----------
    pairs : Path or sequence of Path
        One pair file, or several that were registered alike.
    network : NetworkConfig, optional
        The preset's, for the pairs' factor, where it is left out.
    data : DataOptions, optional
        How patches reach the network.
    teacher : Path, optional
        A model whose pictures the network is trained towards, beside the labels (``config.distil_weight``).

    Raises
    ------
    TrainingError
        A loss that is no longer finite, or too little memory.
    UserError
        No accepted training or validation pairs; an unfinished run of another configuration or other data in the way,
        or one that is still at work; files that don't go together.
    OutputError
        No folder for the model, or files in the way that no training wrote.
    """
    check_place(model)
    paths = [pairs] if isinstance(pairs, Path) else list(pairs)
    stop = stop or StopToken()
    with alone(model), joined(device) as (ranks, place_of_work):
        sources = Sources.open(paths)
        config = sources.fitted(config)
        listener = on_progress if ranks.main else ignore_progress
        run = _Run(
            sources, model, config, network or network_for(config.preset, sources.factor), place_of_work, ranks,
            data or DataOptions(), None if teacher is None else Teacher.open(teacher, sources), tensorboard,
        )
        result = run.go(listener, stop)
        if ranks.main and not result.stopped and not read_reference(model):
            attach_reference(model, paths, on_progress=listener, stop=stop)
        return result


class _Run:
    """One training run: data, network, optimizer and the best so far."""

    def __init__(
        self, sources: Sources, model: Path, config: TrainingConfig, network: NetworkConfig, device: torch.device,
        ranks: Ranks, data: DataOptions, teacher: Teacher | None, tensorboard: bool,
    ) -> None:
        self._model_path, self._device, self._ranks, self._teacher = model, device, ranks, teacher
        self._last_path = model.with_name(f"{model.stem}.last.pt")
        self._validation = read_fields(sources.validation_fields(config.validation_fields), windowed=True)
        training: dict[str, Any] = {"config": config.model_dump()}
        if teacher is not None:
            training["teacher"] = {"sha256": teacher.sha256, "network": teacher.card.network.model_dump()}
        self._card = sources.card(network, training)
        self._sources, self._data, self._given = sources, data, config
        self._index = self._patch_index(config)
        self._config = config.for_patches(len(self._index))
        ranks.share(self._config.batch)  # a batch that can't be shared is told before anything starts
        self._network = EnhancementNetwork(network)
        self._network.initialise(config.seed, config.start)
        place(self._network, device)
        self._dtype = pick_dtype(config.precision, device)
        validations = math.ceil(self._config.steps / config.validate_every)
        self._log = TrainingLog(model, validations=validations, tensorboard=tensorboard and ranks.main)
        self._looks_every = _GPU_LOOKS_EVERY if device.type == "cuda" else 1
        self._best = _Best()
        self._step = 0
        self._seconds = 0.0

    def go(self, on_progress: ProgressListener, stop: StopToken) -> TrainingResult:
        """Run to the last step, or until asked to stop; the best and the last weights are on the disk either way."""
        feed = self._feed(on_progress, stop)
        self._stepper = Stepper(self._network, feed, self._config, self._ranks, self._device, self._dtype)
        self._resume()
        try:
            with torch.backends.cudnn.flags(enabled=True, benchmark=self._device.type == "cuda"):
                stopped = self._train(feed, on_progress, stop)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"a step on {self._config.batch} patches of {self._config.patch_px} px needs more memory than there is",
                f"train with a smaller --batch{'; the best model so far is kept' if self._best.step else ''}",
            ) from error
        finally:
            self._log.close()
        return TrainingResult(
            self._model_path, self._step, len(self._index), self._best.step, self._best.loss, self._best.ssim,
            self._seconds, stopped,
        )

    def _train(self, feed: Feed, on_progress: ProgressListener, stop: StopToken) -> bool:
        """Take the steps; return whether the run was asked to stop before its end."""
        config, started = self._config, time.monotonic() - self._seconds
        smooth: Tensor | None = None
        stopped = False
        for one, two in feed.batches(self._step, config.steps if not self._is_worn_out() else self._step):
            stopped = self._step % self._looks_every == 0 and self._ranks.any(stop.requested, self._device)
            if stopped:
                break
            loss = self._stepper.step(one, two, learning_rate_at(config, self._step))
            smooth = loss if smooth is None else smooth.lerp(loss, 0.05)
            self._step += 1
            validates = self._step % config.validate_every == 0 or self._step == config.steps
            if validates or self._step % self._looks_every == 0:
                recent = self._checked(loss, smooth)
                if validates:
                    self._seconds = time.monotonic() - started
                    self._validate(recent)
                on_progress(Progress("train", self._step, config.steps, self._note(recent)))
                if validates and self._is_worn_out():
                    break
        self._seconds = time.monotonic() - started
        if not self._best.step:
            self._validate(math.nan if smooth is None else float(smooth))
        self._save_last()
        self._ranks.wait()
        return stopped

    def _is_worn_out(self) -> bool:
        """Return whether as many validations as the patience went by without a better one."""
        patience = self._config.patience
        if patience is None or not self._best.step:
            return False
        return self._step - self._best.step >= patience * self._config.validate_every

    def _checked(self, loss: Tensor, smooth: Tensor) -> float:
        """Return the recent loss; a loss that is no longer finite ends the run."""
        recent, last = self._ranks.average(torch.stack([smooth, loss])).tolist()
        if not (math.isfinite(recent) and math.isfinite(last)):
            raise TrainingError(
                f"the loss is {last} at step {self._step - 1}",
                "train with a lower learning rate; the best model so far is kept",
            )
        return float(recent)

    def _note(self, loss: float) -> str:
        seen = f", validation SSIM {self._best.ssim:.4f}" if self._best.step else ""
        return f"loss {loss:.5f}{seen}"

    def _patch_index(self, config: TrainingConfig) -> PatchIndex:
        references = self._sources.fields("training", windowed=False)
        shapes = [reference.record.shape for reference in references]
        index = PatchIndex.over(shapes, config.patch_px, config.stride_px, self._sources.factor)
        return index.without(self._sources.dropped(references))

    def _feed(self, on_progress: ProgressListener, stop: StopToken) -> Feed:
        config, references = self._config, self._sources.fields("training", windowed=False)
        order = Order(
            len(self._index), config.batch, config.seed, augment=config.augment, part=self._ranks.share(config.batch)
        )
        needed = decoded_bytes(references, self._sources.factor)
        resident = self._data.is_resident(needed, self._device)
        if self._teacher is None and not resident and not self._data.is_cached(needed):
            stored = StoredPatches([(reference.path, reference.pair) for reference in references], self._index)
            return make_feed(stored, order, self._data, self._device)
        fields = read_fields(references, windowed=False)
        if self._teacher is not None:
            fields = self._teacher.teach(fields, config.distil_weight, self._device, on_progress, stop)
        patches = PatchSet(fields, config.patch_px, config.stride_px, self._sources.factor, self._index)
        return make_feed(patches, order, self._data, self._device)

    def _validate(self, training_loss: float) -> None:
        """Judge the weights on the validation fields, in the first process, and keep them where they are the best."""
        loss, score = math.nan, math.nan
        outputs: list[NDArray[np.float32]] = []
        if self._ranks.main:
            self._network.eval()
            losses, scores = [], []
            for field in self._validation:
                value, picture = self._judge(field)
                losses.append(value)
                scores.append(ssim(luminance(picture), luminance(to_float(field.label))))
                outputs.append(picture)
            self._network.train()
            loss, score = float(np.mean(losses)), float(np.mean(scores))
        loss, score = self._ranks.from_main((loss, score), self._device)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the validation loss is {loss} at step {self._step}",
                "train with a lower learning rate; the best model so far is kept",
            )
        if loss < self._best.loss:
            self._best = _Best(self._step, loss, score)
            if self._ranks.main:
                self._save(self._model_path, {})
        self._save_last()
        if self._ranks.main:
            rate = learning_rate_at(self._config, max(0, self._step - 1))
            row = LogRow(self._step, self._seconds, rate, training_loss, loss, score)
            self._log.add(row, self._step // self._config.validate_every, outputs, self._validation)

    def _judge(self, field: FieldPair) -> tuple[float, NDArray[np.float32]]:
        """Return the loss on a whole field and the enhanced picture, (rows, columns, 3) float32 0-1."""
        inputs = as_batch(field.input[None]).to(self._device, memory_format=torch.channels_last)
        label = as_batch(field.label[None]).to(self._device)
        half = self._dtype != torch.float32
        with torch.no_grad(), torch.autocast(self._device.type, self._dtype, enabled=half):
            output = self._network(inputs)
        loss = float(enhancement_loss(output, label, self._config.gradient_weight))
        return loss, output.float().clamp(0, 1)[0].permute(1, 2, 0).cpu().numpy()

    def _save(self, path: Path, state: dict[str, Any]) -> None:
        training = self._card.training | {
            "steps_done": self._step,
            "best_step": self._best.step,
            "validation_loss": self._best.loss,
            "validation_ssim": self._best.ssim,
            "seconds": round(self._seconds, 1),
        }
        card = ModelCard(
            self._card.network, self._card.input_pixel_um, self._card.output_pixel_um, self._card.instrument,
            self._card.warp, training, stain=self._card.stain,
        )
        save_model(path, self._network, card, state)

    def _save_last(self) -> None:
        if self._ranks.main:
            self._save(self._last_path, {
                "step": self._step,
                "seconds": self._seconds,
                "best": [float(self._best.step), self._best.loss, self._best.ssim],
                "optimizer": self._stepper.optimizer.state_dict(),
            })

    def _resume(self) -> None:
        """Go on from ``.last.pt`` where there is one; after a finished run nothing is left to do."""
        self._ranks.wait()
        if not self._last_path.exists():
            if self._model_path.exists():  # a finished model that was copied here is all there is of its training
                self._check_same_run(self._model_path, read_card(self._model_path))
            if self._ranks.main:
                self._log.start_anew()
            return
        network, card, state = load_model(self._last_path)
        self._check_same_run(self._last_path, card)
        if not {"step", "seconds", "best", "optimizer"} <= state.keys():
            raise InputFileError(f"{self._last_path} does not hold an unfinished run", "delete it to start anew")
        self._network.load_state_dict(network.state_dict())
        self._stepper.load_optimizer(state["optimizer"])
        self._step, self._seconds = int(state["step"]), float(state["seconds"])
        step, loss, score = state["best"]
        if self._model_path.exists():
            self._best = _Best(int(step), loss, score)
        self._ranks.wait()
        if self._ranks.main:
            self._log.go_on_from(self._step)

    def _check_same_run(self, path: Path, card: ModelCard) -> None:
        """Refuse to replace what another training wrote."""
        same = all(card.training.get(key) == self._card.training.get(key) for key in ("pairs_sha256", "teacher"))
        # A run of an earlier version knows fewer settings; it had what their defaults say.
        written = card.training.get("config", {})
        settings = {name: field.default for name, field in TrainingConfig.model_fields.items()} | written
        if not same or settings != self._card.training["config"] or card.network != self._card.network:
            raise UserError(
                f"{path} belongs to a run with other settings or other pairs",
                f"give another output, or delete {self._last_path.name} and {self._model_path.name} to start anew",
            )
