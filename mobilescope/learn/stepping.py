"""One training step, and how a GPU takes it: compiled, and replayed as one recording in place of hundreds of launches.

On an H200 a step of R18's network on 32 patches took 7 ms whether in float32 or bfloat16, since launching its kernels
took as long as the processor needed to name them; compiled and replayed it takes a quarter of that.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mobilescope.core.allocator import keep_freed_memory
from mobilescope.learn.feed import Feed
from mobilescope.learn.losses import enhancement_loss, lean_enhancement_loss
from mobilescope.learn.networks import EnhancementNetwork
from mobilescope.learn.presets import TrainingConfig
from mobilescope.learn.ranks import Ranks
from mobilescope.learn.refeed import fed_again
from mobilescope.learn.sparing import SparingNetwork
from mobilescope.learn.wide import WideNetwork

# Steps before the recording: libraries choose their kernels, Adam makes its averages.
_WARM_UP = 3


class Stepper:
    """Takes training steps: batch in, weights changed, loss out.

    Parameters
    ----------
    dtype : torch.dtype
        What convolutions compute in.

    Attributes
    ----------
    optimizer : torch.optim.Adam
    """

    def __init__(
        self,
        network: EnhancementNetwork,
        feed: Feed,
        config: TrainingConfig,
        ranks: Ranks,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._feed, self._config, self._ranks, self._device, self._dtype = feed, config, ranks, device, dtype
        self._parameters = list(network.parameters())
        on_gpu = device.type == "cuda"
        self._forward: nn.Module = network
        self._compared = enhancement_loss if on_gpu else lean_enhancement_loss
        if not on_gpu:
            keep_freed_memory()
            self._forward = SparingNetwork(network)
        elif dtype != torch.float32:
            self._forward = WideNetwork(network).to(device)
        self._rate = torch.tensor(config.learning_rate, device=device) if on_gpu else None
        self.optimizer = torch.optim.Adam(
            self._parameters, lr=config.learning_rate if self._rate is None else self._rate,
            betas=(0.9, config.adam_beta2), fused=True, capturable=on_gpu,
        )
        self._own_settings = {name: value for name, value in self.optimizer.param_groups[0].items() if name != "params"}
        self._fast = on_gpu and config.fast_step == "auto"
        self._loss: Callable[[Tensor, Tensor], Tensor] = self._loss_of
        self._taken = 0
        self._recorded: _Recorded | None = None
        if self._fast:
            self._loss = _compiled(self._loss_of)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Take over an optimizer's averages; how the steps are taken stays as it is on this device."""
        self.optimizer.load_state_dict(state)
        for group in self.optimizer.param_groups:
            group.update(self._own_settings)

    def step(self, one: Tensor, two: Tensor, learning_rate: float) -> Tensor:
        """Take a step on what the feed gave, and return the loss (a tensor on the device, before the step)."""
        if self._rate is not None:
            self._rate.fill_(learning_rate)
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
        self._taken += 1
        if not self._fast or self._ranks.world > 1:
            return self._whole_step(one, two)
        if self._taken <= _WARM_UP:
            return _on_side_stream(self._device, lambda: self._whole_step(one, two))
        if self._recorded is None:
            self.optimizer.zero_grad(set_to_none=True)
            self._recorded = _Recorded(self._whole_step, one, two)
        return self._recorded.replay(one, two)

    def _whole_step(self, one: Tensor, two: Tensor) -> Tensor:
        loss = self._loss(one, two)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._ranks.average_gradients(self._parameters)
        self.optimizer.step()
        return loss.detach()

    def _loss_of(self, one: Tensor, two: Tensor) -> Tensor:
        config = self._config
        inputs, labels = self._feed.decode(one, two)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            output = self._forward(inputs)
        loss = self._compared(output, labels, config.gradient_weight)
        if config.refeed == "off":
            return loss
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            again = fed_again(self._forward, output, inputs, config.refeed)
        return loss + config.refeed_weight * self._compared(again, labels, config.gradient_weight)


class _Recorded:
    """A step as a CUDA graph; its first replay is the first step that it takes."""

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], one: Tensor, two: Tensor) -> None:
        self._one, self._two = one.clone(), two.clone()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = step(self._one, self._two)

    def replay(self, one: Tensor, two: Tensor) -> Tensor:
        self._one.copy_(one)
        self._two.copy_(two)
        self._graph.replay()
        return self._loss.clone()


def _on_side_stream(device: torch.device, work: Callable[[], Tensor]) -> Tensor:
    """Do work as recordings want it before they start: away from the default stream."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        result = work()
    torch.cuda.current_stream(device).wait_stream(side)
    return result


def _compiled(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function that is compiled at its first call, or stays as it is where that fails, with a warning."""
    compiled = torch.compile(function)
    chosen: list[Callable[[Tensor, Tensor], Tensor]] = []

    def call(one: Tensor, two: Tensor) -> Tensor:
        if chosen:
            return chosen[0](one, two)
        log = logging.getLogger("torch")
        level = log.level
        log.setLevel(logging.ERROR)
        try:
            result = compiled(one, two)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # a compiler has many ways to fail, and the step works without it
            warnings.warn(f"the step could not be compiled and is slower: {error}", RuntimeWarning, stacklevel=2)
            chosen.append(function)
            return function(one, two)
        finally:
            log.setLevel(level)
        chosen.append(compiled)
        return result

    return call
