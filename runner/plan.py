"""From studies to work: every cell with its fingerprint, and the stages that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from components.data.support import select_support
from components.detectors.config import DetectorConfig
from components.encoders import Precision, check_encoder, encoder_identity
from components.errors import BadInput
from components.generator.augment import POLICIES
from components.generator.config import Detail, GeneratorConfig
from components.generator.vqgan_clip_config import VQGANClipConfig
from components.integrator import Select
from components.prompts import PromptConfig, object_for, open_wordnet
from runner.arms import external_folder
from runner.catalogue import Category
from runner.external import ExternalFolders, ExternalSet
from runner.fingerprint import fingerprint
from runner.planted import PlantedStage, planted_stage
from runner.study import Cell, Generation, PromptKind, Study
from runner.variation import VariationStage, variation_stage

# Raise a stage's version whenever its code changes what it returns; tests pin a golden output per version.
PROMPT_VERSION = 1
GENERATOR_VERSION = 2
IMAGE_SET_VERSION = 2
DETECTION_VERSION = 2
VQGAN_CLIP_VERSION = 1


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class PlannedCell:
    """A cell, its fingerprint, the stages before it, and the columns of its row that are known beforehand."""

    fingerprint: str
    cell: Cell
    study: str
    support: Support
    control_policy: str
    prompt: str | None
    generator: str | None
    image_set: str | None
    keep_maps: bool
    columns: Mapping[str, Any]
    planted: PlantedStage | None = None
    object_name: str | None = None
    """What the detector is told that the object is called; None for one that does not read it."""


@dataclass
class Plan:
    """All cells of some studies, keyed by fingerprint, and the stages that they share."""

    categories: dict[str, Category] = field(default_factory=dict)
    cells: dict[str, PlannedCell] = field(default_factory=dict)
    cells_of: dict[str, list[str]] = field(default_factory=dict)
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
            known = self.cells_of.setdefault(study, [])
            known.extend(f for f in dict.fromkeys(fingerprints) if f not in {*known})

    def share(self, stage: GeneratorStage) -> GeneratorStage:
        """The one stage of this training, with the image sets that every cell so far wants of it."""
        known = self.generators.get(stage.flight, stage)
        image_sets = {s.key: s for s in (*known.image_sets, *stage.image_sets)}
        merged = replace(stage, image_sets=tuple(image_sets.values()))
        self.generators[stage.flight] = merged
        return merged


def make_plan(
    studies: Sequence[tuple[Study, Mapping[str, Category]]],
    sources: Mapping[str, Sequence[Category]] = MappingProxyType({}),
) -> Plan:
    """Expand studies over their categories. Cells and stages that several studies share are planned once.

    Args:
        sources: by study, the categories that a predicted variance is learned from.
    """
    plan = Plan()
    for study, categories in studies:
        _check(study, categories)
        others = sources.get(study.name, ())
        planner = _Planner(study, plan, ExternalFolders(alone=len(categories) == 1), others)
        for category in categories.values():
            plan.categories[category.shard] = category
        cells = study.cells(tuple(categories))
        plan.cells_of[study.name] = [planner.add(cell, categories[cell.category]) for cell in cells]
    return plan


def unshared_steps(planned: Iterable[PlannedCell]) -> int:
    """Generator steps if every image set trained a generator of its own from scratch, as a plain sweep does.

    Cells that differ only in the detector share one even then. Set L is sampled after L − 1 steps.
    """
    own = (p for p in planned if p.cell.arm == "generated")
    trainings = {p.image_set: p.cell.generation.point.iterations for p in own if p.cell.generation}
    return sum(iterations - 1 for iterations in trainings.values())


class _Planner:
    """Adds one study's cells to a plan."""

    def __init__(self, study: Study, plan: Plan, folders: ExternalFolders, others: Sequence[Category]) -> None:
        self.study, self.plan, self.folders, self.others = study, plan, folders, others
        self.wordnet = open_wordnet(study.prompt.wordnet) if study.uses_text else None
        self._identities: dict[str, dict[str, Any]] = {}
        self.encoder_id = encoder_identity(study.encoder, study.encoder_precision) if study.uses_text else {}

    def _detector_identity(self, detector: DetectorConfig) -> dict[str, Any]:
        """Looked up once a study: it asks for the weights, and a study has thousands of cells."""
        key = detector.model_dump_json()
        if key not in self._identities:
            self._identities[key] = detector.identity()
        return self._identities[key]

    def _generator_identity(self, config: GeneratorConfig, augmentation: str) -> dict[str, Any]:
        key = f"{augmentation} {config.model_dump_json()}"
        if key not in self._identities:
            self._identities[key] = config.identity(augmentation)
        return self._identities[key]

    def add(self, cell: Cell, category: Category) -> str:
        ids = select_support(category.train_ids, self.study.shots_of(category.name), cell.support_seed or 0)
        support = Support(category.shard, ids, tuple(category.content(ids)))
        prompt = generator = image_set = None
        if cell.generation is not None:
            prompt = self._prompt(cell, support)
            stage = self._training(cell, category, cell.generation, support, prompt)
            if cell.arm == "vqgan_clip":
                clip = self._vqgan_clip(cell.generation, stage, prompt)
                image_set, trained = clip.key, clip.updates > 0
            else:
                image_set, trained = stage.image_sets[0].key, True
            generator = self.plan.share(stage).flight if trained else None
        if (folder := external_folder(cell.arm)) is not None:
            supplied = self.folders.image_set(folder, category, cell.copies, cell.detector.image_size)
            image_set = self.plan.external.setdefault(supplied.key, supplied).key
        added = self._added_images(cell, image_set)
        identity = {**self._detector_identity(cell.detector), "seed": cell.seed}
        object_name = object_for(cell.category, self.study.objects) if cell.detector.uses_object_name() else None
        if object_name is not None:
            identity["object_name"] = object_name
        inputs = {"train": list(support.content), "added": added, "test": category.test_identity}
        planted = planted_stage(category.samples, ids, self.study.planted) if self._is_planted else None
        if planted is not None:
            inputs["planted"] = planted.identity()
        if self.study.oracle:
            # A fair study never takes over a row of this one, nor this one an unmarked row.
            inputs["oracle"] = self.study.objective
        key = fingerprint("detection", DETECTION_VERSION, identity, inputs)
        if key not in self.plan.cells:
            self.plan.cells[key] = PlannedCell(
                fingerprint=key,
                cell=cell,
                study=self.study.name,
                support=support,
                control_policy=self.study.control_policy,
                prompt=prompt.key if prompt else None,
                generator=generator,
                image_set=image_set,
                keep_maps=cell.support_seed in (None, self.study.support_seeds[0]),
                columns=self._columns(cell, category, support),
                planted=planted,
                object_name=object_name,
            )
        return key

    @property
    def _is_planted(self) -> bool:
        return self.study.objective == "planted"

    def _added_images(self, cell: Cell, image_set: str | None) -> dict[str, Any]:
        if cell.arm == "original":
            return {}
        if cell.arm == "augmented":
            policy = POLICIES[self.study.control_policy].stated()
            return {"augmented": policy, "copies": cell.copies, "seed": cell.seed}
        post = cell.generation.post_augment if cell.generation else "none"
        post_policy = POLICIES[post].stated() if post != "none" else None
        return {"image_set": image_set, "post_augment": post_policy, "seed": cell.seed if post_policy else None}

    def _prompt(self, cell: Cell, support: Support) -> PromptStage:
        assert self.wordnet is not None  # noqa: S101 - a study with a generated arm has opened it
        config = self.study.prompt
        object_name = object_for(cell.category, self.study.objects)
        objects = (object_for(c.name, self.study.objects) for c in self.plan.categories.values())
        senses = self.wordnet.own_senses(object_name, config.senses, objects)
        words = self.wordnet.words(object_name, config.hops, config.relations, senses)
        # Neither where the words come from nor which senses they are of: the words themselves count, below.
        chosen = config.model_dump(mode="json", exclude={"wordnet", "senses"})
        options = {**chosen, "encoder": dict(self.encoder_id)}
        inputs = {"support": list(support.content), "object": object_name, "words": list(words)}
        key = f"prompt/{fingerprint('prompt', PROMPT_VERSION, options, inputs)}"
        stage = PromptStage(key, support, object_name, words, config, self.study.encoder, self.study.encoder_precision)
        return self.plan.prompts.setdefault(key, stage)

    def _training(
        self, cell: Cell, category: Category, generation: Generation, support: Support, prompt: PromptStage
    ) -> GeneratorStage:
        """The training that one cell asks for, with the one image set that it wants of it."""
        study = self.study
        config = study.generator.model_copy(update={"variance": generation.variance})
        augmentation = study.augmentation_of(cell.category)
        options = {
            **self._generator_identity(config, augmentation),
            "vq_weight": generation.point.vq_weight,
            "seed": cell.seed,
        }
        variation = None
        if config.variance == "predicted":
            variation = self._variation(category, config, augmentation, options.get("init_sha256"))
            options["variation"] = variation.key
        key = f"generator/{fingerprint('generator', GENERATOR_VERSION, options, {'support': list(support.content)})}"
        image_set = self._image_set(key, generation, prompt)
        scored = {"encoder": dict(self.encoder_id), "score_every": study.score_every}
        return GeneratorStage(
            key=key,
            category=cell.category,
            support=support,
            config=config,
            vq_weight=generation.point.vq_weight,
            seed=cell.seed,
            augmentation=augmentation,
            encoder=study.encoder,
            scoring=fingerprint("scoring", 1, scored, {})[:8],
            score_every=study.score_every,
            image_sets=(image_set,),
            start_sha256=options.get("init_sha256"),
            variation=variation,
            precision=study.encoder_precision,
        )

    def _variation(
        self, category: Category, config: GeneratorConfig, augmentation: str, start_sha256: str | None
    ) -> VariationStage:
        stage = variation_stage(category, self.others, self.study.variation, config, augmentation, start_sha256)
        for other in self.others:
            self.plan.categories.setdefault(other.shard, other)
        return self.plan.variations.setdefault(stage.key, stage)

    def _vqgan_clip(self, generation: Generation, training: GeneratorStage, prompt: PromptStage) -> VQGANClipStage:
        """The network is that of the last declared L; a published one (``init``) is taken as it is."""
        config = self.study.vqgan_clip
        updates = generation.point.iterations - 1 if self.study.generator.init == "scratch" else 0
        text = {"prompt": prompt.key, "kind": generation.prompt_kind, "encoder": dict(self.encoder_id)}
        inputs = {"generator": training.key, "updates": updates, **text}
        images = f"vqgan_clip/{fingerprint('vqgan_clip', VQGAN_CLIP_VERSION, config.model_dump(mode='json'), inputs)}"
        copies = generation.point.copies
        key = f"image_set/{fingerprint('vqgan_clip_set', VQGAN_CLIP_VERSION, {'copies': copies}, {'images': images})}"
        stage = VQGANClipStage(key, images, training, updates, prompt.key, generation.prompt_kind, copies, config)
        return self.plan.vqgan_clip.setdefault(key, stage)

    def _image_set(self, generator: str, generation: Generation, prompt: PromptStage) -> ImageSetStage:
        point = generation.point
        options: dict[str, Any] = {
            "copies": point.copies,
            "iterations": point.iterations,
            "score_every": self.study.score_every,
            "select": generation.select,
            "detail": generation.detail,
        }
        # The last set is the same whatever the text, but the similarity that is recorded of it is not.
        text = {"prompt": prompt.key, "kind": generation.prompt_kind, "encoder": dict(self.encoder_id)}
        inputs: dict[str, Any] = {"generator": generator, **text}
        key = f"image_set/{fingerprint('image_set', IMAGE_SET_VERSION, options, inputs)}"
        return ImageSetStage(
            key=key,
            prompt=prompt.key,
            prompt_kind=generation.prompt_kind,
            select=generation.select,
            detail=generation.detail,
            copies=point.copies,
            iterations=point.iterations,
        )

    def _columns(self, cell: Cell, category: Category, support: Support) -> dict[str, Any]:
        """The row's columns that do not depend on running anything; those of other arms stay null."""
        study, generation = self.study, cell.generation
        columns: dict[str, Any] = {
            "study": study.name,
            "dataset": category.dataset,
            "category": cell.category,
            "dev": cell.category in study.dev,
            "shots": "full" if study.shots_of(category.name) == "full" else str(len(support.ids)),
            "support_seed": cell.support_seed,
            "seed": cell.seed,
            "support_ids": list(support.ids),
            "arm": cell.label,
            "copies": cell.copies,
            "detector": cell.detector.label,
            "backbone": cell.detector.uses_backbone(),
            "image_size": cell.detector.image_size,
            "crop": cell.detector.crop,
            "objective": study.objective,
            "oracle": study.oracle,
        }
        if cell.arm == "augmented":
            columns["augmentation"] = study.control_policy
        if generation is not None and self.wordnet is not None:
            columns |= {
                "prompt_kind": generation.prompt_kind,
                "select": generation.select,
                "variance": generation.variance,
                "detail": generation.detail,
                "post_augment": generation.post_augment,
                "augmentation": study.augmentation_of(cell.category),
                "preset": study.preset,
                "init": study.generator.init,
                "resolution": study.generator.resolution,
                "train_samples": study.generator.train_samples,
                "vq_weight": generation.point.vq_weight,
                "iterations": generation.point.iterations,
                "encoder": study.encoder,
                "perceptual": study.generator.perceptual,
                "wordnet_source": self.wordnet.source,
            }
        if cell.arm == "vqgan_clip":
            columns |= dict.fromkeys(("select", "detail", "post_augment"))
        return columns


def _check(study: Study, categories: Mapping[str, Category]) -> None:
    """Refuse at the door what would fail in a stage: unknown or missing encoders, random weights."""
    for name, named in (("support", study.support), ("category_augmentation", study.category_augmentation)):
        if unknown := sorted({*named} - {*categories}):
            raise BadInput(f"{name}: {unknown[0]} is no category of the study; there are: {', '.join(categories)}")
    if study.uses_text:
        check_encoder(study.encoder)
