"""The arm ``external:<folder>``: a user's images as content-addressed image sets.

The driver reads the folder, at plan time to identify its images and before a run to put them into the store; workers
see the store only, so the folder may lie on a laptop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from components.data.supplied import Supplied, decode_supplied, folder_of, read_supplied
from components.errors import BadInput
from runner.data.catalogue import Category
from runner.store.artifacts import Store, arrays_bytes
from runner.store.fingerprint import fingerprint

EXTERNAL_VERSION = 1


@dataclass(frozen=True)
class ExternalSet:
    """One image set of supplied images; ``key`` is a function of their content, order and ``size`` alone."""

    key: str
    images: tuple[Supplied, ...]
    size: int


class ExternalFolders:
    """Reads the folders of one study, each once.

    Args:
        alone: whether the study has one category only, whose images may then lie in the folder itself.
    """

    def __init__(self, alone: bool) -> None:
        self._alone = alone
        self._read: dict[tuple[Path, int], tuple[Supplied, ...]] = {}

    def image_set(self, folder: Path, category: Category, copies: int, size: int) -> ExternalSet:
        """The first ``copies`` images of the category, to be resized to ``size`` (that of the detector).

        Raises:
            BadInput: no such folder, too few images, a broken one, or one of the category's own test images.
        """
        place = folder_of(folder, category.name, self._alone)
        if (place, copies) not in self._read:
            self._read[place, copies] = read_supplied(place, copies)
        images = self._read[place, copies]
        _refuse_test_images(images, category)
        identity = fingerprint("external", EXTERNAL_VERSION, {"size": size}, {"images": [i.sha256 for i in images]})
        return ExternalSet(f"image_set/{identity}", images, size)


def supply(image_sets: Iterable[ExternalSet], store: Store) -> None:
    """Put those that the store does not hold into it, as uint8 RGB (M, size, size, 3)."""
    for image_set in image_sets:
        if not store.has(image_set.key):
            images = decode_supplied(image_set.images, image_set.size)
            store.put(image_set.key, {"images.safetensors": arrays_bytes({"images": images})}, {"copies": len(images)})


def _refuse_test_images(images: tuple[Supplied, ...], category: Category) -> None:
    tested = {s.sha256: s.image_id for s in category.samples if s.split == "test"}
    for image in images:
        if image.sha256 in tested:
            raise BadInput(f"{image.path}: is the test image {tested[image.sha256]} of {category.name}; remove it")
