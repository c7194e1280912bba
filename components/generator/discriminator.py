"""The adversarial term of L_vq (Esser et al. 2021, eq. 5–7): a PatchGAN with the published checkpoints' names.

# B images in [−1, 1], (B, 3, H, W); logits (B, 1, h', w'), one per patch
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_WEIGHT = 1e4
GRADIENT_FLOOR = 1e-4
WIDEST = 8


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017): ``layers`` 4×4 convolutions of stride 2, one of stride 1, then one logit a patch.

    Args:
        layers: 3 for the published K = 1024 model, 2 for K = 16384.
        channels: ndf, the width of the first layer; each further one is twice as wide, up to eight times.
    """

    def __init__(self, layers: int = 3, channels: int = 64) -> None:
        super().__init__()
        widths = [channels * min(2**n, WIDEST) for n in range(layers + 1)]
        modules: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for n in range(1, layers + 1):
            stride = 2 if n < layers else 1
            modules.append(nn.Conv2d(widths[n - 1], widths[n], 4, stride=stride, padding=1, bias=False))
            modules += [BatchStatisticsNorm(widths[n]), nn.LeakyReLU(0.2)]
        modules.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.main = nn.Sequential(*modules)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [−1, 1] → logits (B, 1, h', w'), high for patches that look real."""
        logits: Tensor = self.main(images)
        return logits


class BatchStatisticsNorm(nn.BatchNorm2d):
    """Batch normalisation that always uses the batch's own statistics and never updates the running ones.

    The discriminator only runs in training. Running statistics would be state that depends on how often a step
    was evaluated; published ones are not changed.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def layers_of(names: set[str]) -> int:
    """The number of layers of a published discriminator, from its parameters' names (``main.N.weight`` …).

    Layer n ≥ 1 is a convolution, a norm and an activation, so the last convolution is number 2 + 3·layers.
    """
    return (max(int(name.split(".")[1]) for name in names) - 2) // 3


def generator_hinge(logits_fake: Tensor) -> Tensor:
    """The generator's adversarial loss: −mean D(x̂), a scalar."""
    return -logits_fake.mean()


def discriminator_hinge(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """The discriminator's loss: ½ (mean max(0, 1 − D(x)) + mean max(0, 1 + D(x̂))), a scalar ≥ 0."""
    return 0.5 * (F.relu(1.0 - logits_real).mean() + F.relu(1.0 + logits_fake).mean())


def adaptive_weight(nll: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """λ of Esser et al. 2021, eq. 7: ‖∇nll‖ / (‖∇g‖ + 1e-4) at the decoder's last layer, in [0, 1e4], detached.

    Args:
        nll: mean(|x − x̂| + perceptual), a scalar with a graph, which is kept.
        adversarial: :func:`generator_hinge`, likewise.
        last_layer: the weight of the decoder's last convolution.
    """
    (of_nll,) = torch.autograd.grad(nll, last_layer, retain_graph=True)
    (of_adversarial,) = torch.autograd.grad(adversarial, last_layer, retain_graph=True)
    ratio: Tensor = of_nll.norm() / (of_adversarial.norm() + GRADIENT_FLOOR)
    return ratio.clamp(0.0, MAX_WEIGHT).detach()
