"""The arm ``vqgan_clip``: latents of the study's own VQGAN, optimised towards the text (Table 1)."""

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
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.stages.variation import VariationStage
from goodshot.runner.stages.vqgan_clip import VQGANClipStage
from goodshot.runner.store.fingerprint import fingerprint

if TYPE_CHECKING:
    import numpy as np


class VQGANClip(text.TextArm):
    """Adds images whose latents are optimised towards the prompt.

    The network is trained up to the largest declared L, once for each λ and ``variance``; a published network
    (``generator.init``) is used as it is. No latent is sampled and no iteration is selected.
    """

    name = label = "vqgan_clip"
    colour = "#D55E00"
    stages = (PromptStage, VariationStage, TrainingStage, VQGANClipStage)
    point_fields = ("vq_weight", "copies")
    column_defaults = MappingProxyType({"prompt_kind": "best", "variance": "estimated"})
    searched = frozenset(
        {
            *point_fields,
            "prompt_kind",
            "variance",
            "augmentation",
            "generator",
            "variation",
            "prompt",
            "encoder",
            "encoder_precision",
            "vqgan_clip",
            "detectors",
        }
    )
    images_are = "optimised"
    columns = MappingProxyType({**text.COLUMNS, "seconds_vqgan_clip": pa.float64()})

    def variants(self, study: Declaration) -> Iterator[Variant]:
        """One variant for each λ, number of copies, variance and kind of prompt."""
        last = [point for point in study.points if point.iterations == max(study.iterations)]
        # The other fields are set as in the first variant of the arm ``generated``, so that both share a training.
        for point, variance, kind in itertools.product(last, study.variance, study.prompt_kind):
            generation = Generation(point, variance, kind, study.select[0], study.detail[0], "none")
            yield Variant(self, generation)

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        """Plan the prompt, the training with one of its image sets, and the optimised images."""
        generation = text.generation_of(variant)
        prompt = text.plan_prompt(planner, seeded)
        training = text.plan_training(planner, seeded, generation)
        study = planner.study
        updates = generation.point.iterations - 1 if study.generator.init == "scratch" else 0
        trained = text.plan_image_set(planner, training, generation, prompt).id if updates else None
        inputs = {
            "generator": training.key,
            "updates": updates,
            **text.text_identity(planner, prompt, generation),
        }
        kind, version = VQGANClipStage.kind, VQGANClipStage.version
        images = f"vqgan_clip/{fingerprint(kind, version, study.vqgan_clip.model_dump(mode='json'), inputs)}"
        copies = {"copies": generation.point.copies}
        stage = planner.add(
            VQGANClipStage(
                key=f"image_set/{fingerprint('vqgan_clip_set', version, copies, {'images': images})}",
                resources=study.resources,
                images=images,
                training=training,
                trained=trained,
                updates=updates,
                prompt=prompt.key,
                prompt_kind=generation.prompt_kind,
                copies=generation.point.copies,
                config=study.vqgan_clip,
            )
        )
        identity = {"image_set": stage.key, "post_augment": None, "seed": None}
        return AddedImages(identity, (prompt.id, stage.id), stage.key, prompt.key)

    def images(
        self, variant: Variant, added: AddedImages, support: Support, seed: int, context: Context
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """Read the optimised images."""
        images, facts = text.read_image_set(added, text.generation_of(variant).prompt_kind, context)
        # These are the seconds of the optimisation, not of the network's training.
        return images, {**facts, "seconds_generator": None, "seconds_vqgan_clip": facts["seconds_generator"]}

    def caption(self, row: Mapping[str, Any]) -> str:
        """The L of the network, and the prompt."""
        return (
            f"latents of the network of L = {row['iterations']}, optimised towards "
            f"“{row['prompt']}”{text.similarity_note(row)}"
        )
