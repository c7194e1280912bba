"""The arms ``external:<folder>``: images that a user supplies, any number of such arms in one study (Table 1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.arms.base import AddedImages, Arm, Planner, SeededSupport, Variant
from runner.declaration.fields import Declaration
from runner.stages.base import Context, Support
from runner.stages.external import ExternalFolders
from runner.stages.need import Need, quality_needs

if TYPE_CHECKING:
    import numpy as np

PREFIX = "external:"


class External(Arm):
    """The images of one folder. Rows show the folder's own name, never the path to it."""

    colour = "#CC79A7"
    point_fields = ("copies",)
    images_are = "supplied"

    def __init__(self, name: str = f"{PREFIX}<folder>") -> None:
        self.name = name
        self.folder = Path(name.removeprefix(PREFIX)).expanduser()
        # A name such as "." has none of its own.
        self.label = f"{PREFIX}{self.folder.name or self.folder.absolute().name}"

    def variants(self, study: Declaration) -> Iterator[Variant]:
        """One for each number of copies."""
        yield from (Variant(self, point.copies) for point in study.points)

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        """The folder's first images, resized to the side at which they are read."""
        folders = planner.once(_folders)
        stage = planner.add(folders.image_set(self.folder, seeded.category, variant.copies, side))
        identity = {"image_set": stage.key, "post_augment": None, "seed": None}
        return AddedImages(identity, (stage.id,), stage.key)

    def images(
        self, variant: Variant, added: AddedImages, support: Support, seed: int, context: Context
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """The supplied images."""
        return context.store.get(str(added.image_set)).arrays("images.safetensors")["images"], {}

    def needs(self, study: Declaration) -> Iterator[Need]:
        """The networks of image quality."""
        return quality_needs()

    def matches(self, text: str) -> Arm | None:
        """The arm of the folder that the text names."""
        folder = text.removeprefix(PREFIX)
        if folder == text or not folder.strip():
            return None
        if "://" in folder:
            raise ValueError(f"{text}: give a folder of the machine that this command runs on")
        return External(text)

    def matches_label(self, label: str) -> Arm | None:
        """Every external arm."""
        return External(label) if label.startswith(PREFIX) else None


def _folders(planner: Planner) -> ExternalFolders:
    return ExternalFolders(one_category=len(planner.categories) == 1)
