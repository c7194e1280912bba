"""From studies to work: every cell with its fingerprint, and the stages that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from components.data.support import select_support
from components.detectors.config import DetectorConfig
from components.encoders import check_encoder, encoder_identity
from components.errors import BadInput
from components.generator.augment import POLICIES
from components.generator.config import GeneratorConfig
from components.prompts import object_for, open_wordnet
from runner.arms import external_folder
from runner.catalogue import Category
from runner.external import ExternalFolders
from runner.fingerprint import fingerprint
from runner.plan import (
    GeneratorStage,
    ImageSetStage,
    Plan,
    PlannedCell,
    PromptStage,
    Support,
    Trial,
    VQGANClipStage,
    point_label,
)
from runner.planted import planted_stage
from runner.search import Range, Values, is_search, points_of, space_of
from runner.study import Cell, Generation, Study
from runner.variation import VariationStage, variation_stage

# Raise a stage's version whenever its code changes what it returns; tests pin a golden output per version.
PROMPT_VERSION = 1
GENERATOR_VERSION = 2
IMAGE_SET_VERSION = 2
DETECTION_VERSION = 2
VQGAN_CLIP_VERSION = 1


@dataclass(frozen=True)
class Declared:
    """A study with its data: its categories, and those that a predicted variance is learned from."""

    study: Study
    categories: Mapping[str, Category]
    sources: Sequence[Category] = ()


def make_plan(declared: Iterable[Declared], guided: bool = False) -> Plan:
    """Expand studies over their categories. Cells and stages that several studies share are planned once.

    Args:
        guided: plan a draw of points for searches that choose theirs as they go; without, these have none yet.
    """
    plan = Plan()
    for each in declared:
        study = each.study
        _check(study, each.categories)
        plan.categories |= {category.shard: category for category in each.categories.values()}
        plan.cells_of[study.name], plan.trials_of[study.name] = [], []
        if is_search(study):
            for values in points_of(study) if guided or not study.search.is_guided else ():
                plan.merge(plan_point(each, values))
        else:
            _plan_grid(each, plan)
    return plan


def plan_point(declared: Declared, values: Values) -> Plan:
    """One point of a search: its trial, cells and stages. Raises :class:`BadInput` if the study cannot have it."""
    study = declared.study
    try:
        at_point = study.at(values)
    except ValidationError as error:
        raise BadInput(f"study {study.name} at {point_label(values)}: {error.errors()[0]['msg']}") from None
    plan = Plan({category.shard: category for category in declared.categories.values()})
    cells = _Planner(at_point, plan, declared, _samples(study)).add_all()
    plan.cells_of[study.name] = list(dict.fromkeys(cells.values()))
    by_l = {point.iterations: tuple(f for cell, f in cells.items() if cell.serves(point)) for point in at_point.points}
    plan.trials_of[study.name] = [Trial(values, by_l)]
    return plan


def _plan_grid(declared: Declared, plan: Plan) -> None:
    """All cells at once: of thousands, a training is looked up and not planned again."""
    study = declared.study
    cells = _Planner(study, plan, declared).add_all()
    plan.cells_of[study.name] = list(cells.values())
    for point in study.points:
        own = tuple(f for cell, f in cells.items() if cell.serves(point))
        plan.trials_of[study.name].append(Trial(asdict(point), {point.iterations: own}))


def _samples(study: Study) -> int:
    """Points that share a training may ask for more copies than the first did: all are sampled from the start."""
    space = space_of(study)
    shared = study.search.is_guided and not isinstance(space["vq_weight"], Range)
    copies = space["copies"]
    return int(copies.high if isinstance(copies, Range) else max(copies)) if shared else 0


class _Planner:
    """Adds one study's cells to a plan."""

    def __init__(self, study: Study, plan: Plan, declared: Declared, samples: int = 0) -> None:
        self.study, self.plan, self.samples = study, plan, samples
        self.categories, self.others = declared.categories, declared.sources
        self.folders = ExternalFolders(alone=len(declared.categories) == 1)
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

    def add_all(self) -> dict[Cell, str]:
        """All cells of the study, with their fingerprints."""
        cells = self.study.cells(tuple(self.categories))
        return {cell: self.add(cell, self.categories[cell.category]) for cell in cells}

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
        objects = (object_for(c.name, self.study.objects) for c in self.categories.values())
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
            samples=self.samples,
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
