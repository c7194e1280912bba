"""One image of a dataset as metadata, and the identity of a category made of such images."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SplitName = Literal["train", "test"]

GOOD = "good"
"""The defect type of a normal image."""


@dataclass(frozen=True)
class Sample:
    """What is known of one image without its pixels.

    `image_id` is the posix path relative to the category folder ("test/scratch/000.png"): unique in a
    category and the same on every machine. `width` and `height` are those of the image as decoded (EXIF
    rotation applied). `sha256` and `mask_sha256` are over the files' bytes as stored.
    """

    image_id: str
    dataset: str
    category: str
    split: SplitName
    defect_type: str
    label: int
    image_path: Path
    mask_path: Path | None
    width: int
    height: int
    sha256: str
    mask_sha256: str | None


def category_fingerprint(samples: Iterable[Sample]) -> str:
    """Returns the SHA-256 (64 hex digits) of what the samples *are*: ids, labels and content.

    Paths, the dataset's name and the order of the samples do not count, so that a copied dataset keeps its
    identity.
    """
    rows = sorted((s.image_id, s.label, s.defect_type, s.sha256, s.mask_sha256 or "") for s in samples)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
