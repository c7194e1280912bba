"""Cells and the stages that they need, each with the key that identifies it; :mod:`runner.plan.planning` makes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from components.encoders import Precision
from components.generator.config import Detail, GeneratorConfig
from components.generator.vqgan_clip_config import VQGANClipConfig
from components.integrator import Select
from components.prompts import PromptConfig
from runner.data.catalogue import Category
from runner.stages.external import ExternalSet
from runner.stages.planted import PlantedStage
from runner.stages.variation import VariationStage
from runner.study.study import Cell, PromptKind


@dataclass(frozen=True, slots=True)
class Support:
    """The chosen originals of one category: their shard, ids and content hashes."""

    shard: str
    ids: tuple[str, ...]
    content: tuple[str, ...]


@dataclass(frozen=True)
class PromptStage:
    """Rank the candidate prompts of one support. ``key`` is where the ranking goes in the store."""

    key: str
    support: Support
    object_name: str
    words: tuple[str, ...]
    config: PromptConfig
    encoder: str
    precision: Precision = "fp32"


@dataclass(frozen=True, slots=True)
class ImageSetStage:
    """One image set that a generator owes: chosen among its scored iterations up to ``iterations``."""

    key: str
    prompt: str
    prompt_kind: PromptKind
    select: Select
    detail: Detail
    copies: int
    iterations: int


@dataclass(frozen=True)
class GeneratorStage:
    """Train one variance-aware VQGAN and leave the image sets that any cell of any study wants of it.

    ``key`` identifies the training. ``copies`` and ``iterations`` are not in it: they are prefixes of one training.
    """

    key: str
    category: str
    support: Support
    config: GeneratorConfig
    vq_weight: float
    seed: int
    augmentation: str
    encoder: str
    scoring: str
    """Digest of what the embeddings of a trace depend on: the encoder's identity and which iterations are scored."""
    score_every: int
    image_sets: tuple[ImageSetStage, ...]
    start_sha256: str | None = None
    """Of the weights that the training starts from; every node has to have them."""
    variation: VariationStage | None = None
    """Where Σ comes from if it is predicted."""
    precision: Precision = "fp32"
    """What the encoder computes in."""
    samples: int = 0
    """Of each scored iteration at least so many, though no image set asks for them yet: a search may, later."""

    @property
    def flight(self) -> str:
        """One training scored in one way: two studies may score it with different encoders."""
        return f"{self.key}?scoring={self.scoring}"

    @property
    def iterations(self) -> int:
        """The largest declared L."""
        return max(s.iterations for s in self.image_sets)


@dataclass(frozen=True)
class VQGANClipStage:
    """Optimise the latent of a training's network, as it is after ``updates``, towards a prompt, once a copy.

    ``key`` is the image set's; ``images`` is where the single images go, whatever ``copies`` is.
    """

    key: str
    images: str
    training: GeneratorStage
    updates: int
    prompt: str
    prompt_kind: PromptKind
    copies: int
    config: VQGANClipConfig

    @property
    def support(self) -> Support:
        """That of the training."""
        return self.training.support


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell, its fingerprint, the stages before it, and the columns of its row that it shares with others."""

    fingerprint: str
    cell: Cell
    study: str
    support: Support
    control_policy: str
    prompt: str | None
    generator: str | None
    image_set: str | None
    keep_maps: bool
    declared: Mapping[str, Any]
    planted: PlantedStage | None = None
    object_name: str | None = None
    """What the detector is told that the object is called; None for one that does not read it."""

    @property
    def length(self) -> int:
        """The L of its images; 0 of a cell without generated ones."""
        return self.cell.generation.point.iterations if self.cell.generation else 0

    @property
    def columns(self) -> dict[str, Any]:
        """The row's columns that do not depend on running anything; those of other arms are not there."""
        cell, generation = self.cell, self.cell.generation
        columns = {
            **self.declared,
            "category": cell.category,
            "support_seed": cell.support_seed,
            "seed": cell.seed,
            "support_ids": list(self.support.ids),
            "arm": cell.label,
            "copies": cell.copies,
            "detector": cell.detector.label,
            "backbone": cell.detector.uses_backbone(),
            "image_size": cell.detector.image_size,
            "crop": cell.detector.crop,
        }
        columns["shots"] = columns["shots"] or str(len(self.support.ids))
        if generation is None:
            return columns
        columns |= {
            "prompt_kind": generation.prompt_kind,
            "variance": generation.variance,
            "vq_weight": generation.point.vq_weight,
            "iterations": generation.point.iterations,
        }
        # The latent that VQGAN-CLIP optimises is neither selected nor sampled.
        sampled = cell.arm == "generated"
        names = ("select", "detail", "post_augment")
        return columns | {name: getattr(generation, name) if sampled else None for name in names}


@dataclass(frozen=True, slots=True)
class Trial:
    """One point of a study: its values by field, and at each L the fingerprints of the cells that it is judged by."""

    values: Mapping[str, Any]
    cells: Mapping[int, tuple[str, ...]]

    @property
    def key(self) -> str:
        """The same for the same point."""
        return point_key(self.values)

    @property
    def label(self) -> str:
        """For example ``vq_weight=1 copies=10 iterations=60``."""
        return point_label(self.values)


def point_key(values: Mapping[str, Any]) -> str:
    """A point of a search as text, the same whatever the order of its fields."""
    return json.dumps(dict(values), sort_keys=True)


def point_label(values: Mapping[str, Any]) -> str:
    """A point of a search for people."""
    shown = ((name, f"{v:.4g}" if isinstance(v, float) else str(v)) for name, v in values.items())
    return " ".join(f"{name}={text}" for name, text in shown)


@dataclass
class Plan:
    """All cells of some studies, keyed by fingerprint, and the stages that they share."""

    categories: dict[str, Category] = field(default_factory=dict)
    cells: dict[str, PlannedCell] = field(default_factory=dict)
    cells_of: dict[str, list[str]] = field(default_factory=dict)
    trials_of: dict[str, list[Trial]] = field(default_factory=dict)
    external: dict[str, ExternalSet] = field(default_factory=dict)
    vqgan_clip: dict[str, VQGANClipStage] = field(default_factory=dict)
    prompts: dict[str, PromptStage] = field(default_factory=dict)
    variations: dict[str, VariationStage] = field(default_factory=dict)
    generators: dict[str, GeneratorStage] = field(default_factory=dict)

    def category(self, shard: str) -> Category:
        """The category whose shard has this key."""
        return self.categories[shard]

    def merge(self, part: Plan) -> None:
        """Take in another plan's cells and stages; of a training that both have, the image sets of both."""
        for name in ("categories", "cells", "external", "vqgan_clip", "prompts", "variations"):
            getattr(self, name).update(getattr(part, name))
        for stage in part.generators.values():
            self.share(stage)
        for study, fingerprints in part.cells_of.items():
            self.cells_of[study] = list(dict.fromkeys([*self.cells_of.get(study, []), *fingerprints]))
        for study, trials in part.trials_of.items():
            self.trials_of.setdefault(study, []).extend(trials)

    def share(self, stage: GeneratorStage) -> GeneratorStage:
        """The one stage of this training, with the image sets that every cell so far wants of it."""
        known = self.generators.get(stage.flight, stage)
        image_sets = {s.key: s for s in (*known.image_sets, *stage.image_sets)}
        merged = replace(stage, image_sets=tuple(image_sets.values()))
        self.generators[stage.flight] = merged
        return merged


def unshared_steps(planned: Iterable[PlannedCell]) -> int:
    """Generator steps if every image set trained a generator of its own from scratch, as a plain sweep does.

    Cells that differ only in the detector share one even then. Set L is sampled after L − 1 steps.
    """
    own = (p for p in planned if p.cell.arm == "generated")
    trainings = {p.image_set: p.cell.generation.point.iterations for p in own if p.cell.generation}
    return sum(iterations - 1 for iterations in trainings.values())
