"""The stage of the arm ``external:<folder>``: a user's images as content-addressed image sets.

The driver reads the folder: during planning to identify the images, and before a run to commit them to the store.
Workers read only the store, so the folder needs to exist only on the driver's machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from goodshot.components.data.images import Limit
from goodshot.components.data.supplied import Supplied, decode_supplied, folder_of, read_supplied
from goodshot.components.errors import BadInput
from goodshot.runner.data.catalogue import Category
from goodshot.runner.stages.base import Context, Stage
from goodshot.runner.store.artifacts import arrays_bytes
from goodshot.runner.store.fingerprint import fingerprint


@dataclass(frozen=True, kw_only=True)
class ExternalSetStage(Stage):
    """Commit supplied images to the store as one image set, uint8 RGB (M, size, size, 3).

    ``key`` depends only on the images' content, their order and ``size``. The stage runs in the driver, which can read
    the folder.
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
    """Reads the folders of one study. It reads the images of a category only once.

    Args:
        one_category: whether the study has only one category, whose images may then lie directly in the folder.
        limit: the size above which an image is refused.
    """

    def __init__(self, one_category: bool, limit: Limit) -> None:
        self._one_category = one_category
        self._limit = limit
        self._images: dict[tuple[Path, int], tuple[Supplied, ...]] = {}

    def image_set(self, folder: Path, category: Category, copies: int, size: int) -> ExternalSetStage:
        """The stage for the first ``copies`` images of the category, resized to ``size`` pixels (the detector's).

        Raises:
            BadInput: the folder does not exist, has too few images, a broken one, or one of the category's test images.
        """
        image_folder = folder_of(folder, category.name, self._one_category)
        if (image_folder, copies) not in self._images:
            self._images[image_folder, copies] = read_supplied(image_folder, copies, self._limit)
        images = self._images[image_folder, copies]
        _refuse_test_images(images, category)
        identity = fingerprint(
            "external", ExternalSetStage.version, {"size": size}, {"images": [i.content for i in images]}
        )
        return ExternalSetStage(key=f"image_set/{identity}", images=images, size=size)


def _refuse_test_images(images: tuple[Supplied, ...], category: Category) -> None:
    test_ids = {s.sha256: s.image_id for s in category.samples if s.split == "test"}
    for image in images:
        if image.sha256 in test_ids:
            raise BadInput(f"{image.path}: is the test image {test_ids[image.sha256]} of {category.name}; remove it")
