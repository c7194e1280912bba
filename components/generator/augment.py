"""Plain augmentation: mild and roughly aligned for the generator (§4.1.2), and the control arm of every study.

Shapes: B images, H × W pixels. Parameters are drawn on the CPU from (seed, stream, index), so that a view does not
depend on its batch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from goodshot.components.config import Config

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class AugmentationPolicy(Config):
    """Ranges of one augmentation; each value is drawn uniformly in ± its range. All zero: the identity."""

    rotation: float = Field(default=0.0, ge=0, le=180, description="degrees")
    shift: float = Field(default=0.0, ge=0, le=0.5, description="fraction of the side")
    scale: float = Field(default=0.0, ge=0, le=0.5, description="relative")
    brightness: float = Field(default=0.0, ge=0, le=1, description="added, in units of the value range [0, 1]")
    contrast: float = Field(default=0.0, ge=0, le=1, description="relative, around the image's mean")
    colour: float = Field(default=0.0, ge=0, le=1, description="relative gain of each channel")
    flips: bool = Field(default=False, description="each axis flipped with probability one half")
    automatic: Literal["randaugment", "autoaugment"] | None = Field(
        default=None, description="torchvision's, with its own defaults, before the ranges above"
    )

    def stated(self) -> dict[str, Any]:
        """The ranges as plain values, for fingerprints; with ``automatic`` only if it is set."""
        return self.model_dump(mode="json", exclude_none=True)


MILD = AugmentationPolicy(rotation=4, shift=0.02, scale=0.03, brightness=0.04, contrast=0.08, colour=0.03)
STRONG = AugmentationPolicy(rotation=20, shift=0.05, scale=0.1, brightness=0.1, contrast=0.2, colour=0.1, flips=True)
POLICIES: Final[dict[str, AugmentationPolicy]] = {
    "mild": MILD,
    "strong": STRONG,
    "autoaugment": AugmentationPolicy(automatic="autoaugment"),
    "randaugment": AugmentationPolicy(automatic="randaugment"),
}
"""Name → policy, from the weakest to the strongest. The paper cites the last two (Cubuk et al. 2019, 2020)."""


def augment(image: Tensor, policy: AugmentationPolicy, count: int, seed: int, stream: tuple[int, ...]) -> Tensor:
    """``count`` augmented views of one image.

    Args:
        image: (3, H, W) in [0, 1].
        policy: the ranges.
        count: the number of views.
        seed: the run's seed.
        stream: the purpose of the views (an iteration, an original's index …); view i is a function of
        (seed, stream, i) only, so a longer call starts with the same views.

    Returns:
        (count, 3, H, W) in [0, 1]. Border pixels are reflected into areas uncovered by a rotation or shift.
    """
    import torch
    import torch.nn.functional as F

    params = torch.stack([_draw(policy, seed, (*stream, i)) for i in range(count)]).to(image)
    angle, dx, dy, zoom, brightness, contrast = params[:, :6].unbind(1)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    flip_x, flip_y = params[:, 9], params[:, 10]
    theta = torch.stack(
        [torch.stack([cos * flip_x, -sin * flip_y, dx], 1), torch.stack([sin * flip_x, cos * flip_y, dy], 1)], 1
    )
    batch = image.expand(count, *image.shape)
    if policy.automatic is not None:
        batch = torch.stack([_automatic(image, policy.automatic, seed, (*stream, i)) for i in range(count)])
        if policy == AugmentationPolicy(automatic=policy.automatic):
            return batch  # resampling without a change would blur it
    grid = F.affine_grid(theta, list(batch.shape), align_corners=False)
    moved = F.grid_sample(batch, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    toned = (moved - mean) * contrast.view(-1, 1, 1, 1) + mean + brightness.view(-1, 1, 1, 1)
    return (toned * params[:, 6:9].view(-1, 3, 1, 1)).clamp(0, 1)


def augmented_set(originals: list[np.ndarray], policy: AugmentationPolicy, copies: int, seed: int) -> np.ndarray:
    """The control arm's images: ``copies`` views in total; view m belongs to original m mod K.

    Args:
        originals: K arrays uint8 (H, W, 3) of one size.
        copies: M, the total.

    Returns:
        uint8 RGB (M, H, W, 3); a smaller ``copies`` gives exactly the first of them.
    """
    import numpy as np
    import torch

    views = []
    for m in range(copies):
        original = originals[m % len(originals)]
        tensor = torch.from_numpy(np.array(original)).permute(2, 0, 1).float() / 255
        views.append(augment(tensor, policy, 1, seed, (m,))[0])
    return to_uint8(torch.stack(views))


def to_uint8(images: Tensor) -> np.ndarray:
    """Images (B, 3, H, W) in [0, 1] as uint8 RGB (B, H, W, 3), rounded to nearest."""
    import torch

    array = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return array  # type: ignore[no-any-return]


def _automatic(image: Tensor, name: str, seed: int, stream: tuple[int, ...]) -> Tensor:
    """One view (3, H, W) by RandAugment or AutoAugment (its ImageNet policy); uncovered pixels get the mean colour."""
    import numpy as np
    import torch
    from torchvision.transforms import v2

    fill = [int(value * 255) for value in image.mean(dim=(1, 2))]
    transform = v2.RandAugment(fill=fill) if name == "randaugment" else v2.AutoAugment(fill=fill)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.default_rng((seed, 0xA07, *stream)).integers(2**63)))
        view: Tensor = transform((image.clamp(0, 1) * 255).round().to(torch.uint8))
    return view.to(image) / 255


def _draw(policy: AugmentationPolicy, seed: int, stream: tuple[int, ...]) -> Tensor:
    """One view's parameters: angle, dx, dy, zoom, brightness, contrast, three gains, two flips (±1)."""
    import numpy as np
    import torch

    rng = np.random.default_rng((seed, 0xA06, *stream))
    u = rng.uniform(-1, 1, size=9)
    flips = np.where(rng.uniform(size=2) < 0.5, -1.0, 1.0) if policy.flips else np.ones(2)
    values = [
        math.radians(policy.rotation) * u[0],
        2 * policy.shift * u[1],
        2 * policy.shift * u[2],
        1 + policy.scale * u[3],
        policy.brightness * u[4],
        1 + policy.contrast * u[5],
        *(1 + policy.colour * u[6:9]),
        *flips,
    ]
    return torch.tensor(values, dtype=torch.float32)
