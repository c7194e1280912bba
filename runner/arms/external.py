"""The arms ``external:<folder>``: images that a user supplies (Table 1). A study may have several of these arms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodshot.runner.arms.base import AddedImages, Arm, Planner, SeededSupport, Variant
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, Support
from goodshot.runner.stages.external import ExternalFolders, ExternalSetStage

if TYPE_CHECKING:
    import numpy as np

PREFIX = "external:"


class External(Arm):
    """Adds the images of one folder. Rows show the name of the folder, never its path."""

    colour = "#CC79A7"
    point_fields = ("copies",)
    images_are = "supplied"
    stages = (ExternalSetStage,)

    def __init__(self, name: str = f"{PREFIX}<folder>") -> None:
        self.name = name
        self.folder = Path(name.removeprefix(PREFIX)).expanduser()
        # A path such as "." has no last component; its absolute path has one.
        self.label = f"{PREFIX}{self.folder.name or self.folder.absolute().name}"

    def variants(self, study: Declaration) -> Iterator[Variant]:
        """One variant for each number of copies."""
        yield from (Variant(self, point.copies) for point in study.points)

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        """Plan the first images of the folder, resized to ``side``."""
        folders = planner.once(_folders)
        stage = planner.add(folders.image_set(self.folder, seeded.category, variant.copies, side))
        identity = {"image_set": stage.key, "post_augment": None, "seed": None}
        return AddedImages(identity, (stage.id,), stage.key)

    def images(
        self, variant: Variant, added: AddedImages, support: Support, seed: int, context: Context
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """Read the supplied images from the store."""
        return context.store.get(str(added.image_set)).arrays("images.safetensors")["images"], {}

    def matches(self, text: str) -> Arm | None:
        """An arm for the folder in ``text``; None if ``text`` names no folder after the prefix."""
        folder = text.removeprefix(PREFIX)
        if folder == text or not folder.strip():
            return None
        if "://" in folder:
            raise ValueError(f"{text}: give a folder of the machine that this command runs on")
        return External(text)

    def matches_label(self, label: str) -> Arm | None:
        """An external arm if ``label`` has the prefix; it only serves to describe rows."""
        return External(label) if label.startswith(PREFIX) else None


def _folders(planner: Planner) -> ExternalFolders:
    return ExternalFolders(one_category=len(planner.categories) == 1, limit=planner.study.dataset.limit)
