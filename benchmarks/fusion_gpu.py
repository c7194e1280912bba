"""Step time, images/s and memory of AnomalyXFusion at the published size on one accelerator.

    python -m benchmarks fusion_gpu        a latent diffusion model of ldm_text2im's size at 256²; needs a GPU
    GOODSHOT_BENCH_TINY=1 python -m benchmarks fusion_gpu        a tiny network, anywhere: shows that it works

The base has random weights, which take as long as learned ones, so that nothing has to be fetched. Training is timed
after a few steps, and sampling over whole batches; the memory is the most that torch has reserved of the device.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goodshot.components.defects import DefectImages
    from goodshot.components.fusion.base import Base
    from goodshot.components.fusion.config import FusionConfig
    from goodshot.components.fusion.fusion import Fusion

# Of the published ldm_text2im: 872 million weights in its U-Net.
UNET: dict[str, Any] = {
    "sample_size": 32,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 1280,
    "attention_head_dim": 8,
}
AUTOENCODER: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
}
SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
VARIANTS: dict[str, dict[str, Any]] = {"fp32": {}, "bf16": {"precision": "bf16"}}


def main() -> str:
    """Measure every variant; returns the figures as text."""
    import torch

    tiny = os.environ.get("GOODSHOT_BENCH_TINY") == "1"
    if not tiny and not torch.cuda.is_available():
        return "fusion_gpu: no GPU here; GOODSHOT_BENCH_TINY=1 runs a tiny network instead"
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    lines = [f"fusion_gpu: {name}" + ", tiny network" * tiny]
    for variant, fields in VARIANTS.items():
        try:
            lines.append(f"  {variant}: {_measured(_config(tiny, fields), tiny)}")
        except RuntimeError as error:  # out of memory, say: the other variant may fit
            lines.append(f"  {variant}: does not run here ({' '.join(str(error).split())[:120]})")
    return "\n".join(lines)


def _measured(config: FusionConfig, tiny: bool) -> str:
    import torch

    device = "cuda" if torch.cuda.is_available() and not tiny else "cpu"
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    defects = _defects(config.resolution)
    fusion = _fusion(config, defects, device, tiny)
    warm, steps = 3, 3 if tiny else 20
    fusion.train(warm)
    step = _seconds(lambda: fusion.train(warm + steps), device) / steps
    trained = _gigabytes(device)
    count = 2 * config.sampling.batch
    each = _seconds(lambda: _generate(fusion, defects, count), device) / count
    return (
        f"{step:.3f} s a step, {config.batch / step:.1f} images/s in training ({trained:.2f} GB); "
        f"{each:.3f} s an image of {config.sampling.steps} steps, {1 / each:.2f} images/s ({_gigabytes(device):.2f} GB)"
    )


def _config(tiny: bool, fields: dict[str, Any]) -> FusionConfig:
    from goodshot.components.fusion.config import FusionConfig, published

    if not tiny:
        return published(**fields)
    small = {"channels": [16, 32], "attention_levels": 1}
    return FusionConfig.model_validate(
        {"resolution": 32, "batch": 2, "small": small, "sampling": {"steps": 2}, **fields}
    )


def _fusion(config: FusionConfig, defects: DefectImages, device: str, tiny: bool) -> Fusion:
    import torch

    from goodshot.components.fusion.features import DefectFeatures
    from goodshot.components.fusion.fusion import Fusion
    from goodshot.components.fusion.mask_encoder import new_mask_autoencoder

    torch.manual_seed(0)
    features = DefectFeatures(*torch.randn(2, len(defects), 512).numpy())
    return Fusion(config, defects, features, 0, _base(config, tiny), new_mask_autoencoder(config.masks, 0), device)


def _base(config: FusionConfig, tiny: bool) -> Base:
    from goodshot.components.fusion.base import Base, new_base
    from goodshot.components.fusion.codec import PublishedCodec

    if tiny:
        return new_base(config.resolution, config.small, 0)
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    codec = PublishedCodec(AutoencoderKL(**AUTOENCODER))
    base = Base(UNet2DConditionModel(**UNET), codec, SCHEDULE, config.resolution)
    return base.requires_grad_(False).eval()


def _defects(side: int) -> DefectImages:
    """Crops of a photograph with a square that is marked; time does not depend on what they show."""
    import numpy as np
    import skimage.data

    from goodshot.components.defects import DefectImages

    photograph = np.asarray(skimage.data.coffee())
    images = np.stack([photograph[4 * i : 4 * i + side, 8 * i : 8 * i + side] for i in range(12)])
    masks = np.zeros(images.shape[:3], bool)
    masks[:, side // 3 : side // 2, side // 3 : side // 2] = True
    names = ("cut", "hole") * 6
    return DefectImages(images, masks, names, names)


def _generate(fusion: Fusion, defects: DefectImages, count: int) -> None:
    import numpy as np

    from goodshot.components.defects.placing import PlacingConfig, sites

    indices = range(count)
    everywhere = np.ones(defects.masks.shape, bool)
    fusion.generate(tuple(sites(everywhere, defects, indices, 0, PlacingConfig())), defects.images, 0, indices)


def _seconds(work: Any, device: str) -> float:
    import torch

    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _gigabytes(device: str) -> float:
    import torch

    return torch.cuda.max_memory_reserved() / 1e9 if device == "cuda" else 0.0


if __name__ == "__main__":
    print(main())
