"""The common base of arms with a prompt: their columns, and how their stages are planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from goodshot.components.encoders import encoder_identity
from goodshot.components.generator.config import Variance, detail_side
from goodshot.components.prompts import object_for, open_wordnet, words_of
from goodshot.components.prompts.wordnet import WordNet
from goodshot.runner.arms.base import AddedImages, Arm, Generation, Planner, SeededSupport, Variant
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.stages.variation import VariationStage, variation_stage
from goodshot.runner.store.fingerprint import Canonical, canonical, fingerprint

if TYPE_CHECKING:
    import numpy as np

COLUMNS: Mapping[str, pa.DataType] = {
    "augmentation": pa.string(),
    "preset": pa.string(),
    "init": pa.string(),
    "resolution": pa.int64(),
    "train_samples": pa.int64(),
    "encoder": pa.string(),
    "perceptual": pa.string(),
    "wordnet_source": pa.string(),
    "prompt_kind": pa.string(),
    "prompt": pa.string(),
    "variance": pa.string(),
    "vq_weight": pa.float64(),
    "iterations": pa.int64(),
    "chosen_iteration": pa.int64(),
    "similarity": pa.float64(),
    "seconds_prompt": pa.float64(),
    "seconds_generator": pa.float64(),
}


class TextArm(Arm):
    """An arm whose images come from the study's generator and depend on a prompt."""

    has_text = True
    made_with = ("encoder", "perceptual", "init", "preset", "wordnet_source")

    def declared(self, planner: Planner, category: str) -> dict[str, Any]:
        """The columns that state how the network is trained."""
        study = planner.study
        return {
            "augmentation": study.augmentation_of(category),
            "preset": study.preset,
            "init": study.generator.init,
            "resolution": study.generator.resolution,
            "train_samples": study.generator.train_samples,
            "encoder": study.encoder,
            "perceptual": study.generator.perceptual,
            "wordnet_source": planner.once(wordnet_of).source,
        }

    def varied(self, variant: Variant) -> dict[str, Any]:
        """The columns of the grid point and of the prompt."""
        generation = generation_of(variant)
        return {
            "prompt_kind": generation.prompt_kind,
            "variance": generation.variance,
            "vq_weight": generation.point.vq_weight,
            "iterations": generation.point.iterations,
        }

    def sources(self, study: Declaration) -> bool:
        """True if the study has a predicted variance."""
        return "predicted" in study.variance


def generation_of(variant: Variant) -> Generation:
    """The generation of a variant of a :class:`TextArm`, which is never None."""
    assert variant.generation is not None  # noqa: S101
    return variant.generation


def wordnet_of(planner: Planner) -> WordNet:
    """The study's WordNet."""
    return open_wordnet(planner.study.prompt.wordnet)


def encoder_of(planner: Planner) -> Canonical:
    """The identity of the study's encoder in canonical form."""
    return canonical(encoder_identity(planner.study.encoder, planner.study.encoder_precision), "encoder")


def plan_prompt(planner: Planner, seeded: SeededSupport) -> PromptStage:
    """Add the stage that ranks the prompts of a support."""
    return planner.once(_prompt, seeded.category.name, seeded.support)


def _prompt(planner: Planner, category: str, support: Any) -> PromptStage:
    study, wordnet = planner.study, planner.once(wordnet_of)
    config = study.prompt
    object_name = object_for(category, study.objects)
    objects = (object_for(c.name, study.objects) for c in planner.categories.values())
    words = words_of(object_name, config, wordnet, objects)
    # The words themselves are part of the identity below, not how they were chosen.
    ranking = config.model_dump(mode="json", exclude={"wordnet", "senses", "naive_if_unknown"})
    if config.caption is None:
        del ranking["caption"]  # so that rankings made before there were captions keep their key
    options = {**ranking, "encoder": planner.once(encoder_of)}
    inputs = {"support": list(support.content), "object": object_name, "words": list(words)}
    return planner.add(
        PromptStage(
            key=f"prompt/{fingerprint(PromptStage.kind, PromptStage.version, options, inputs)}",
            resources=study.resources,
            support=support,
            object_name=object_name,
            words=words,
            config=config,
            encoder=study.encoder,
            precision=study.encoder_precision,
        )
    )


def plan_training(planner: Planner, seeded: SeededSupport, generation: Generation) -> TrainingStage:
    """Add the training that makes a generation's image set."""
    return planner.once(_training, seeded, generation.point.vq_weight, generation.variance)


def _training(planner: Planner, seeded: SeededSupport, vq_weight: float, variance: Variance) -> TrainingStage:
    study = planner.study
    config = study.generator.model_copy(update={"variance": variance})
    augmentation = study.augmentation_of(seeded.category.name)
    options = {**config.identity(augmentation), "vq_weight": vq_weight, "seed": seeded.seed}
    if study.resources.generator_workers > 1:
        # Several processes add gradients in another order; the rounding difference may change a codebook index.
        options["workers"] = study.resources.generator_workers
    variation: VariationStage | None = None
    if variance == "predicted":
        start_sha256 = options.get("init_sha256")
        variation = planner.add(
            variation_stage(seeded.category, planner.sources, study.variation, config, augmentation, start_sha256)
        )
        options["variation"] = variation.key
    scoring = {"encoder": planner.once(encoder_of), "score_every": study.score_every}
    inputs = {"support": list(seeded.support.content)}
    return planner.add(
        TrainingStage(
            key=f"generator/{fingerprint(TrainingStage.kind, TrainingStage.version, options, inputs)}",
            resources=study.resources,
            category=seeded.category.name,
            support=seeded.support,
            config=config,
            vq_weight=vq_weight,
            seed=seeded.seed,
            augmentation=augmentation,
            encoder=study.encoder,
            scoring=fingerprint("scoring", 1, scoring, {})[:8],
            score_every=study.score_every,
            start_sha256=options.get("init_sha256"),
            variation=variation.key if variation else None,
            precision=study.encoder_precision,
            samples=planner.samples,
        )
    )


def plan_image_set(
    planner: Planner, training: TrainingStage, generation: Generation, prompt: PromptStage
) -> ImageSetStage:
    """Add the image set of a generation."""
    point = generation.point
    options: dict[str, Any] = {
        "copies": point.copies,
        "iterations": point.iterations,
        "score_every": planner.study.score_every,
        "select": generation.select,
        "detail": generation.detail,
    }
    # With ``select: last`` the images do not depend on the prompt, but the similarity recorded with them does.
    inputs = {"generator": training.key, **text_identity(planner, prompt, generation)}
    return planner.add(
        ImageSetStage(
            key=f"image_set/{fingerprint(ImageSetStage.kind, ImageSetStage.version, options, inputs)}",
            resources=planner.study.resources,
            training=training.id,
            prompt=prompt.key,
            prompt_kind=generation.prompt_kind,
            select=generation.select,
            detail=generation.detail,
            copies=point.copies,
            iterations=point.iterations,
            side=detail_side(generation.detail, planner.study.generator.resolution),
        )
    )


def text_identity(planner: Planner, prompt: PromptStage, generation: Generation) -> dict[str, Any]:
    """The prompt, its kind and the encoder, for a fingerprint."""
    return {"prompt": prompt.key, "kind": generation.prompt_kind, "encoder": planner.once(encoder_of)}


def read_image_set(added: AddedImages, prompt_kind: str, context: Context) -> tuple[np.ndarray, dict[str, Any]]:
    """The images of a set, uint8 RGB (M, R, R, 3), and the columns that state how they were chosen."""
    artifact = context.store.get(str(added.image_set))
    ranking = context.store.get(str(added.prompt)).info
    return artifact.arrays("images.safetensors")["images"], {
        "chosen_iteration": artifact.info["iteration"],
        "similarity": artifact.info["similarity"],
        "seconds_generator": artifact.info["seconds"],
        "prompt": ranking["prompts"][prompt_kind],
        "seconds_prompt": ranking["seconds"],
    }


def similarity_note(row: Mapping[str, Any]) -> str:
    """The end of a caption, such as ``, similarity 0.412``; empty if the row has no similarity."""
    return "" if row["similarity"] is None else f", similarity {row['similarity']:.3f}"
