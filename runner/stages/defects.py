"""Shared values of a category for making defects: its defective images, its good images, and the product's area.

A study learns only from the first third of each type's defective images. All other defective images and all good images
of the test split are test images. `goodshot synthesize` tests nothing, so all of a user's defective photographs are
training images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from goodshot.components.data.sample import Sample, SplitName, category_fingerprint
from goodshot.components.data.shards import SUFFIX, decode, read_split
from goodshot.runner.stages.base import SharedValue, Support
from goodshot.runner.stages.shard import read_support
from goodshot.runner.store.artifacts import Store

if TYPE_CHECKING:
    import numpy as np

    from goodshot.components.defects import DefectImages


@dataclass(frozen=True)
class SeenDefects(SharedValue):
    """Real defective images of one category.

    shard: the key of the category's shard.
    ids, types, captions: the id, the defect type and the caption of each image.
    content: a hash of each image with its masks and labels.
    side: the side in pixels to which the images are resized.
    split: the split of the category that contains the images.
    """

    takes = "cpu"
    shard: str
    ids: tuple[str, ...]
    types: tuple[str, ...]
    captions: tuple[str, ...]
    content: tuple[str, ...]
    side: int
    split: SplitName = "test"

    @classmethod
    def of(cls, shard: str, samples: Iterable[Sample], captions: Sequence[str], side: int) -> SeenDefects:
        """The defective images of some samples, which are in one split of a category.

        Args:
            shard: the key of the category's shard.
            samples: the images.
            captions: one caption for each sample.
            side: the side in pixels to which the images are resized.
        """
        chosen = tuple(samples)
        return cls(
            shard,
            tuple(sample.image_id for sample in chosen),
            tuple(sample.defect_type for sample in chosen),
            tuple(captions),
            tuple(category_fingerprint([sample]) for sample in chosen),
            side,
            chosen[0].split if chosen else "test",
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The defect types of the images, each once, sorted."""
        return tuple(sorted(set(self.types)))

    def identity(self) -> dict[str, Any]:
        """The values that identify the images and captions in a fingerprint."""
        return {"content": list(self.content), "captions": list(self.captions), "side": self.side}

    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> DefectImages:
        """Decode the images and masks, resized to ``side``."""
        import numpy as np

        from goodshot.components.defects import DefectImages

        if not self.ids:
            nothing = np.empty((0, self.side, self.side, 3), np.uint8)
            return DefectImages(nothing, nothing[..., 0].astype(np.bool_), (), ())
        artifact = store.get(self.shard)
        table = read_split(artifact.path(f"{self.split}{SUFFIX}"), image_ids=self.ids, filesystem=artifact.filesystem)
        split = decode(table, self.side, threads)
        return DefectImages(split.images, split.masks, self.types, self.captions)


@dataclass(frozen=True)
class GoodImages(SharedValue):
    """A support's originals as one array uint8 (K, side, side, 3), on which defects are made."""

    takes = "cpu"
    support: Support
    side: int

    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> np.ndarray:
        """Decode the originals, resized to ``side``."""
        import numpy as np

        return np.stack(read_support(self.support, store, self.side))


@dataclass(frozen=True)
class Products(SharedValue):
    """The area of the product on good images, bool (K, S, S)."""

    takes = "cpu"
    goods: GoodImages

    @property
    def inputs(self) -> tuple[SharedValue, ...]:
        """The good images."""
        return (self.goods,)

    def load(self, store: Store, inputs: Sequence[Any], device: str, threads: int) -> np.ndarray:
        """Find the product on each image."""
        from goodshot.components.defects.foreground import foreground

        (goods,) = inputs
        return foreground(goods)
