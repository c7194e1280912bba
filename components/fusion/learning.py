"""Training of any network of this package: Adam through Accelerate, an average of the weights, exact continuation.

All randomness of a step is a function of (seed, step), which the loss receives, so the state to save is the weights,
their average, Adam's moments and the number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import safetensors.torch as st
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from goodshot.components.encoders.base import computing_in
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.fusion.config import Learning
from goodshot.components.heartbeat import beat
from goodshot.components.optimiser_state import below, load_moments, moments_of
from goodshot.components.stored import tensors_in

LARGEST_NORM = 1.0
"""Gradients are scaled down to this norm."""
SKIPS = 5
"""The number of consecutive steps with a non-finite loss or gradient after which training fails."""

Network = TypeVar("Network", bound=nn.Module)


class Training(Generic[Network]):
    """A network, its optimiser and the average of its weights.

    Args:
        network: its parameters with ``requires_grad`` are trained.
        learning: the options.
        loss: (the network within Accelerate's wrapper, steps made) → the step's loss, a scalar.
        options: the options that identify the training; the state of another training is refused.
    """

    def __init__(
        self,
        network: Network,
        learning: Learning,
        loss: Callable[[nn.Module, int], Tensor],
        accelerator: Accelerator,
        options: str,
    ) -> None:
        self.learning, self.accelerator, self._loss, self._options = learning, accelerator, loss, options
        network.to(accelerator.device)
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(learned, lr=learning.learning_rate)
        self._wrapped, self._optimiser = accelerator.prepare(network, optimiser)
        self.network = network
        self.iteration = self._skipped = 0
        self._average = {name: value.detach().clone() for name, value in self._learned().items()}

    def train(self, to: int) -> list[float]:
        """Train until ``to`` steps are made. Returns the losses of the steps made now, in order."""
        return [self.step() for _ in range(to - self.iteration)]

    def step(self) -> float:
        """One update; returns the loss before it.

        An update whose loss or gradient is not finite is left out. Raises :class:`GoodshotError` after five such
        updates in succession.
        """
        self._wrapped.train()
        beat()
        self._optimiser.zero_grad(set_to_none=True)
        with computing_in(self.learning.precision, self.accelerator.device):
            loss = self._loss(self._wrapped, self.iteration)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_([*self._learned().values()], LARGEST_NORM)
        # After the backward pass, the workers of a group hold the same gradients and so decide alike.
        if bool(torch.isfinite(norm)):
            self._update()
        else:
            self._leave_out(float(loss.detach()))
        self.iteration += 1
        return float(loss.detach())

    def _update(self) -> None:
        rate = self.learning.learning_rate * min(1.0, (self.iteration + 1) / self.learning.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._skipped = 0
        # The average of a short training would otherwise be that of its random start.
        decay = min(self.learning.ema, (1 + self.iteration) / (10 + self.iteration))
        with torch.no_grad():
            for name, value in self._learned().items():
                self._average[name].lerp_(value, 1 - decay)

    def _leave_out(self, loss: float) -> None:
        self._skipped += 1
        if self._skipped == SKIPS:
            raise GoodshotError(
                f"training: the loss ({loss}) or its gradient is not finite in {SKIPS} steps in succession, lastly in "
                f"step {self.iteration + 1}; lower learning_rate (now {self.learning.learning_rate})"
            )

    @contextmanager
    def averaged(self) -> Iterator[Network]:
        """The network in evaluation mode with the averaged weights, which it has within the ``with`` block only."""
        current = {name: value.detach().clone() for name, value in self._learned().items()}
        self._set(self._average)
        self.network.eval()
        try:
            yield self.network
        finally:
            self._set(current)

    def keep_average(self) -> Network:
        """Replace the network's weights by their average permanently, and return it; this ends the training."""
        self._set(self._average)
        return self.network.eval()

    def state(self) -> bytes:
        """The state as safetensors: learned weights, buffers, their average, Adam's moments, the number of steps."""
        tensors = {f"network.{name}": value for name, value in {**self._learned(), **self._buffers()}.items()}
        tensors |= {f"average.{name}": value for name, value in self._average.items()}
        tensors |= moments_of(self._optimiser, "adam")
        tensors |= {"steps": torch.tensor([self.iteration, self._skipped])}
        whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        return st.save(whole, {"options": self._options})

    def load(self, state: bytes) -> None:
        """Continue from :meth:`state`. Raises :class:`BadInput` for a damaged state or that of another training."""
        tensors, metadata = tensors_in(state, "the state of a training")
        if metadata.get("options") != self._options:
            raise BadInput("the state of a training was saved with other options; remove it to train anew")
        self._set(below("network.", tensors))
        self._average = {name: value.to(self.accelerator.device) for name, value in below("average.", tensors).items()}
        load_moments(self._optimiser, "adam", tensors)
        self.iteration, self._skipped = tensors["steps"].tolist()

    def _learned(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.network.named_parameters() if value.requires_grad}

    def _buffers(self) -> dict[str, Tensor]:
        """The statistics of BatchNorm, the only buffers that training changes."""
        norms = [(name, m) for name, m in self.network.named_modules() if isinstance(m, nn.BatchNorm2d)]
        return {f"{name}.{kind}": value for name, module in norms for kind, value in module.named_buffers()}

    @torch.no_grad()
    def _set(self, values: dict[str, Tensor]) -> None:
        mine: dict[str, Any] = {**self._learned(), **self._buffers()}
        for name, value in values.items():
            mine[name].copy_(value)
