"""Check the listed images: every file is read completely, decoded if its format has no checksum, and hashed."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from goodshot.components.data.depth import white_of
from goodshot.components.data.images import (
    DEFAULT_LIMIT,
    ImageFacts,
    Limit,
    check_image,
    check_size,
    defect_id_of,
    read_mask,
)
from goodshot.components.data.layout import Defects, Entry, Finding, Kind, Listing
from goodshot.components.data.masks import Mask
from goodshot.components.data.sample import MaskFile, Sample
from goodshot.components.errors import BadInput

THREADS = 4
Checked = tuple[Sample | None, list[Finding], int | None]
"""A valid image's sample, the findings about its files, and its largest value if it is deeper than 8 bits."""


class _Wrong(Exception):
    def __init__(self, kind: Kind, path: Path, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.finding = Finding(kind, path, problem, remedy)


def check(
    listing: Listing, dataset: str, category: str, done: Callable[[], None] = lambda: None, limit: Limit = DEFAULT_LIMIT
) -> tuple[list[Sample], list[Finding]]:
    """Returns the valid images as samples sorted by `image_id`, and all findings, those of the listing first.

    `done` is called after each image. An image or mask of more pixels than `limit` is broken.
    """
    samples, findings = [], list(listing.findings)
    deep: dict[str, int] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        checked = pool.map(lambda e: _check(e, listing.folder, dataset, category, limit), listing.entries)
        for sample, found, largest in checked:
            samples += [sample] if sample else []
            findings += found
            if sample is not None and largest is not None:
                deep[sample.image_id] = largest
            done()
    if not listing.has_masks:
        samples = [replace(sample, masks=()) for sample in samples]
    if (white := white_of(deep.values())) is not None:
        samples = [replace(s, white=white) if s.image_id in deep else s for s in samples]
        problem = (
            f"{len(deep)} photographs of more than 8 bits hold values up to {max(deep.values())}: {white} is white"
        )
        findings.append(
            Finding("noted", listing.folder, problem, "store them with 8 bits if that is not what is meant")
        )
    held_out = listing.hold_out(sorted(samples, key=lambda s: s.image_id))
    return held_out, [*findings, *_undefined(held_out, listing.folder), *overlaps(held_out)]


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


def _undefined(samples: Iterable[Sample], folder: Path) -> list[Finding]:
    """Returns a finding if test images are normal or defective alone, so that no AUROC is defined."""
    labels = {sample.label for sample in samples if sample.split == "test"}
    if len(labels) != 1:
        return []
    have, lack = ("defective", "normal") if labels == {1} else ("normal", "defective")
    problem = f"has {have} test images alone, so that its AUROC is undefined"
    return [Finding("noted", folder, problem, f"add {lack} test images")]


def _check(entry: Entry, folder: Path, dataset: str, category: str, limit: Limit) -> Checked:
    try:
        data = _read(entry.image)
        facts = _facts(entry.image, data, limit)
    except _Wrong as wrong:
        return None, [wrong.finding], None
    findings = _noted(entry, facts)
    masks: list[MaskFile] = []
    is_marked = False
    for path in entry.masks:
        try:
            mask, marked, noted = _mask(path, entry, (facts.width, facts.height), limit)
            masks.append(mask)
            findings += noted
            is_marked = is_marked or bool(marked.any())
        except _Wrong as wrong:
            findings.append(wrong.finding)
    if any(finding.stops for finding in findings):
        return None, findings, None
    if masks and not is_marked:
        remedy = "draw the defect, or move the image to the normal ones"
        findings.append(
            Finding("noted", entry.image, "nothing is marked in its mask, so its pixels count as normal", remedy)
        )
    sample = Sample(
        image_id=entry.image.relative_to(folder).as_posix(),
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
    return sample, findings, facts.brightest


def _mask(path: Path, entry: Entry, size: tuple[int, int], limit: Limit) -> tuple[MaskFile, Mask, list[Finding]]:
    data = _read(path)
    try:
        check_size(data, limit)
        defect_id = _defect_id(path, data, entry.defects) if entry.defects is not None else None
        reading = read_mask(data, defect_id)
    except BadInput as error:
        problem, _, remedy = str(error).partition("; ")
        raise _Wrong("broken", path, problem, remedy or "replace the file") from error
    marked = reading.marked
    height, width = marked.shape
    if (width, height) != size:
        sizes = f"the mask is {width}x{height}, its image {entry.image.name} is {size[0]}x{size[1]}"
        raise _Wrong("mismatched", path, sizes, "resize the mask (nearest neighbour)")
    saturation = _saturation(marked, defect_id, entry.defects)
    file = MaskFile(path, hashlib.sha256(data).hexdigest(), defect_id, saturation, reading.rule)
    share = f"{100 * marked.mean():.2g} % of its pixels"
    remedy = "store masks as 0 and 255 if that is not what is meant"
    note = reading.note or ("marks every pixel" if marked.all() else "")
    return file, marked, [Finding("noted", path, f"{note} ({share})", remedy)] if note else []


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
    if facts.orientation != 1 and entry.masks:
        problem = f"is turned by its EXIF tag (orientation {facts.orientation}), and its mask is read as it is stored"
        remedy = "check that the mask was drawn on the turned image, or remove the tag"
        findings.append(Finding("noted", entry.image, problem, remedy))
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
