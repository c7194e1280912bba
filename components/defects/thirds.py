"""The split of a category's defective images (METHOD B, Data): the first third of each defect type trains.

Of a type's n images, sorted by name, the first ⌊n/3⌋ are for training, all others are test images. The last ⌊m/3⌋ of
the m training images, if m ≥ 3, are kept for the choice of a checkpoint (validation); the test images choose nothing.
AnomalyDiffusion's code, whose protocol the paper follows, puts one image of each type into both parts; here none is.

The split looks at names and contents only, so that it is the same for every method that is compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain

from goodshot.components.data.sample import Sample
from goodshot.components.errors import BadInput

PARTS = 3
"""One in this many defective images is for training, and one in this many of those for validation."""
WITHOUT_DEFECTS = "cutpaste and draem_skimage make anomalies without any"


@dataclass(frozen=True)
class Thirds:
    """A category's images, split; each part is sorted by defect type and name, and no image is in two parts.

    fit, validation: defective training images, to learn from and to choose a checkpoint by. test: defective images.
    good: normal test images.
    """

    fit: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    good: tuple[Sample, ...]

    @property
    def train(self) -> tuple[Sample, ...]:
        """The whole training third: ``fit`` and ``validation``."""
        return tuple(sorted(self.fit + self.validation, key=_by_name))

    @property
    def types(self) -> tuple[str, ...]:
        """The defect types, sorted; all parts but ``validation`` and ``good`` have images of each."""
        return tuple(sorted({sample.defect_type for sample in self.fit}))


def split_thirds(samples: Iterable[Sample], leave_out: Collection[str] = ()) -> Thirds:
    """Splits a category's samples. Normal images of other splits than ``test`` belong to no part.

    leave_out: defect types to use neither in training nor in tests; the category need not have them. Types are never
        left out silently, because that would change what a mean over the test images means.

    Raises:
        BadInput: there is no defective image; a type has too few images to train and to test with; a test image has the
            content of a training image.
    """
    everything = list(samples)
    by_type = _by_type(everything, leave_out)
    for name, images in by_type.items():
        _check_enough(name, images)
    thirds = [_thirds(images) for images in by_type.values()]
    fit, validation, test = (tuple(chain.from_iterable(part)) for part in zip(*thirds, strict=True))
    good = sorted((s for s in everything if s.split == "test" and not s.label), key=_by_name)
    split = Thirds(fit, validation, test, tuple(good))
    _check_apart(split)
    return split


def _by_type(samples: Iterable[Sample], leave_out: Collection[str]) -> dict[str, list[Sample]]:
    found: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.label:
            found[sample.defect_type].append(sample)
    kept = {name: sorted(found[name], key=_by_name) for name in sorted(found) if name not in leave_out}
    if not kept:
        raise BadInput(f"there is no defective image to learn from; add some, or none: {WITHOUT_DEFECTS}")
    return kept


def _check_enough(name: str, images: list[Sample]) -> None:
    if len(images) >= PARTS:
        return
    folder, images_of = images[0].image_path.parent, "a single image" if len(images) == 1 else f"{len(images)} images"
    raise BadInput(
        f"{folder}: defect type {name} has {images_of}, and a third of them has to train while the others are tested; "
        f"add images until it has {PARTS}, or name it in synthesis.leave_out"
    )


def _thirds(images: list[Sample]) -> tuple[list[Sample], list[Sample], list[Sample]]:
    train = len(images) // PARTS
    fit = train - train // PARTS
    return images[:fit], images[fit:train], images[train:]


def _check_apart(split: Thirds) -> None:
    trained = {sample.sha256: sample for sample in split.train}
    for sample in (*split.test, *split.good):
        if (same := trained.get(sample.sha256)) is not None:
            raise BadInput(
                f"{sample.image_path}: is the training image {same.image_id} too, so that its score says nothing; "
                "remove one of the two"
            )


def _by_name(sample: Sample) -> tuple[str, str]:
    return sample.defect_type, sample.image_id
