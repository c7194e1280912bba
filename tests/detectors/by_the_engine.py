"""anomalib run as its users run it: its Lightning module with its preprocessor, its Engine, fit and predict.

Only three things are ours, so that the same numbers can come out at all: which images make which batch (anomalib
shuffles), the seed, and EfficientAD's quantiles, which anomalib takes from validation images and we from the good ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from goodshot.components.detectors import DetectorConfig
from goodshot.components.detectors.anomalib_model import everything_seeded
from goodshot.components.detectors.models import find_model
from goodshot.components.detectors.training_data import batches

CPU = torch.device("cpu")
EFFICIENT_AD, PATCHCORE = "efficient_ad", "patchcore"


@dataclass(frozen=True)
class Predicted:
    """Raw scores (T,) and maps (T, h, w)."""

    image: NDArray[np.float32]
    maps: NDArray[np.float32]


def by_the_engine(
    config: DetectorConfig, train: NDArray[np.uint8], test: NDArray[np.uint8], seed: int, folder: Path
) -> Predicted:
    """Fit on train (N, H, W, 3) and predict test images of the same size."""
    from anomalib.engine import Engine
    from lightning.pytorch import LightningDataModule

    raw, name = as_tensor(train), find_model(config.name).name

    class Data(LightningDataModule):
        name, category, train_batch_size = "images", "good", config.batch_size

        def train_dataloader(self) -> DataLoader[Any]:
            order = [[*range(len(raw))]] if config.name == PATCHCORE else batches(len(raw), config, seed)
            return loader(raw, order)

    module = built(config, seed)
    data, alone = Data(), [[i] for i in range(len(raw))]
    if name == EFFICIENT_AD:
        measure = module.teacher_channel_mean_std
        module.teacher_channel_mean_std = lambda _: measure(transformed(module, loader(raw, alone)))
    if name == PATCHCORE:
        select = module.fit
        # Loading images draws random numbers too; ours are seeded where the selection starts.
        module.fit = lambda: seeded_call(select, seed)
    engine = Engine(
        max_epochs=1, limit_val_batches=0, barebones=True, accelerator="cpu", devices=1, default_root_dir=folder
    )
    with everything_seeded(seed, CPU):
        engine.fit(module, datamodule=data)
        if name == EFFICIENT_AD:
            module.eval()
            module.model.quantiles.update(module.map_norm_quantiles(transformed(module, loader(raw, alone))))
    shown = as_tensor(test)
    with torch.no_grad():
        found = engine.predict(module, dataloaders=DataLoader(list(shown), collate_fn=collate))  # type: ignore[arg-type]
    side = found[0].anomaly_map.shape[-1]
    return Predicted(
        np.array([batch.pred_score.item() for batch in found], np.float32),
        np.stack([batch.anomaly_map.reshape(side, side).numpy() for batch in found]),
    )


def built(config: DetectorConfig, seed: int) -> Any:
    """anomalib's module, its networks' weights drawn from the seed or those of the embedded backbone."""
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, InterpolationMode, Normalize, Resize

    from goodshot.components.weights import efficientnet_lite0_state_dict

    model, embedded = find_model(config.name), config.backbone == "efficientnet_lite0"
    arguments: dict[str, Any] = dict(config.args)
    if "backbone" in model.arguments:
        arguments |= {"backbone": "tf_efficientnet_lite0" if embedded else config.backbone}
        arguments |= {"layers": list(config.layers or ())}
        arguments |= {"pre_trained": False} if "pre_trained" in model.arguments else {}
    if config.name == PATCHCORE:
        arguments |= {"coreset_sampling_ratio": config.coreset_ratio, "num_neighbors": config.num_neighbors}
    cls = getattr(importlib.import_module(model.module), model.cls)
    size = (config.image_size, config.image_size)
    if embedded:
        resize = Resize(size, interpolation=InterpolationMode.BICUBIC, antialias=True)
        pre_processor = PreProcessor(transform=Compose([resize, Normalize([0.5] * 3, [0.5] * 3)]))
    elif config.crop:
        pre_processor = cls.configure_pre_processor(size, center_crop_size=(config.crop, config.crop))
    else:
        pre_processor = cls.configure_pre_processor(size)
    with everything_seeded(seed, CPU), untrained():
        module = cls(**arguments, pre_processor=pre_processor, post_processor=False, evaluator=False, visualizer=False)
    if config.learning_rate is not None and "lr" in model.arguments:
        # Lightning's modules keep it under either name.
        module.learning_rate = module.lr = config.learning_rate
    if name_is(config, EFFICIENT_AD):
        module.prepare_pretrained_model = lambda: None
    if embedded:
        extractor = module.model.encoder if name_is(config, "cflow") else module.model.feature_extractor
        extractor.feature_extractor.load_state_dict(efficientnet_lite0_state_dict(), strict=False)
    return module


def name_is(config: DetectorConfig, name: str) -> bool:
    return find_model(config.name).name == name


@contextmanager
def untrained() -> Iterator[None]:
    """Networks without their pretrained weights, for models that know no other way."""
    import open_clip
    import timm

    network, clip = timm.create_model, open_clip.create_model_and_transforms
    timm.create_model = lambda *a, **k: network(*a, **{**k, "pretrained": False})
    open_clip.create_model_and_transforms = lambda *a, **k: clip(*a, **{**k, "pretrained": None})
    try:
        yield
    finally:
        timm.create_model, open_clip.create_model_and_transforms = network, clip


def as_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """(N, H, W, 3) → float (N, 3, H, W) in [0, 1], laid out as torchvision's resize rounds best."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).contiguous()


def loader(images: torch.Tensor, order: list[list[int]]) -> DataLoader[Any]:
    return DataLoader(list(images), batch_sampler=order, collate_fn=collate)  # type: ignore[arg-type]


def collate(items: list[torch.Tensor]) -> Any:
    from anomalib.data import ImageBatch

    return ImageBatch(image=torch.stack(items), gt_label=torch.zeros(len(items), dtype=torch.bool))


def transformed(module: Any, batches: DataLoader[Any]) -> list[Any]:
    """The Engine's preprocessor does not reach loaders that a module reads itself."""
    found = list(batches)
    for batch in found:
        batch.image = module.pre_processor.transform(batch.image)
    return found


def seeded_call(call: Any, seed: int) -> None:
    with everything_seeded(seed, CPU):
        call()
