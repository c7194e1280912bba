"""The training data for Lightning: the good images, transformed once, in seeded batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.heartbeat import beat


class GoodImages(Dataset[Tensor]):
    """The training images as the model's input, float32 (3, C, C) each."""

    def __init__(self, images: list[Tensor]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def batches(count: int, config: DetectorConfig, seed: int) -> list[list[int]]:
    """The indices, of `count` images, that each step trains on.

    With `steps`: that many batches cut from shuffled passes; the last batch of a pass is filled up from the next
    pass, so that every step has `batch_size` images. With `epochs`: that many shuffled passes of ⌈count / batch_size⌉
    batches, the last one of a pass smaller; with `epoch_images`, an epoch is so many images, cut from shuffled passes.
    With neither: one pass in the images' order.
    """
    rng, size = np.random.default_rng((seed, 0xDE)), config.batch_size

    def shuffled(wanted: int) -> list[int]:
        passes = -(-wanted // count)
        return [int(i) for _ in range(passes) for i in rng.permutation(count)][:wanted]

    if config.epochs is not None:
        each = config.epoch_images or count
        return [batch for epoch in _cut(shuffled(config.epochs * each), each) for batch in _cut(epoch, size)]
    if config.steps is not None:
        return _cut(shuffled(config.steps * size), size)
    return _cut(list(range(count)), size)


def data_module(images: GoodImages, config: DetectorConfig, seed: int) -> Any:
    """A Lightning data module with a train loader over the batches, which are its `order`.

    Its `each_once` is a loader that yields every image once, in a batch of one.
    """
    import lightning.pytorch as lightning
    from anomalib.data import ImageBatch

    def collate(items: list[Tensor]) -> Any:
        beat()  # once for each training step
        return ImageBatch(image=torch.stack(items), gt_label=torch.zeros(len(items), dtype=torch.bool))

    class Data(lightning.LightningDataModule):
        train_batch_size, order = config.batch_size, batches(len(images), config, seed)

        def train_dataloader(self) -> DataLoader[Tensor]:
            return DataLoader(images, batch_sampler=self.order, collate_fn=collate)

        def each_once(self) -> DataLoader[Tensor]:
            return DataLoader(images, batch_size=1, collate_fn=collate)

    return Data()


def _cut(order: list[int], size: int) -> list[list[int]]:
    return [order[i : i + size] for i in range(0, len(order), size)]
