"""The arm ``external:<folder>``: a user's images as content-addressed image sets.

The driver reads the folder, at plan time to identify its images and before a run to put them into the store; workers
see the store only, so the folder may lie on a laptop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.data.supplied import Supplied, decode_supplied, folder_of, read_supplied
from components.errors import BadInput
from runner.data.catalogue import Category
from runner.stages.base import Context, Stage
from runner.store.artifacts import arrays_bytes
from runner.store.fingerprint import fingerprint


@dataclass(frozen=True, kw_only=True)
class ExternalSetStage(Stage):
    """Put supplied images into the store as one image set, uint8 RGB (M, size, size, 3).

    ``key`` is a function of their content, order and ``size`` alone. It runs in the driver, which sees the folder.
    """

    kind = "external"
    title = "external set"
    version = 1
    takes = "driver"

    images: tuple[Supplied, ...]
    size: int

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Decode the images and commit them."""
        images = decode_supplied(self.images, self.size)
        context.store.put(self.key, {"images.safetensors": arrays_bytes({"images": images})}, {"copies": len(images)})


class ExternalFolders:
    """Reads the folders of one study, each once.

    Args:
        one_category: whether the study has one category only, whose images may then lie in the folder itself.
    """

    def __init__(self, one_category: bool) -> None:
        self._one_category = one_category
        self._read: dict[tuple[Path, int], tuple[Supplied, ...]] = {}

    def image_set(self, folder: Path, category: Category, copies: int, size: int) -> ExternalSetStage:
        """The first ``copies`` images of the category, to be resized to ``size`` (that of the detector).

        Raises:
            BadInput: no such folder, too few images, a broken one, or one of the category's own test images.
        """
        place = folder_of(folder, category.name, self._one_category)
        if (place, copies) not in self._read:
            self._read[place, copies] = read_supplied(place, copies)
        images = self._read[place, copies]
        _refuse_test_images(images, category)
        identity = fingerprint(
            "external", ExternalSetStage.version, {"size": size}, {"images": [i.sha256 for i in images]}
        )
        return ExternalSetStage(key=f"image_set/{identity}", images=images, size=size)


def _refuse_test_images(images: tuple[Supplied, ...], category: Category) -> None:
    tested = {s.sha256: s.image_id for s in category.samples if s.split == "test"}
    for image in images:
        if image.sha256 in tested:
            raise BadInput(f"{image.path}: is the test image {tested[image.sha256]} of {category.name}; remove it")
