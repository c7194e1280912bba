"""A verified dataset as Arrow shards below one URI, and a study's data read back from them.

Readers start at `manifest.json`: each attempt writes its shards to a new folder, and only shards that the manifest
names are read, so nothing of a killed run is read. The manifest is written again after every category, by one writer at
a time.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goodshot.components.data.checking import DEFAULT_CHECKS, Checks, Report
from goodshot.components.data.datasets import dataset_of
from goodshot.components.data.layout import deeper
from goodshot.components.data.masks import vanishes
from goodshot.components.data.reading import verify
from goodshot.components.data.sample import SPLITS, Sample, SplitName, category_fingerprint
from goodshot.components.data.shards import METADATA, SCHEMA, SUFFIX, defects_of, read_split, samples_of, write_split
from goodshot.components.errors import BadInput
from goodshot.runner.store.files import Files, public

MANIFEST = "manifest.json"
Progress = Callable[[int, int], None]
"""Progress callback: the number of images done, and the total number."""


def verified(
    name: str,
    root: Path,
    categories: Sequence[str] = (),
    on_progress: Progress = lambda done, total: None,
    checks: Checks = DEFAULT_CHECKS,
) -> Report:
    """Verify the categories. Raises :class:`BadInput` if ``root`` or one of them is missing."""
    dataset = dataset_of(name)
    names = tuple(categories) or dataset.list_categories(root)
    if not names:
        hint = deeper(root, dataset.list_categories)
        raise BadInput(f"{root}: holds no category folder of {name}; give the folder that does with --root{hint}")
    total = sum(len(dataset.list_category(root, category).entries) for category in names)
    advance = _counter(on_progress, total)
    return verify(name, root, names, checks, lambda: advance(1))


def write_shards(
    name: str,
    report: Report,
    out: str,
    resolution: int | None = None,
    done: Callable[[str], None] = lambda message: None,
    on_progress: Progress = lambda done, total: None,
) -> None:
    """Write each split of the report's sound images as one shard; unchanged categories are skipped.

    Files with a finding are left out, and the category's entry in the manifest names them. With a
    ``resolution``, images and masks are stored square-resized to it.

    Raises:
        BadInput: ``out`` cannot be used, or a category has no sound train images.
    """
    files = Files(out)
    manifest = _manifest_for(name, resolution, files)
    advance = _counter(on_progress, len(report.samples))
    for category in dict.fromkeys(s.category for s in report.samples):
        samples = [s for s in report.samples if s.category == category]
        left_out = [str(f) for f in report.findings if f.stops and category in f.path.parts]
        done(_Category(category, samples, files, resolution, advance).shard(left_out, manifest))


def has_shards(uri: str) -> bool:
    """Whether ``goodshot shard`` has written there."""
    return ("://" in uri or Path(uri).expanduser().is_dir()) and Files(uri).exists(MANIFEST)


def read_manifest(uri: str) -> dict[str, Any]:
    """The manifest's values. Raises :class:`BadInput` if it cannot be read."""
    try:
        manifest: dict[str, Any] = json.loads(Files(uri).read(MANIFEST))
    except (OSError, ValueError) as error:
        raise BadInput(f"{Files(uri).where(MANIFEST)}: cannot be read ({error}); write the shards again") from None
    return manifest


def shard_samples(uri: str, category: str) -> list[Sample]:
    """The category's samples, read from its shards' metadata columns. Raises :class:`BadInput`."""
    known = read_manifest(uri)["categories"]
    if category not in known:
        raise BadInput(f"{public(uri)}: no such category {category}; there are: {', '.join(sorted(known))}")
    files = Files(uri)
    found = _samples(files, known[category]["files"])
    if category_fingerprint(found) != known[category]["fingerprint"]:
        raise BadInput(f"{files.shown}: the shards of {category} are not those in its manifest; write them again")
    return sorted(found, key=lambda s: s.image_id)


def too_fine_masks(uri: str, category: str, sides: Sequence[int]) -> Counter[int]:
    """Count the test images with a mask of which nearest neighbour would leave nothing, by the side of the resizing.

    The masks are read and decoded, because how they are measured is part of the identity of what is measured.
    """
    entry = read_manifest(uri)["categories"][category]["files"].get("test")
    if entry is None or not sides:
        return Counter()
    files = Files(uri)
    masks = read_split(files.path(entry["path"]), ("masks", "mask_defect_ids"), filesystem=files.filesystem)
    counts: Counter[int] = Counter()
    for defects in defects_of(masks):
        counts.update({side for side in sides for _, marked in defects if vanishes(marked, side)})
    return counts


def copy_shard(uri: str, category: str, split: str) -> Callable[[Any], None]:
    """A writer that copies a shard in pieces and raises :class:`BadInput` unless its SHA-256 is the manifest's."""
    entry = read_manifest(uri)["categories"][category]["files"][split]
    files = Files(uri)

    def copy(sink: Any) -> None:
        digest = hashlib.sha256()
        with files.open(entry["path"]) as source:
            while piece := _piece(files, entry["path"], source):
                digest.update(piece)
                sink.write(piece)
        if digest.hexdigest() != entry["sha256"]:
            where = files.where(entry["path"])
            raise BadInput(f"{where}: is damaged (its hash is not the manifest's); write it again")

    return copy


def _piece(files: Files, name: str, source: Any) -> bytes:
    with files.reported(name):
        return bytes(source.read(1 << 22))


def _counter(on_progress: Progress, total: int) -> Callable[[int], None]:
    """Return a function that adds a number of images to those that are done."""
    counts = [0]

    def advance(images: int) -> None:
        counts[0] += images
        on_progress(counts[0], total)

    return advance


def _manifest_for(name: str, resolution: int | None, files: Files) -> dict[str, Any]:
    dataset = dataset_of(name)
    if not files.exists(MANIFEST):
        files.check_writable()
        head = {"dataset": name, "licence": dataset.licence, "source": dataset.source, "resolution": resolution}
        return {**head, "categories": {}}
    manifest = read_manifest(files.uri)
    if manifest["dataset"] != name:
        raise BadInput(f"{files.shown}: holds shards of {manifest['dataset']}; choose another folder for {name}")
    held = manifest["resolution"]
    if held != resolution:
        size = f"--resolution {held}" if held else "images as they were"
        raise BadInput(f"{files.shown}: was written with {size}; choose another folder, or the same resolution")
    return manifest


@dataclass
class _Category:
    """The conversion of one category to shards."""

    name: str
    samples: Sequence[Sample]
    files: Files
    resolution: int | None
    advance: Callable[[int], None]

    def shard(self, left_out: list[str], manifest: dict[str, Any]) -> str:
        """Write the category if it has changed, name it in the manifest, and return a line about the result."""
        if not _count(self.samples, "train"):
            raise BadInput(f"{self.name}: has no sound train images; correct the findings above")
        original = category_fingerprint(self.samples)
        present = manifest["categories"].get(self.name)
        columns = list(SCHEMA.names)
        if present and present["original"] == original and present.get("columns") == columns:
            self.advance(len(self.samples))
            return f"{self.name}: unchanged, {len(self.samples)} images"
        attempt = f"{self.name}/{original[:12]}-{uuid.uuid4().hex[:8]}"
        try:
            entry = {**self._written(attempt), "original": original, "columns": columns, "left_out": left_out}
        except BaseException:
            # On a full disk, an incomplete attempt would keep the disk full.
            self.files.discard(attempt)
            raise
        manifest["categories"][self.name] = entry
        self.files.write(MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode())
        return f"{self.name}: written, {len(self.samples)} images"

    def _written(self, attempt: str) -> dict[str, Any]:
        """The category's shards, each read back."""
        stored: list[Sample] = []
        entries = {split: self._write(split, attempt, stored) for split in SPLITS if _count(self.samples, split)}
        fingerprint = category_fingerprint(stored)
        if category_fingerprint(_samples(self.files, entries)) != fingerprint:
            where = self.files.where(attempt)
            raise BadInput(f"{where}: reads back other than it was written; run the command again")
        return {"fingerprint": fingerprint, "files": entries}

    def _write(self, split: SplitName, attempt: str, stored: list[Sample]) -> dict[str, Any]:
        path = f"{attempt}/{split}{SUFFIX}"

        def write(sink: Any) -> None:
            stored.extend(write_split(self.samples, split, sink, self.resolution, self.advance))

        digest = self.files.write_stream(path, write)
        return {"path": path, "images": _count(self.samples, split), "sha256": digest}


def _count(samples: Sequence[Sample], split: str) -> int:
    return sum(s.split == split for s in samples)


def _samples(files: Files, entries: Mapping[Any, dict[str, Any]]) -> list[Sample]:
    paths = [files.path(entry["path"]) for entry in entries.values()]
    return [s for path in paths for s in samples_of(read_split(path, METADATA, filesystem=files.filesystem))]
