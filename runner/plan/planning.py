"""From studies to work: every cell with its fingerprint, and the stages that it needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from pydantic import ValidationError

from components.data.support import select_support
from components.detectors.config import DetectorConfig
from components.encoders import check_encoder, encoder_identity
from components.errors import BadInput
from components.generator.augment import POLICIES
from components.generator.config import GeneratorConfig, Variance
from components.prompts import object_for, open_wordnet
from runner.arms.arms import TEXT_ARMS, external_folder
from runner.data.catalogue import Category
from runner.plan.plan import (
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
from runner.stages.external import ExternalFolders
from runner.stages.planted import PlantedStage, planted_stage
from runner.stages.variation import VariationStage, variation_stage
from runner.store.fingerprint import Canonical, canonical, fingerprint
from runner.study.problems import first_problem
from runner.study.search import Range, Values, is_search, points_of, space_of
from runner.study.study import Cell, Generation, Point, Study

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
        raise BadInput(f"study {study.name} at {point_label(values)}: {first_problem(Study, error)}") from None
    plan = Plan({category.shard: category for category in declared.categories.values()})
    cells = _Planner(at_point, plan, declared, _samples(study)).add_all()
    plan.cells_of[study.name] = list(dict.fromkeys(cells.values()))
    judged = cells_by_point(cells, at_point.points)
    plan.trials_of[study.name] = [Trial(values, {point.iterations: own for point, own in judged.items()})]
    return plan


def _plan_grid(declared: Declared, plan: Plan) -> None:
    """All cells at once: of thousands, a training is looked up and not planned again."""
    study = declared.study
    cells = _Planner(study, plan, declared).add_all()
    plan.cells_of[study.name] = list(cells.values())
    judged = cells_by_point(cells, study.points)
    for point in study.points:
        plan.trials_of[study.name].append(Trial(asdict(point), {point.iterations: judged[point]}))


def cells_by_point(cells: Mapping[Cell, str], points: Iterable[Point]) -> dict[Point, tuple[str, ...]]:
    """The fingerprints of each point's own generated cells and of the baselines that they meet, in declared order."""
    by_copies: defaultdict[int, list[Point]] = defaultdict(list)
    found: dict[Point, list[str]] = {}
    for point in points:
        found[point] = []
        by_copies[point.copies].append(point)
    for cell, fingerprint_ in cells.items():
        if cell.generation is not None:
            meets: Iterable[Point] = (cell.generation.point,)
        else:
            meets = found if cell.arm == "original" else by_copies[cell.copies]
        for point in meets:
            found[point].append(fingerprint_)
    return {point: tuple(own) for point, own in found.items()}


def _samples(study: Study) -> int:
    """Points that share a training may ask for more copies than the first did: all are sampled from the start."""
    space = space_of(study)
    shared = study.search.is_guided and not isinstance(space["vq_weight"], Range)
    copies = space["copies"]
    return int(copies.high if isinstance(copies, Range) else max(copies)) if shared else 0


@dataclass(frozen=True)
class _Given:
    """One support of a category, and what the identities of its cells have in common."""

    category: Category
    support: Support
    train: Canonical
    planted: PlantedStage | None
    planted_identity: Canonical | None


class _Planner:
    """Adds one study's cells to a plan.

    A study has thousands of cells on a few supports, trainings and detectors: what those have in common is looked up,
    and written down for fingerprints, once.
    """

    def __init__(self, study: Study, plan: Plan, declared: Declared, samples: int = 0) -> None:
        self.study, self.plan, self.samples = study, plan, samples
        self.categories, self.others = declared.categories, declared.sources
        self.folders = ExternalFolders(alone=len(declared.categories) == 1)
        self.wordnet = open_wordnet(study.prompt.wordnet) if study.uses_text else None
        encoder = encoder_identity(study.encoder, study.encoder_precision) if study.uses_text else {}
        self._encoder = canonical(encoder, "encoder")
        self._given = cache(self._read_given)
        self._prompt = cache(self._plan_prompt)
        self._training = cache(self._plan_training)
        self._identity = cache(DetectorConfig.identity)
        self._detector = cache(self._detector_identity)
        self._declared = cache(self._declared_columns)
        self._policy = cache(lambda name: canonical(POLICIES[name].stated(), name))
        self._owed: dict[str, tuple[GeneratorStage, dict[str, ImageSetStage]]] = {}

    def add_all(self) -> dict[Cell, str]:
        """All cells of the study, with their fingerprints."""
        cells = {cell: self._add(cell) for cell in self.study.cells(tuple(self.categories))}
        for stage, image_sets in self._owed.values():
            self.plan.share(replace(stage, image_sets=tuple(image_sets.values())))
        return cells

    def _add(self, cell: Cell) -> str:
        given = self._given(cell.category, cell.support_seed)
        prompt = generator = image_set = None
        if cell.generation is not None:
            prompt = self._prompt(cell.category, cell.support_seed)
            generator, image_set = self._generated(cell, cell.generation, prompt)
        if (folder := external_folder(cell.arm)) is not None:
            supplied = self.folders.image_set(folder, given.category, cell.copies, cell.detector.image_size)
            image_set = self.plan.external.setdefault(supplied.key, supplied).key
        object_name = object_for(cell.category, self.study.objects) if cell.detector.uses_object_name() else None
        added = self._added_images(cell, image_set)
        inputs: dict[str, Any] = {"train": given.train, "added": added, "test": given.category.test_identity}
        if given.planted_identity is not None:
            inputs["planted"] = given.planted_identity
        if self.study.oracle:
            # A fair study never takes over a row of this one, nor this one an unmarked row.
            inputs["oracle"] = self.study.objective
        identity = self._detector(cell.detector, cell.seed, object_name)
        key = fingerprint("detection", DETECTION_VERSION, identity, inputs)
        if key not in self.plan.cells:
            self.plan.cells[key] = PlannedCell(
                fingerprint=key,
                cell=cell,
                study=self.study.name,
                support=given.support,
                control_policy=self.study.control_policy,
                prompt=prompt.key if prompt else None,
                generator=generator,
                image_set=image_set,
                keep_maps=cell.support_seed in (None, self.study.support_seeds[0]),
                declared=self._declared(cell.category, cell.arm),
                planted=given.planted,
                object_name=object_name,
            )
        return key

    def _read_given(self, name: str, support_seed: int | None) -> _Given:
        category = self.categories[name]
        ids = select_support(category.train_ids, self.study.shots_of(name), support_seed or 0)
        support = Support(category.shard, ids, tuple(category.content(ids)))
        planted = None
        if self.study.objective == "planted":
            planted = planted_stage(category.samples, ids, self.study.planted)
        identity = canonical(planted.identity(), "planted") if planted is not None else None
        return _Given(category, support, canonical(support.content, "train"), planted, identity)

    def _detector_identity(self, detector: DetectorConfig, seed: int, object_name: str | None) -> Canonical:
        identity = {**self._identity(detector), "seed": seed}
        if object_name is not None:
            identity["object_name"] = object_name
        return canonical(identity, "detection")

    def _added_images(self, cell: Cell, image_set: str | None) -> dict[str, Any]:
        if cell.arm == "original":
            return {}
        if cell.arm == "augmented":
            return {"augmented": self._policy(self.study.control_policy), "copies": cell.copies, "seed": cell.seed}
        post = cell.generation.post_augment if cell.generation else "none"
        post_policy = self._policy(post) if post != "none" else None
        return {"image_set": image_set, "post_augment": post_policy, "seed": cell.seed if post_policy else None}

    def _plan_prompt(self, category: str, support_seed: int | None) -> PromptStage:
        assert self.wordnet is not None  # noqa: S101 - a study with a generated arm has opened it
        config, support = self.study.prompt, self._given(category, support_seed).support
        object_name = object_for(category, self.study.objects)
        objects = (object_for(c.name, self.study.objects) for c in self.categories.values())
        senses = self.wordnet.own_senses(object_name, config.senses, objects)
        words = self.wordnet.words(object_name, config.hops, config.relations, senses)
        # Neither where the words come from nor which senses they are of: the words themselves count, below.
        chosen = config.model_dump(mode="json", exclude={"wordnet", "senses"})
        options = {**chosen, "encoder": self._encoder}
        inputs = {"support": list(support.content), "object": object_name, "words": list(words)}
        key = f"prompt/{fingerprint('prompt', PROMPT_VERSION, options, inputs)}"
        stage = PromptStage(key, support, object_name, words, config, self.study.encoder, self.study.encoder_precision)
        return self.plan.prompts.setdefault(key, stage)

    def _generated(self, cell: Cell, generation: Generation, prompt: PromptStage) -> tuple[str | None, str]:
        """The flight of the training that a cell needs, None where it needs none, and the key of its image set."""
        stage = self._training(
            cell.category, cell.support_seed, cell.seed, generation.point.vq_weight, generation.variance
        )
        image_set = self._image_set(stage.key, generation, prompt)
        if cell.arm == "vqgan_clip":
            clip = self._vqgan_clip(generation, replace(stage, image_sets=(image_set,)), prompt)
            if not clip.updates:
                return None, clip.key
        self._owed.setdefault(stage.flight, (stage, {}))[1].setdefault(image_set.key, image_set)
        return stage.flight, clip.key if cell.arm == "vqgan_clip" else image_set.key

    def _plan_training(
        self, name: str, support_seed: int | None, seed: int, vq_weight: float, variance: Variance
    ) -> GeneratorStage:
        """A training, without the image sets that cells want of it."""
        study, given = self.study, self._given(name, support_seed)
        config = study.generator.model_copy(update={"variance": variance})
        augmentation = study.augmentation_of(name)
        options = {**config.identity(augmentation), "vq_weight": vq_weight, "seed": seed}
        variation = None
        if config.variance == "predicted":
            variation = self._variation(given.category, config, augmentation, options.get("init_sha256"))
            options["variation"] = variation.key
        inputs = {"support": list(given.support.content)}
        scored = {"encoder": self._encoder, "score_every": study.score_every}
        return GeneratorStage(
            key=f"generator/{fingerprint('generator', GENERATOR_VERSION, options, inputs)}",
            category=name,
            support=given.support,
            config=config,
            vq_weight=vq_weight,
            seed=seed,
            augmentation=augmentation,
            encoder=study.encoder,
            scoring=fingerprint("scoring", 1, scored, {})[:8],
            score_every=study.score_every,
            image_sets=(),
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
        text = {"prompt": prompt.key, "kind": generation.prompt_kind, "encoder": self._encoder}
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
        text = {"prompt": prompt.key, "kind": generation.prompt_kind, "encoder": self._encoder}
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

    def _declared_columns(self, name: str, arm: str) -> dict[str, Any]:
        """The columns that all rows of a category and an arm have in common; those of other arms stay null."""
        study = self.study
        columns: dict[str, Any] = {
            "study": study.name,
            "dataset": self.categories[name].dataset,
            "dev": name in study.dev,
            "objective": study.objective,
            "oracle": study.oracle,
        }
        columns["shots"] = "full" if study.shots_of(name) == "full" else None
        if arm == "augmented":
            columns["augmentation"] = study.control_policy
        if arm in TEXT_ARMS and self.wordnet is not None:
            columns |= {
                "augmentation": study.augmentation_of(name),
                "preset": study.preset,
                "init": study.generator.init,
                "resolution": study.generator.resolution,
                "train_samples": study.generator.train_samples,
                "encoder": study.encoder,
                "perceptual": study.generator.perceptual,
                "wordnet_source": self.wordnet.source,
            }
        return columns


def _check(study: Study, categories: Mapping[str, Category]) -> None:
    """Refuse at the door what would fail in a stage: unknown or missing encoders, random weights."""
    by_category: dict[str, Mapping[str, Any]] = {
        "support": study.support,
        "objects": study.objects,
        "category_augmentation": study.category_augmentation,
    }
    for name, named in by_category.items():
        if unknown := sorted({*named} - {*categories}):
            raise BadInput(f"{name}: {unknown[0]} is no category of the study; there are: {', '.join(categories)}")
    if study.uses_text:
        check_encoder(study.encoder)
