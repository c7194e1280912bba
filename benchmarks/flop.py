"""The floating-point operations of a stage at the paper's sizes, counted by torch on the real networks, on a CPU.

Convolutions and matrix products, forward and backward. The generator is counted at a quarter of its side, where it has
a sixteenth of the operations (of its attention layers, a few per mille, fewer); detectors at their own size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.generator.config import GeneratorConfig
from goodshot.runner.cells.detection import DetectionStage
from goodshot.runner.stages.base import Stage
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.stages.vqgan_clip import VQGANClipStage

QUARTER = 4
CLIP_SIDE = 224


def flop_of(stage: Stage, products: Sequence[Stage]) -> tuple[float, int]:
    """The operations of a stage, and how many updates of a network it makes; both 0 for a stage that needs no GPU."""
    if isinstance(stage, TrainingStage):
        updates, scored = stage.steps(products), _scored(stage, products)
        originals = min(len(stage.support.ids), stage.config.originals_per_step)
        return updates * step(stage.config, originals) + scored * (decode(stage.config) + clip(False)), updates
    if isinstance(stage, VQGANClipStage):
        updates = stage.copies * stage.config.iterations
        return updates * (3 * decode(stage.training.config) + stage.config.cutouts * clip(True)), updates
    if isinstance(stage, DetectionStage):
        images = len(stage.support.ids) + stage.cell.copies
        trained, updates = fit(stage.detector, images)
        return trained + stage.n_test * score(stage.detector, images), updates
    return 0.0, 0


def batches_of(detector: DetectorConfig, images: int) -> tuple[int, float]:
    """The batches that a detector is trained on, and their mean size; none for a memory bank."""
    if detector.epochs is None:
        return detector.steps or 0, detector.batch_size
    batches, epoch = detector.steps_on(images), detector.epoch_images or images
    return batches, detector.epochs * epoch / batches


@lru_cache
def step(config: GeneratorConfig, originals: int) -> float:
    """One update of the generator with this many originals: their views and the samples, forward and backward."""
    from goodshot.components.generator.generator import Generator

    small = _small(config)
    generator = Generator([_photograph(small.resolution, k) for k in range(originals)], small, 1.0, 0)
    perceptual = 4 * originals * config.augmentations * lpips() if config.perceptual == "lpips" else 0.0
    return QUARTER**2 * counted(generator.step) + perceptual


@lru_cache
def decode(config: GeneratorConfig) -> float:
    """One image decoded from its latents."""
    import torch

    from goodshot.components.generator.vqgan import VQGAN

    small = _small(config)
    vqgan, side = VQGAN(small.vqgan, small.resolution).eval(), small.resolution // small.vqgan.downsampling
    latents = torch.zeros(1, small.vqgan.latent_channels, side, side)
    with torch.no_grad():
        return QUARTER**2 * counted(lambda: vqgan.decode(latents))


@lru_cache
def lpips() -> float:
    """VGG-16 on one image at 256², which LPIPS compares: three forward passes' worth with a gradient, one without."""
    import torch
    from torchvision.models import vgg16

    with torch.no_grad():
        return counted(lambda: vgg16(weights=None).features(torch.zeros(1, 3, 256, 256)))


@lru_cache
def clip(backward: bool) -> float:
    """One image embedded by CLIP's ViT-B/32, and with ``backward`` the gradient in its pixels."""
    import open_clip
    import torch

    model = open_clip.create_model("ViT-B-32", pretrained=None)
    with torch.no_grad():
        forward = counted(lambda: model.encode_image(torch.zeros(1, 3, CLIP_SIDE, CLIP_SIDE)))
    return forward * (2 if backward else 1)


def fit(detector: DetectorConfig, images: int) -> tuple[float, int]:
    """Training on so many images, and its updates; of a memory bank the images' features, beside which the selection is
    small."""
    batches, size = batches_of(detector, images)
    if not batches:
        return images * score(detector, 0), 0
    flop, updates, more = update(_bare(detector))
    return batches * size * flop, round(batches * (updates + (size - 1) * more))


def score(detector: DetectorConfig, images: int) -> float:
    """One test image: its features and, of a memory bank, their distances to the patches of so many images."""
    features, patches, channels = forward(_bare(detector))
    return features + 2 * patches * channels * int(detector.coreset_ratio * patches * images)


@lru_cache
def update(detector: DetectorConfig) -> tuple[float, float, float]:
    """A trained detector's operations for one image of a batch, the updates that a batch of one image makes, and how
    many more each further image makes: none, except in CFlow, which updates once for so many positions of its features.
    """
    flop, updates = _trained(detector)
    if detector.name == "efficient_ad":  # it takes batches of one image only
        return flop, updates, 0.0
    return flop, updates, _trained(detector.model_copy(update={"batch_size": 2}))[1] - updates


def _trained(detector: DetectorConfig) -> tuple[float, float]:
    """Operations for each image, and updates for each of the two batches of a training."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from goodshot.components.detectors import build_detector

    one = build_detector(detector, 0, "cpu")
    images = np.stack([_photograph(detector.image_size, k) for k in range(2)])
    made: list[object] = []
    handle = register_optimizer_step_post_hook(lambda optimizer, *_: made.append(optimizer))
    flop = counted(lambda: one.fit(images))
    handle.remove()
    return flop / 2 / detector.batch_size, len(made) / 2


@lru_cache
def forward(detector: DetectorConfig) -> tuple[float, int, int]:
    """One image through a detector; of a memory bank also its patches and their channels, 0 for others."""
    from goodshot.components.detectors import SharesFeatures, build_detector

    one: Any = build_detector(detector, 0, "cpu")
    images = np.stack([_photograph(detector.image_size, k) for k in range(2)])
    if isinstance(one, SharesFeatures):
        _, channels, height, width = one.embed(images[:1]).shape
        return counted(lambda: one.embed(images[:1])), height * width, channels
    one.fit(images)
    return counted(lambda: one.score(images[:1])), 0, 0


def counted(run: Callable[[], object]) -> float:
    """The operations of a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def _bare(detector: DetectorConfig) -> DetectorConfig:
    """The detector with random weights, and if it is trained with two updates of one image each."""
    args = {name: value for name, value in detector.args.items() if name != "imagenet_dir"}
    fields: dict[str, Any] = {"weights": "random", "coreset_ratio": 1.0, "args": args, "alias": None}
    if batches_of(detector, 2)[0]:
        fields |= {"epochs": None, "epoch_images": None, "steps": 2, "batch_size": 1}
    return detector.model_copy(update=fields)


def _small(config: GeneratorConfig) -> GeneratorConfig:
    fields = {"resolution": config.resolution // QUARTER, "init": "scratch", "perceptual": "none"}
    return config.model_copy(update=fields)


def _scored(stage: TrainingStage, products: Sequence[Stage]) -> int:
    """The samples that are decoded and embedded."""
    sets = [product for product in products if isinstance(product, ImageSetStage)]
    return int(sum(work.units for work in stage.work(sets, "cuda")[1:]))


def _photograph(side: int, k: int) -> np.ndarray:
    import skimage.data

    return np.ascontiguousarray(skimage.data.coffee()[k : k + side, :side] if side <= 390 else skimage.data.coffee())
