"""Check the listed images: every file is read completely, decoded if its format has no checksum, and hashed."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from goodshot.components.data.depth import turned, white_of
from goodshot.components.data.images import (
    DEFAULT_LIMIT,
    SIDEWAYS,
    ImageFacts,
    Limit,
    check_image,
    defect_id_of,
    orientation_of,
    read_mask,
)
from goodshot.components.data.layout import Defects, Entry, Finding, Kind, Listing
from goodshot.components.data.masks import Mask, vanishes
from goodshot.components.data.sample import MaskFile, Sample
from goodshot.components.errors import BadInput

THREADS = 4


@dataclass(frozen=True)
class Checks:
    """The checks besides those of the files themselves.

    sides: sides in pixels to which masks will be resized; masks that would mark nothing at such a side are counted.
    limit: images and masks with more pixels count as broken.
    """

    sides: tuple[int, ...] = ()
    limit: Limit = DEFAULT_LIMIT


DEFAULT_CHECKS = Checks()


@dataclass(frozen=True)
class Checked:
    """A valid image as it was checked.

    shares: of each mask, the share of its pixels that it marks, in [0, 1].
    enlarged: the sides in pixels at which one of its masks would mark nothing by nearest neighbour.
    """

    sample: Sample
    facts: ImageFacts
    shares: tuple[float, ...] = ()
    enlarged: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Report:
    """Valid images, sorted by category and `image_id`, every finding about their files, and how they were checked."""

    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    checked: tuple[Checked, ...] = ()

    @property
    def enlarged(self) -> frozenset[int]:
        """The sides in pixels at which masks keep a defect only because all pixels that it touches are marked."""
        return frozenset(side for each in self.checked for side in each.enlarged)


class _Wrong(Exception):
    def __init__(self, kind: Kind, path: Path, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.finding = Finding(kind, path, problem, remedy)


def check(
    listing: Listing,
    dataset: str,
    category: str,
    checks: Checks = DEFAULT_CHECKS,
    done: Callable[[], None] = lambda: None,
) -> Report:
    """Returns the valid images as samples sorted by `image_id`, and all findings, those of the listing first.

    `done` is called after each image.
    """
    valid, findings = [], list(listing.findings)
    with ThreadPoolExecutor(THREADS) as pool:
        for checked, found in pool.map(lambda e: _check(e, listing.folder, dataset, category, checks), listing.entries):
            findings += found
            valid += [checked] if checked is not None else []
            done()
    if not listing.has_masks:
        valid = [Checked(replace(each.sample, masks=()), each.facts) for each in valid]
    deep = {c.sample.image_id: c.facts.brightest for c in valid if c.facts.brightest is not None}
    enlarged = Counter(side for each in valid for side in each.enlarged)
    white = white_of(deep.values())
    samples = [replace(each.sample, white=each.facts.white(white)) for each in valid]
    if white is not None:
        problem = (
            f"{len(deep)} photographs of more than 8 bits hold values up to {max(deep.values())}: {white} is white"
        )
        findings.append(
            Finding("noted", listing.folder, problem, "store them with 8 bits if that is not what is meant")
        )
    held_out = listing.hold_out(sorted(samples, key=lambda s: s.image_id))
    findings += [*too_fine(enlarged, listing.folder), *_undefined(held_out, listing.folder), *overlaps(held_out)]
    return Report(tuple(held_out), tuple(findings), _sorted_as(held_out, valid))


def _sorted_as(samples: Iterable[Sample], valid: Iterable[Checked]) -> tuple[Checked, ...]:
    """Return the check result of each of these samples, whose split and white value may have changed since."""
    by_id = {each.sample.image_id: each for each in valid}
    return tuple(replace(by_id[sample.image_id], sample=sample) for sample in samples)


def overlaps(samples: Iterable[Sample]) -> list[Finding]:
    """Returns a finding for each test image whose file is a training image too, or a test image with another label."""
    samples = list(samples)
    train = {s.sha256: s for s in samples if s.split == "train"}
    labels: dict[str, Sample] = {}
    findings = []
    for sample in (s for s in samples if s.split == "test"):
        other = labels.setdefault(sample.sha256, sample)
        if (trained := train.get(sample.sha256)) is not None:
            problem = f"is the training image {trained.image_id} too, so that its score says nothing"
            findings.append(Finding("overlap", sample.image_path, problem, "remove one of the two"))
        elif other.label != sample.label:
            problem = f"is {other.image_id} too, with another label"
            findings.append(Finding("overlap", sample.image_path, problem, "remove the wrong one"))
    return findings


def too_fine(counts: Mapping[int, int], folder: Path) -> Iterator[Finding]:
    """Yields a finding for each side in pixels at which so many images have a mask that would vanish."""
    for side, count in sorted(counts.items()):
        images = f"{count} defective image{'s have' if count > 1 else ' has'} a mask too fine for {side}x{side} pixels"
        problem = f"{images}: resized to that, every pixel that the defect touches counts as defective"
        yield Finding("noted", folder, problem, "a larger image size or smaller photographs measure it better")


def _undefined(samples: Iterable[Sample], folder: Path) -> list[Finding]:
    """Returns a finding if all test images are normal or all are defective, so that no AUROC is defined."""
    labels = {sample.label for sample in samples if sample.split == "test"}
    if len(labels) != 1:
        return []
    have, lack = ("defective", "normal") if labels == {1} else ("normal", "defective")
    problem = f"has {have} test images alone, so that its AUROC is undefined"
    return [Finding("noted", folder, problem, f"add {lack} test images")]


def _check(
    entry: Entry, folder: Path, dataset: str, category: str, checks: Checks
) -> tuple[Checked | None, list[Finding]]:
    """The image as it was checked, None if its files are not valid, and the findings about them."""
    try:
        data = _read(entry.image)
        facts = _facts(entry.image, data, checks.limit)
    except _Wrong as wrong:
        return None, [wrong.finding]
    findings = _noted(entry, facts)
    masks: list[MaskFile] = []
    shares: list[float] = []
    enlarged: set[int] = set()
    for path in entry.masks:
        try:
            mask, marked, noted = _mask(path, entry, facts, checks.limit)
            masks.append(mask)
            findings += noted
            shares.append(float(marked.mean()))
            enlarged |= {side for side in checks.sides if vanishes(marked, side)}
        except _Wrong as wrong:
            findings.append(wrong.finding)
    if any(finding.stops for finding in findings):
        return None, findings
    if masks and not any(shares):
        remedy = "draw the defect, or move the image to the normal ones"
        findings.append(
            Finding("unmarked", entry.image, "nothing is marked in its mask, so its pixels count as normal", remedy)
        )
    sample = Sample(
        image_id=entry.image_id(folder),
        dataset=dataset,
        category=category,
        split=entry.split,
        defect_type=entry.defect_type,
        label=entry.label,
        image_path=entry.image,
        width=facts.width,
        height=facts.height,
        sha256=hashlib.sha256(data).hexdigest(),
        masks=tuple(masks),
    )
    return Checked(sample, facts, tuple(shares), frozenset(enlarged)), findings


def _mask(path: Path, entry: Entry, image: ImageFacts, limit: Limit) -> tuple[MaskFile, Mask, list[Finding]]:
    data = _read(path)
    try:
        own_orientation = orientation_of(data, limit)
        defect_id = _defect_id(path, data, entry.defects) if entry.defects is not None else None
        reading = read_mask(data, defect_id)
    except BadInput as error:
        problem, _, remedy = str(error).partition("; ")
        raise _Wrong("broken", path, problem, remedy or "replace the file") from error
    marked, orientation, findings = _upright(reading.marked, own_orientation, path, entry, image)
    height, width = marked.shape
    if (width, height) != (image.width, image.height):
        sizes = f"the mask is {width}x{height}, its image {entry.image.name} is {image.width}x{image.height}"
        raise _Wrong("mismatched", path, sizes, "resize the mask (nearest neighbour)")
    if note := reading.note or ("marks every pixel" if marked.all() else ""):
        remedy = "store masks as 0 and 255 if that is not what is meant"
        findings.append(Finding("noted", path, f"{note} ({100 * marked.mean():.2g} % of its pixels)", remedy))
    file = MaskFile(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        defect_id=defect_id,
        saturation=_saturation(marked, defect_id, entry.defects),
        rule=reading.rule,
        orientation=orientation,
    )
    return file, marked, findings


def _upright(
    marked: Mask, own_orientation: int, path: Path, entry: Entry, image: ImageFacts
) -> tuple[Mask, int | None, list[Finding]]:
    """Return the mask of a photograph with an EXIF rotation, the orientation to apply to the mask, and a note.

    A mask without a tag of its own was drawn on the stored pixels if it has their size, and on the turned photograph if
    it has that size. If the two sizes are equal, the case is ambiguous.
    """
    if image.orientation == 1 or own_orientation != 1:
        return marked, None, []
    tag = f"{entry.image.name} is turned by its EXIF tag (orientation {image.orientation})"
    if image.orientation not in SIDEWAYS or image.width == image.height:
        remedy = "check that the mask was drawn on the turned photograph, or remove the tag"
        return marked, None, [Finding("noted", path, f"is read as it is stored, but {tag}", remedy)]
    if marked.shape != (image.width, image.height):
        return marked, None, []
    problem = f"is turned too, because {tag} and the mask has the size before that"
    note = Finding("noted", path, problem, "store both upright if that is not what is meant")
    return turned(marked, image.orientation), image.orientation, [note]


def _saturation(marked: Mask, defect_id: int | None, defects: Defects | None) -> float | None:
    needed = defects.get(defect_id) if defects and defect_id is not None else None
    if needed is None:
        return None
    area = int(marked.sum())
    # A share of a tiny defect may round down to 0 pixels, and any anomaly map finds 0 pixels.
    return max(needed(area), 1) / area


def _defect_id(path: Path, data: bytes, allowed: Defects) -> int:
    try:
        value = defect_id_of(data)
    except BadInput as error:
        problem, _, remedy = str(error).partition("; ")
        raise _Wrong("broken", path, problem, remedy or "replace the file") from error
    if value not in allowed:
        raise _Wrong("mismatched", path, f"marks its defect with {value}", "add that value to defects_config.json")
    return value


def _noted(entry: Entry, facts: ImageFacts) -> list[Finding]:
    findings = []
    if facts.frames > 1:
        problem = f"holds {facts.frames} frames, of which only the first is read"
        findings.append(Finding("noted", entry.image, problem, "store one photograph a file"))
    return findings


def _facts(path: Path, data: bytes, limit: Limit) -> ImageFacts:
    try:
        return check_image(data, limit)
    except BadInput as error:
        problem, _, remedy = str(error).partition("; ")
        raise _Wrong("broken", path, problem, remedy or "replace or remove the file") from error


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _Wrong(
            "broken", path, f"cannot be read ({reason})", "check its permissions, or the target of its link"
        ) from error
    if not data:
        raise _Wrong("broken", path, "the file is empty (0 bytes)", "copy it again or remove it")
    return data
