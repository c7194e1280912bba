"""Check the listed images: every file is read completely, decoded if its format has no checksum, and hashed."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components.data.images import Mask, check_image, decode_mask, defect_id_of
from components.data.layout import Defects, Entry, Finding, Kind, Listing
from components.data.sample import MaskFile, Sample
from components.errors import BadInput

THREADS = 4
Checked = tuple[Sample | None, list[Finding]]


class _Wrong(Exception):
    def __init__(self, kind: Kind, path: Path, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.finding = Finding(kind, path, problem, remedy)


def check(
    listing: Listing, dataset: str, category: str, done: Callable[[], None] = lambda: None
) -> tuple[list[Sample], list[Finding]]:
    """Returns the valid images as samples sorted by `image_id`, and all findings, those of the listing first.

    `done` is called after each image.
    """
    samples, findings = [], list(listing.findings)
    with ThreadPoolExecutor(THREADS) as pool:
        for sample, found in pool.map(lambda e: _check(e, listing.folder, dataset, category), listing.entries):
            samples += [sample] if sample else []
            findings += found
            done()
    return listing.hold_out(sorted(samples, key=lambda s: s.image_id)), findings


def _check(entry: Entry, folder: Path, dataset: str, category: str) -> Checked:
    findings, masks = [], []
    try:
        data = _read(entry.image)
        width, height = _size(entry.image, data)
    except _Wrong as wrong:
        return None, [wrong.finding]
    for path in entry.masks:
        try:
            masks.append(_mask(path, entry, (width, height)))
        except _Wrong as wrong:
            findings.append(wrong.finding)
    if findings:
        return None, findings
    return Sample(
        image_id=entry.image.relative_to(folder).as_posix(),
        dataset=dataset,
        category=category,
        split=entry.split,
        defect_type=entry.defect_type,
        label=entry.label,
        image_path=entry.image,
        width=width,
        height=height,
        sha256=hashlib.sha256(data).hexdigest(),
        masks=tuple(masks),
    ), []


def _mask(path: Path, entry: Entry, size: tuple[int, int]) -> MaskFile:
    data = _read(path)
    defect_id = _defect_id(path, data, entry.defects) if entry.defects is not None else None
    try:
        marked = decode_mask(data, defect_id=defect_id)
    except BadInput as error:
        problem, _, remedy = str(error).partition("; ")
        raise _Wrong("broken", path, problem, remedy or "replace the file") from error
    height, width = marked.shape
    if (width, height) != size:
        sizes = f"the mask is {width}x{height}, its image {entry.image.name} is {size[0]}x{size[1]}"
        raise _Wrong("mismatched", path, sizes, "resize the mask (nearest neighbour)")
    return MaskFile(path, hashlib.sha256(data).hexdigest(), defect_id, _saturation(marked, defect_id, entry.defects))


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


def _size(path: Path, data: bytes) -> tuple[int, int]:
    try:
        return check_image(data)
    except BadInput as error:
        raise _Wrong("broken", path, str(error), "replace or remove the file") from error


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
