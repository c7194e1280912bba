"""The arms ``fusion`` and ``fusion:<parts>``: defective images of AnomalyXFusion (METHOD B), whole or in part."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from goodshot.components.data.support import select_support
from goodshot.components.fusion.config import MODULES, NO_MODULE, PATH, SMALL
from goodshot.runner.arms.base import Arm, Planner, SeededSupport, Variant
from goodshot.runner.arms.defective import COLUMNS, DefectArm, DefectSplit, plan_split
from goodshot.runner.arms.text import encoder_of
from goodshot.runner.stages.base import Support
from goodshot.runner.stages.defect_set import DefectSetStage, set_key
from goodshot.runner.stages.fusion import SEED, DiffusionBaseStage, FusionSetStage, FusionStage, MaskEncoderStage
from goodshot.runner.store.fingerprint import fingerprint

ALL, NONE = "+".join(MODULES), NO_MODULE
PREFIX = "fusion:"
ABLATIONS = MappingProxyType({NONE: "#F0E442", "text": "#999999", "text+mif": "#882255", "text+ddf": "#44AA99"})
"""The other rows of Table 6 and their colours; ``none`` is textual inversion alone, the idea of AnomalyDiffusion."""


class FusionArm(DefectArm):
    """Adds images of a fusion with these parts switched on: the caption, in-fusion, and dynamic fusion."""

    searched = frozenset({"copies", "synthesis", "encoder"})
    fields = (*DefectArm.fields, "synthesis.fusion", "encoder", "encoder_precision")
    images_are = "generated defective"
    made_with = ("encoder", "base")
    stages = (MaskEncoderStage, DiffusionBaseStage, FusionStage, FusionSetStage)
    columns = MappingProxyType({**COLUMNS, "modules": pa.string(), "encoder": pa.string(), "base": pa.string()})

    def __init__(self, modules: str = ALL) -> None:
        self.modules = modules
        self.name = self.label = "fusion" if modules == ALL else f"{PREFIX}{modules}"
        self.colour = "#D55E00" if modules == ALL else ABLATIONS[modules]  # type: ignore[misc]

    def part(
        self, planner: Planner, variant: Variant, seeded: SeededSupport, split: DefectSplit, indices: range
    ) -> DefectSetStage:
        """Images of the trained fusion at sites of the seed."""
        study = planner.study
        training = planner.once(_training, self.modules, seeded)
        placing, sampling = study.synthesis.placing, study.synthesis.fusion.sampling
        maker = {
            "fusion": training.key,
            "sampling": sampling.model_dump(mode="json"),
            "placing": placing.model_dump(mode="json"),
        }
        return FusionSetStage(
            key=set_key(maker, seeded.support, split.fit, seeded.seed, indices),
            resources=study.resources,
            support=seeded.support,
            defects=split.fit,
            seed=seeded.seed,
            first=indices.start,
            count=len(indices),
            training=training,
            placing=placing,
            sampling=sampling,
        )

    def declared(self, planner: Planner, category: str) -> dict[str, Any]:
        """The parts, the frozen encoder and the base."""
        own = {"modules": self.modules, "encoder": planner.study.encoder, "base": planner.study.synthesis.fusion.base}
        return {**super().declared(planner, category), **own}

    def caption(self, row: Mapping[str, Any]) -> str:
        """The parts of the fusion."""
        return f"images of each type, by a fusion with {self.modules}"

    def matches(self, text: str) -> Arm | None:
        """The arm with the parts after the prefix. Raises ValueError for unknown parts."""
        if text in ("fusion", f"{PREFIX}{ALL}"):
            return FusionArm()
        if not text.startswith(PREFIX):
            return None
        if (modules := text.removeprefix(PREFIX)) not in ABLATIONS:
            raise ValueError(f"{text}: the parts of a fusion are one of {', '.join((*ABLATIONS, ALL))}")
        return FusionArm(modules)

    def matches_label(self, label: str) -> Arm | None:
        """The arm of a row's label; None for another arm's."""
        return self.matches(label)


def _training(planner: Planner, modules: str, seeded: SeededSupport) -> FusionStage:
    """Add the training of a category's fusion."""
    study, split = planner.study, plan_split(planner, seeded.category.name)
    config = study.synthesis.fusion.with_modules(modules)
    mask_encoder = planner.once(_mask_encoder)
    base = planner.once(_base, seeded.support_seed) if config.base == SMALL else None
    options = {**config.learned_as(), "steps": config.steps, "seed": seeded.seed, "encoder": planner.once(encoder_of)}
    inputs: dict[str, Any] = {"fit": split.fit.identity(), "mask_encoder": mask_encoder.key}
    inputs["base"] = base.key if base else planner.once(_published, config.base)
    return planner.add(
        FusionStage(
            key=f"fusion/{fingerprint(FusionStage.kind, FusionStage.version, options, inputs)}",
            resources=study.resources,
            category=seeded.category.name,
            shard=seeded.support.shard,
            defects=split.fit,
            config=config,
            seed=seeded.seed,
            mask_encoder=mask_encoder.key,
            base=base.key if base else None,
            encoder=study.encoder,
            precision=study.encoder_precision,
        )
    )


def _mask_encoder(planner: Planner) -> MaskEncoderStage:
    """Add the mask autoencoder of all categories."""
    config = planner.study.synthesis.fusion
    defects = tuple(plan_split(planner, name).fit for name in sorted(planner.categories))
    options = {**config.masks.learned_as(), "steps": config.masks.steps, "window": config.window, "seed": SEED}
    inputs = {
        # In this order, because a step draws masks by their index.
        "masks": [content for each in defects for content in each.content],
        "side": planner.study.synthesis.side,
    }
    return planner.add(
        MaskEncoderStage(
            key=f"mask_encoder/{fingerprint(MaskEncoderStage.kind, MaskEncoderStage.version, options, inputs)}",
            resources=planner.study.resources,
            defects=defects,
            config=config,
        )
    )


def _base(planner: Planner, support_seed: int | None) -> DiffusionBaseStage:
    """Add the small base of all categories' good images, as many as a support has."""
    study = planner.study
    config = study.synthesis.fusion
    supports = tuple(_support(planner, name, support_seed) for name in sorted(planner.categories))
    side = study.synthesis.side
    sizes = {"resolution": config.resolution, "side": side}
    options = {**config.small.learned_as(), "steps": config.small.steps, **sizes, "seed": SEED}
    inputs = {"goods": [content for support in supports for content in support.content]}
    return planner.add(
        DiffusionBaseStage(
            key=f"diffusion_base/{fingerprint(DiffusionBaseStage.kind, DiffusionBaseStage.version, options, inputs)}",
            resources=study.resources,
            supports=supports,
            config=config,
            side=side,
        )
    )


def _support(planner: Planner, name: str, support_seed: int | None) -> Support:
    category = planner.categories[name]
    ids = select_support(category.train_ids, planner.study.shots_of(name), support_seed or 0)
    return Support(category.shard, ids, tuple(category.content(ids)))


def _published(planner: Planner, name: str) -> dict[str, str]:
    """The hashes of a published base's files. A user's files are read completely, to refuse a wrong file at once.

    Raises:
        BadInput: the files are damaged, of another architecture, or for another resolution.
    """
    from goodshot.components.fusion.published import base_identity, load_base

    if name.startswith(PATH):
        load_base(name, planner.study.synthesis.fusion.resolution)
    return base_identity(name)
