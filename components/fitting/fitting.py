"""The loop that fits a network to labelled images through Accelerate.

Batches are functions of (seed, step) and networks draw nothing, so the state is the weights, Adam's moments, the step,
and the checkpoint that validation images have chosen so far. Stopping and continuing equals going straight through,
bit for bit on a CPU with a fixed thread count.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from safetensors.torch import save
from torch import Tensor, nn

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.fitting.config import FittingConfig
from goodshot.components.heartbeat import beat
from goodshot.components.optimiser_state import below, load_moments, moments_of
from goodshot.components.stored import tensors_in


class Task(Protocol):
    """The interface of a task: its batches, its loss, and the value by which a checkpoint is chosen."""

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The inputs and targets of the step after ``step`` updates."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A scalar, from float32 outputs."""

    def merit(self, network: nn.Module, device: torch.device) -> float | None:
        """Return the quality of a network on validation images, larger is better; None without validation images."""


class Fitting:
    """Fits a network to a task, step by step, and keeps the best checkpoint.

    Args:
        name: the network's name in messages.
        build: makes the network, under ``seed``.
        stated: further options that identify the fitting, as plain values; a checkpoint of another fitting is refused.
        device: torch device.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], nn.Module],
        task: Task,
        config: FittingConfig,
        seed: int,
        stated: dict[str, Any],
        device: str = "cpu",
    ) -> None:
        self.name, self.config, self._task = name, config, task
        self._identity = json.dumps({**config.stated(), "seed": seed, **stated}, sort_keys=True)
        self.accelerator = Accelerator(cpu=device == "cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build()
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(learned, lr=config.learning_rate, betas=config.betas)
        self._network, self._optimiser = self.accelerator.prepare(network, optimiser)
        self.iteration = 0
        """The number of updates made."""
        self.merits: dict[int, float] = {}
        """The merit of each candidate so far, by its number of updates."""
        self._chosen: dict[str, Tensor] = {}

    @property
    def network(self) -> nn.Module:
        """The network at the current step, without Accelerate's wrapper."""
        network: nn.Module = self.accelerator.unwrap_model(self._network)
        return network

    @property
    def chosen_step(self) -> int:
        """The step of the best candidate, the earliest of equal ones; without validation images the current step."""
        return max(self.merits, key=lambda step: (self.merits[step], -step)) if self.merits else self.iteration

    def train(self, to: int | None = None) -> list[float]:
        """Train until ``to`` updates (by default and at most all) are made. Returns the losses of the steps made.

        Raises:
            GoodshotError: a loss is not finite.
        """
        last = self.config.steps if to is None else min(to, self.config.steps)
        return [self._update() for _ in range(last - self.iteration)]

    def chosen(self) -> nn.Module:
        """A copy of the network with the weights of the chosen checkpoint, in evaluation mode."""
        network = copy.deepcopy(self.network)
        if self._chosen:
            network.load_state_dict(self._chosen)
        return network.eval()

    def state(self) -> bytes:
        """Weights, moments, the chosen checkpoint and the step, as one safetensors file."""
        metadata = {"iteration": str(self.iteration), "merits": json.dumps(self.merits), "options": self._identity}
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"chosen.{name}": value for name, value in self._chosen.items()}
        tensors |= moments_of(self._optimiser, "adam")
        return save({name: value.contiguous() for name, value in tensors.items()}, metadata)

    def load(self, state: bytes) -> None:
        """Continue from :meth:`state`. Raises :class:`BadInput` if the state belongs to another fitting."""
        tensors, metadata = tensors_in(state, f"checkpoint of a {self.name}")
        if metadata.get("options") != self._identity:
            raise BadInput(f"checkpoint: saved by a {self.name} with other options; remove it to train anew")
        self.network.load_state_dict(below("network.", tensors))
        load_moments(self._optimiser, "adam", tensors)
        self._chosen = below("chosen.", tensors)
        self.iteration = int(metadata["iteration"])
        self.merits = {int(step): merit for step, merit in json.loads(metadata["merits"]).items()}

    def _update(self) -> float:
        beat()
        self._network.train()
        device = self.accelerator.device
        inputs, targets = (each.to(device) for each in self._task.batch(self.iteration))
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            outputs = self._network(inputs)
        loss = self._task.loss(outputs.float(), targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise GoodshotError(
                f"{self.name}: the loss is not finite ({value}) after {self.iteration} steps "
                f"(learning_rate {self.config.learning_rate}); lower learning_rate"
            )
        self._optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.learning_rate_at(self.iteration)
        self._optimiser.step()
        self.iteration += 1
        self._consider()
        return value

    def _consider(self) -> None:
        """Keep a copy of the current weights if they are the best candidate so far."""
        if not self.config.is_candidate(self.iteration):
            return
        merit = self._task.merit(self.network.eval(), self.accelerator.device)
        if merit is None:
            return
        if not math.isfinite(merit):
            raise GoodshotError(f"{self.name}: its merit on validation images is {merit} after {self.iteration} steps")
        self.merits[self.iteration] = merit
        if self.chosen_step == self.iteration:
            self._chosen = {name: value.clone() for name, value in self.network.state_dict().items()}
