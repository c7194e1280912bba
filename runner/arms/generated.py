"""The arm ``generated``: image sets of the variance-aware generator (§4.1.2), chosen by the text (§4.2)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from goodshot.runner.arms import text
from goodshot.runner.arms.base import AddedImages, Generation, Planner, SeededSupport, Variant
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, Support
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.stages.variation import VariationStage

if TYPE_CHECKING:
    import numpy as np


class Generated(text.TextArm):
    """Adds image sets of the study's generators, for every grid point and value of the fields varied within the arm."""

    name = label = "generated"
    colour = "#009E73"
    has_trace = True
    stages = (PromptStage, VariationStage, TrainingStage, ImageSetStage)
    point_fields = ("vq_weight", "copies", "iterations")
    column_defaults = MappingProxyType(
        {
            "prompt_kind": "best",
            "select": "text",
            "variance": "estimated",
            "detail": "none",
            "post_augment": "none",
        }
    )
    searched = frozenset(
        {
            *point_fields,
            "score_every",
            "prompt_kind",
            "select",
            "variance",
            "detail",
            "post_augment",
            "augmentation",
            "generator",
            "variation",
            "prompt",
            "encoder",
            "encoder_precision",
            "detectors",
        }
    )
    images_are = "generated"
    columns = MappingProxyType(
        {**text.COLUMNS, "select": pa.string(), "detail": pa.string(), "post_augment": pa.string()}
    )

    def variants(self, study: Declaration) -> Iterator[Variant]:
        """One variant for each grid point and each combination of the varied fields."""
        combinations = itertools.product(
            study.points, study.variance, study.prompt_kind, study.select, study.detail, study.post_augment
        )
        yield from (Variant(self, Generation(*values)) for values in combinations)

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        """Plan the prompt, the training and the image set."""
        generation = text.generation_of(variant)
        prompt = text.plan_prompt(planner, seeded)
        image_set = text.plan_image_set(planner, text.plan_training(planner, seeded, generation), generation, prompt)
        policy = generation.post_augment
        identity = {
            "image_set": image_set.key,
            "post_augment": planner.policy(policy) if policy != "none" else None,
            "seed": seeded.seed if policy != "none" else None,
        }
        return AddedImages(identity, (prompt.id, image_set.id), image_set.key, prompt.key, policy)

    def images(
        self, variant: Variant, added: AddedImages, support: Support, seed: int, context: Context
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """Read the chosen image set, and apply the policy ``post_augment`` to it."""
        images, facts = text.read_image_set(added, text.generation_of(variant).prompt_kind, context)
        return _post_augmented(images, added.policy, seed), facts

    def varied(self, variant: Variant) -> dict[str, Any]:
        """The columns of the grid point and of the varied fields."""
        generation = text.generation_of(variant)
        names = ("select", "detail", "post_augment")
        return {**super().varied(variant), **{name: getattr(generation, name) for name in names}}

    def caption(self, row: Mapping[str, Any]) -> str:
        """The chosen iteration, and the prompt that chose it."""
        chosen = "chosen by" if row["select"] == "text" else "the last; the prompt is"
        return (
            f"images of iteration α = {row['chosen_iteration']} of L = {row['iterations']}, {chosen} "
            f"“{row['prompt']}”{text.similarity_note(row)}"
        )


def _post_augmented(images: np.ndarray, policy: str, seed: int) -> np.ndarray:
    """One augmented view of each generated image (METHOD's ``post_augment``); the images themselves for ``none``."""
    if policy == "none":
        return images
    import torch

    from goodshot.components.generator.augment import POLICIES, augment, to_uint8

    tensors = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    views = [augment(image, POLICIES[policy], 1, seed, (m,))[0] for m, image in enumerate(tensors)]
    return to_uint8(torch.stack(views))
