"""The training loop: gradients of a step, the update, and undoing it when a loss is not finite.

A step has two halves: the gradients of its loss at the current weights (:meth:`Training.evaluate`), and the update. A
state counts as good once its gradients are known to be finite. If they are not, the last update is undone and
repeated with a smaller step size, which is kept: all later steps are a function of the seed and l, stopped or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.generator.batch import Batch
from goodshot.components.generator.config import GeneratorConfig
from goodshot.components.generator.discriminator import PatchDiscriminator, discriminator_hinge, layers_of
from goodshot.components.generator.objective import Terms, VarianceAwareVQGAN
from goodshot.components.generator.start import StartWeights, load_into, read_start
from goodshot.components.generator.start_file import start_file
from goodshot.components.generator.vqgan import VQGAN
from goodshot.components.optimiser_state import below, load_moments, moments_of
from goodshot.components.perceptual import PerceptualLoss, load_lpips

SMALLER = 0.1
"""Factor on the learning rate when an update is undone."""
ROLLBACKS = 5
"""Maximum number of undone updates in one training before it fails."""


@dataclass(frozen=True)
class StepLosses:
    """The terms of eq. 7 at one iteration, and statistics of the step, as plain numbers."""

    iteration: int
    total: float
    mse: float
    reconstruction: float
    perceptual: float
    codebook: float
    adversarial: float = 0.0
    adaptive_weight: float = 0.0
    discriminator: float = 0.0
    """The discriminator's loss."""
    codes_used: float = float("nan")
    """Share of the codebook that the step's views use, in (0, 1]."""
    rollbacks: int = 0
    """Updates undone so far; each made the step size ten times smaller."""


class Training:
    """A VQGAN with its objective, its optimiser and, if there is one, its discriminator.

    Args:
        batches: iteration (updates made so far) → this process's parts of the step.
        head: E → Σ, for ``variance: predicted``.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        vq_weight: float,
        seed: int,
        accelerator: Accelerator,
        batches: Callable[[int], list[Batch]],
        head: nn.Module | None = None,
    ) -> None:
        self.config, self.vq_weight, self._batches = config, vq_weight, batches
        self.accelerator = accelerator
        self.iteration = self.rollbacks = 0
        start = _start(config)
        with torch.random.fork_rng(devices=[]):
            # Before the seed is set: building a frozen network draws random initial weights.
            perceptual = _perceptual(config, start, accelerator.device)
            torch.manual_seed(seed)
            head = None if head is None else head.to(accelerator.device)
            model = VarianceAwareVQGAN(config, vq_weight, perceptual, head)
        if start is not None:
            load_into(model.vqgan, *start)
        self.discriminator = _discriminator(config, start[0] if start else None, seed, accelerator.device)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        if config.compile:
            _compile(model.vqgan)
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(learned, lr=config.learning_rate, betas=config.betas)
        self._model, self._optimiser = accelerator.prepare(model, optimiser)
        self._critic: torch.optim.Adam | None = None
        if self.discriminator is not None:
            self._critic = torch.optim.Adam(self.discriminator.parameters(), betas=config.betas)
        self._good: dict[str, Tensor] = {}
        self._pending: StepLosses | None = None

    @property
    def model(self) -> VarianceAwareVQGAN:
        """The network with its objective, without Accelerate's wrapper."""
        model: VarianceAwareVQGAN = self.accelerator.unwrap_model(self._model)
        return model

    def step(self) -> StepLosses:
        """One update (eq. 7). Raises as :meth:`settle` does."""
        losses = self.settle()
        self._update()
        return losses

    def settle(self) -> StepLosses:
        """Make sure that the current state is good; returns the losses of the step that starts from it.

        Raises:
            GoodshotError: the loss or its gradient is not finite however small the step, or from the start.
        """
        while self._pending is None:
            losses, finite = self.evaluate()
            if finite:
                self._pending = losses
            else:
                self._take_back(losses)
        return self._pending

    def evaluate(self) -> tuple[StepLosses, bool]:
        """Store the step's gradients in the parameters. Returns its losses, and whether all values are finite."""
        self._model.train()
        self._optimiser.zero_grad(set_to_none=True)
        discriminator = self._active_discriminator()
        if discriminator is not None:
            discriminator.zero_grad(set_to_none=True)
        parts = self._batches(self.iteration)
        world = self.accelerator.num_processes
        terms: list[Terms] = []
        critic: list[Tensor] = []
        for part, batch in enumerate(parts):
            last = part == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self._model):
                terms.append(self._forward(batch, discriminator))
                # The shares of all workers' parts sum to one, but Accelerate averages over workers.
                self.accelerator.backward(terms[-1].total * world)
            if discriminator is not None:
                critic.append(self._criticise(discriminator, batch, terms[-1]) * batch.vq_share)
        self._average_critic(discriminator)
        return self._losses(terms, critic)

    def _forward(self, batch: Batch, discriminator: PatchDiscriminator | None) -> Terms:
        if discriminator is not None:
            discriminator.requires_grad_(False)
        if self.config.channels_last:
            flat = batch.views.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            batch = batch._replace(views=flat.view_as(batch.views))
        terms: Terms = self._model(batch, discriminator)
        return terms

    def _criticise(self, discriminator: PatchDiscriminator, batch: Batch, terms: Terms) -> Tensor:
        """Add the discriminator's gradient on the same reconstructions; returns its loss, detached."""
        discriminator.requires_grad_(True)
        real = batch.views.flatten(0, 1)
        with self.model.mixed_precision(real.device):
            logits = discriminator(real), discriminator(terms.reconstructed)
        loss = discriminator_hinge(logits[0].float(), logits[1].float())
        torch.autograd.backward(loss * batch.vq_share)
        return loss.detach()

    def _average_critic(self, discriminator: PatchDiscriminator | None) -> None:
        """Add up the discriminator's gradients over workers, because Accelerate does not wrap it."""
        if discriminator is None or self.accelerator.num_processes == 1:
            return
        for parameter in discriminator.parameters():
            parameter.grad = self.accelerator.reduce(parameter.grad, "sum")

    def _losses(self, terms: Sequence[Terms], critic: Sequence[Tensor]) -> tuple[StepLosses, bool]:
        scalars = [torch.stack([part.detach().float() for part in of_part[:7]]) for of_part in terms]
        loss_d = torch.stack(list(critic)).sum() if critic else scalars[0].new_zeros(())
        used = torch.stack([of_part.used for of_part in terms]).any(dim=0)
        summed = torch.cat([torch.stack(scalars).sum(0), loss_d[None]])
        if self.accelerator.num_processes > 1:
            summed = self.accelerator.reduce(summed, "sum")
            used = self.accelerator.reduce(used.float(), "sum") > 0
        norm = torch.nn.utils.get_total_norm(_gradients(self._model, self._active_discriminator()))
        total, mse, reconstruction, perceptual, codebook, adversarial, adaptive, of_critic = summed.tolist()
        losses = StepLosses(
            iteration=self.iteration + 1,
            total=total,
            mse=mse,
            reconstruction=reconstruction,
            perceptual=perceptual,
            codebook=codebook,
            adversarial=adversarial,
            adaptive_weight=adaptive,
            discriminator=of_critic,
            codes_used=float(used.float().mean()),
            rollbacks=self.rollbacks,
        )
        return losses, bool(torch.isfinite(summed).all() and torch.isfinite(norm))

    def _active_discriminator(self) -> PatchDiscriminator | None:
        start = self.config.discriminator.start
        return self.discriminator if start is not None and self.iteration >= start else None

    def _update(self) -> None:
        """Apply the gradients of a good state, which is kept until the next one is known to be good."""
        self._remember()
        _set_rate(self._optimiser, self.config.learning_rate * SMALLER**self.rollbacks)
        self._optimiser.step()
        if self._critic is not None and self._active_discriminator() is not None:
            rate = self.config.discriminator.learning_rate or self.config.learning_rate
            _set_rate(self._critic, rate * SMALLER**self.rollbacks)
            self._critic.step()
        self.iteration += 1
        self._pending = None

    def _remember(self) -> None:
        """Copy the state into the previous copy's memory: fresh memory for each takes a tenth of a small step."""
        state = self._state()
        if self._good.keys() != state.keys():
            self._good = {name: value.clone() for name, value in state.items()}
        for name, value in state.items():
            self._good[name].copy_(value)

    def _take_back(self, losses: StepLosses) -> None:
        if not self._good or self.rollbacks == ROLLBACKS:
            after = f" after {self.rollbacks} updates taken back, each for a ten times smaller step" * bool(self._good)
            raise GoodshotError(
                f"generator: the loss ({losses.total}) or its gradient is not finite at iteration {losses.iteration}"
                f"{after} (vq_weight {self.vq_weight}, learning_rate {self.config.learning_rate}); "
                "lower generator.learning_rate"
            )
        # Copies, because an optimiser continues with the very tensors that it is given.
        self._set_state({name: value.clone() for name, value in self._good.items()})
        self.rollbacks += 1
        self.iteration -= 1
        self.evaluate()
        self._update()

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors: weights, Adam's moments, the discriminator's too."""
        return {name: value.contiguous() for name, value in self._state().items()}

    def load(self, tensors: dict[str, Tensor], iteration: int, rollbacks: int) -> None:
        """Continue from :meth:`tensors` of that iteration."""
        self._set_state(tensors)
        self.iteration, self.rollbacks = iteration, rollbacks
        self._good, self._pending = {}, None

    def _state(self) -> dict[str, Tensor]:
        """The tensors that an update changes, not copies of them."""
        tensors = {f"model.{name}": value for name, value in self.model.vqgan.state_dict().items()}
        tensors |= moments_of(self._optimiser, "adam")
        if self.discriminator is not None and self._critic is not None:
            tensors |= {f"discriminator.{name}": value for name, value in self.discriminator.state_dict().items()}
            tensors |= moments_of(self._critic, "critic")
        return tensors

    def _set_state(self, tensors: dict[str, Tensor]) -> None:
        self.model.vqgan.load_state_dict(below("model.", tensors))
        load_moments(self._optimiser, "adam", tensors)
        if self.discriminator is not None and self._critic is not None:
            self.discriminator.load_state_dict(below("discriminator.", tensors))
            load_moments(self._critic, "critic", tensors)


def _perceptual(
    config: GeneratorConfig, start: tuple[StartWeights, Path] | None, device: torch.device
) -> nn.Module | None:
    if config.perceptual == "lpips" and start is not None:
        return load_lpips(start[0].perceptual, start[1]).to(device)
    return PerceptualLoss().to(device) if config.perceptual == "lite0" else None


def _start(config: GeneratorConfig) -> tuple[StartWeights, Path] | None:
    file = start_file(config.init)
    return None if file is None else (read_start(file.path), file.path)


def _discriminator(
    config: GeneratorConfig, start: StartWeights | None, seed: int, device: torch.device
) -> PatchDiscriminator | None:
    """The start weights' discriminator, or a fresh one; None if the training never uses it."""
    options = config.discriminator
    if options.start is None:
        return None
    given = start.discriminator if start else {}
    layers = layers_of(set(given)) if given else options.layers or 3
    if options.layers not in (None, layers):
        raise BadInput(
            f"generator.discriminator.layers = {options.layers}, but the start weights' discriminator has {layers}; "
            "leave it out"
        )
    channels = given["main.0.weight"].shape[0] if given else options.channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        discriminator = PatchDiscriminator(layers, channels)
    if given:
        discriminator.load_state_dict(given)
    return discriminator.to(device)


def _compile(vqgan: VQGAN) -> None:
    """Compile encoder and decoder. The last layer stays outside, because the adaptive weight needs its gradient."""
    vqgan.encoder.compile()
    vqgan.decoder.features = torch.compile(vqgan.decoder.features)  # type: ignore[method-assign]


def _gradients(*modules: nn.Module | None) -> list[Tensor]:
    parameters = [p for module in modules if module is not None for p in module.parameters()]
    return [p.grad for p in parameters if p.grad is not None]


def _set_rate(optimiser: Any, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def columns(losses: Iterable[StepLosses]) -> dict[str, list[Any]]:
    """Losses as columns, for Arrow."""
    rows = list(losses)
    return {name: [getattr(row, name) for row in rows] for name in StepLosses.__dataclass_fields__}
