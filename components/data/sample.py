"""The metadata of one image of a dataset, and the identity of a category of such images."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

GOOD = "good"
"""The defect type of a normal image."""


@dataclass(frozen=True)
class MaskFile:
    """One ground-truth mask of an image, as stored.

    `defect_id` is the pixel value that marks the defect in the file and identifies its kind (MVTec LOCO), or None
    where any pixel that is not background is marked. `saturation` is the share of the defect's area, in (0, 1],
    that has to be found for the defect to count as completely found; it holds at any resolution. None if undefined.
    `rule` names how an unusual file is read (`goodshot.components.data.masks`), None for the usual ones.
    `orientation` is the EXIF orientation of its photograph if the mask has to be turned by it, and None otherwise. A
    mask with an EXIF tag of its own is turned when it is read.
    """

    path: Path
    sha256: str
    defect_id: int | None = None
    saturation: float | None = None
    rule: str | None = None
    orientation: int | None = None


@dataclass(frozen=True)
class Sample:
    """The metadata of one image, without its pixels.

    `image_id` is the posix path relative to the category folder ("test/scratch/000.png"): unique in a
    category and the same on every machine. `width` and `height` are those of the image as decoded (EXIF
    rotation applied). `sha256` (of the image and of each mask) is over the file's bytes as stored. A normal
    image has no mask; an anomalous one has none, one, or one for each of its defects. `white` is the value of a deep
    image that is read as 255 (`goodshot.components.data.depth`); `white` is None if that value is the largest that the
    file can hold. If earlier versions read such a file wrong, `white` is stated nevertheless, which gives the image a
    new identity.
    """

    image_id: str
    dataset: str
    category: str
    split: SplitName
    defect_type: str
    label: int
    image_path: Path
    width: int
    height: int
    sha256: str
    masks: tuple[MaskFile, ...] = ()
    white: int | None = None

    @property
    def content(self) -> str:
        """The identity of the image's pixels: the file's SHA-256 and, for an unusual file, how its values are read."""
        return self.sha256 if self.white is None else f"{self.sha256}:white={self.white}"


def category_fingerprint(samples: Iterable[Sample]) -> str:
    """Returns the SHA-256 (64 hex digits) of the samples' ids, labels and content.

    Paths, the dataset's name and the order of the samples are not included, so that a copied dataset keeps its
    identity.
    """
    rows = sorted((s.image_id, s.label, s.defect_type, s.content, _masks(s)) for s in samples)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _masks(sample: Sample) -> str:
    # A single plain mask is written as its hash only, so that older datasets of such masks keep their identity.
    return ",".join(":".join([m.sha256, *_mask_fields(m)]) for m in sample.masks)


def _mask_fields(mask: MaskFile) -> list[str]:
    fields = (mask.defect_id, mask.saturation, mask.rule, mask.orientation and f"orientation={mask.orientation}")
    return [repr(value) for value in fields if value is not None]
