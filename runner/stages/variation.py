"""The stage of ``variance: predicted``: a variance head trained on the normal images of other categories.

All generators of a category with the same start weights share one head, whatever their support, seed and λ.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from goodshot.components.data.sample import Sample
from goodshot.components.errors import BadInput
from goodshot.components.generator.augment import POLICIES
from goodshot.components.generator.config import GeneratorConfig, VariationConfig
from goodshot.runner.data.catalogue import Category
from goodshot.runner.stages.base import Context, Stage, Support
from goodshot.runner.stages.shard import read_support
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.fingerprint import fingerprint

if TYPE_CHECKING:
    from goodshot.components.generator.variation import VarianceHead

HEAD = "head.safetensors"
SEED = 0
"""Seed of the head's initial weights and of its pairs, which do not depend on the seed of a support."""


@dataclass(frozen=True)
class SourceImages:
    """The images of one other category: the key of its shard, their ids in it and their SHA-256."""

    shard: str
    ids: tuple[str, ...]
    content: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class VariationStage(Stage):
    """Train one variance head on the normal images of other categories, encoded with the start weights."""

    kind = "variation"
    title = "variance head"
    version = 1

    sources: tuple[SourceImages, ...]
    config: VariationConfig
    generator: GeneratorConfig
    augmentation: str
    start_sha256: str | None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The shards of the other categories."""
        return tuple(source.shard for source in self.sources)

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Encode the sources' images with the start weights, train the head and commit it."""
        make_variation(self, context.store)


def variation_stage(
    category: Category,
    others: Iterable[Category],
    config: VariationConfig,
    generator: GeneratorConfig,
    augmentation: str,
    start_sha256: str | None,
) -> VariationStage:
    """The stage of one category. It uses ``config.images`` normal training images of every other category, the first
    in the order of their SHA-256.

    Images that the category itself contains, also as test images, are excluded in whatever category they occur.
    Categories of another dataset with the same name are excluded too.

    Raises:
        BadInput: no other category has two images.
    """
    excluded = {s.content for s in category.samples}
    sources = []
    for other in sorted(others, key=lambda c: (c.dataset, c.name, c.shard)):
        chosen = _first_by_hash(other.samples, excluded, config.images) if other.name != category.name else []
        if len(chosen) > 1:
            ids, content = tuple(s.image_id for s in chosen), tuple(s.content for s in chosen)
            sources.append(SourceImages(other.shard, ids, content))
    if not sources:
        raise BadInput(
            f"variance: predicted learns from other categories than {category.name}, and there is none with two "
            "normal training images; name datasets in variation_sources"
        )
    options = {
        **config.model_dump(mode="json"),
        "network": generator.vqgan.model_dump(mode="json"),
        "resolution": generator.resolution,
        "augmentations": generator.augmentations,
        "augmentation": POLICIES[augmentation].stated(),
        "init_sha256": start_sha256,
    }
    inputs = {"sources": [list(source.content) for source in sources]}
    key = f"variation/{fingerprint('variation', VariationStage.version, options, inputs)}"
    return VariationStage(
        key=key,
        sources=tuple(sources),
        config=config,
        generator=generator,
        augmentation=augmentation,
        start_sha256=start_sha256,
    )


def _first_by_hash(samples: Sequence[Sample], excluded: set[str], count: int) -> list[Sample]:
    by_hash = {s.content: s for s in samples if s.split == "train" and s.content not in excluded}
    return [by_hash[sha256] for sha256 in sorted(by_hash)[:count]]


def make_variation(stage: VariationStage, store: Store) -> None:
    """Encode the sources' images with the start weights, train the head and commit it."""
    from goodshot.components.generator.start import load_into, read_start
    from goodshot.components.generator.start_file import check_start, start_file
    from goodshot.components.generator.variation import encode_category, save_head, train_variance_head
    from goodshot.components.generator.vqgan import VQGAN

    began = time.perf_counter()
    config = stage.generator
    check_start(config.init, stage.start_sha256)
    start = start_file(config.init)
    assert start is not None  # noqa: S101 - the configuration refuses predicted variance without start weights
    vqgan = VQGAN(config.vqgan, config.resolution).eval()
    load_into(vqgan, read_start(start.path), start.path)
    policy = POLICIES[stage.augmentation]
    encoded = []
    for source in stage.sources:
        images = read_support(Support(source.shard, source.ids, source.content), store)
        encoded.append(encode_category(vqgan, images, config.resolution, policy, config.augmentations, SEED))
    head = train_variance_head(encoded, stage.config, SEED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / HEAD
        save_head(head, path)
        images_used = sum(len(source.ids) for source in stage.sources)
        info = {"images": images_used, "sources": len(stage.sources), "seconds": time.perf_counter() - began}
        store.put(stage.key, {HEAD: path.read_bytes()}, info)


def read_variation(key: str, store: Store) -> VarianceHead:
    """The variance head that :func:`make_variation` committed at ``key``."""
    from goodshot.components.generator.variation import load_head

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / HEAD
        path.write_bytes(store.get(key).read(HEAD))
        return load_head(path)
