"""The photographs of a study as metadata, scanned and verified before anything is started or written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from goodshot.components.data.checking import Checks, overlaps, too_fine
from goodshot.components.data.datasets import dataset_of
from goodshot.components.data.layout import Finding, deeper
from goodshot.components.data.reading import read_category
from goodshot.components.data.sample import Sample, category_fingerprint
from goodshot.components.errors import BadInput
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.data.sharding import MANIFEST, has_shards, read_manifest, shard_samples, too_fine_masks
from goodshot.runner.store.files import below, public
from goodshot.runner.store.fingerprint import fingerprint

SHARD_VERSION = 4


@dataclass(frozen=True)
class Category:
    """One category's samples and its identities, which are part of stage keys."""

    dataset: str
    name: str
    samples: tuple[Sample, ...]
    source: str | None = None
    """The URI of the category's shards, if it was read from `goodshot shard`'s output."""
    findings: tuple[Finding, ...] = ()
    """Findings about the category's files, including the files that were skipped."""
    enlarged: frozenset[int] = frozenset()
    """The sides in pixels at which masks keep a defect only because all pixels that it touches are marked."""

    @cached_property
    def train_ids(self) -> tuple[str, ...]:
        """Ids of the normal training images, from which supports are drawn."""
        return tuple(s.image_id for s in self.samples if s.split == "train" and not s.label)

    @cached_property
    def shard(self) -> str:
        """Store key of the category's Arrow shards."""
        identity = fingerprint("shard", SHARD_VERSION, {}, {"data": category_fingerprint(self.samples)})
        return f"shard/{identity}"

    @cached_property
    def test_identity(self) -> str:
        """Fingerprint of the test images, labels and masks."""
        return category_fingerprint(s for s in self.samples if s.split == "test")

    @cached_property
    def n_test(self) -> int:
        """The number of test images."""
        return sum(s.split == "test" for s in self.samples)

    def content(self, image_ids: tuple[str, ...]) -> list[str]:
        """SHA-256 of each image, in the order given."""
        hashes = {s.image_id: s.content for s in self.samples}
        return [hashes[i] for i in image_ids]


def read_catalogue(
    dataset: DatasetConfig,
    categories: tuple[str, ...],
    demo_root: Path,
    tested: bool = True,
    sides: tuple[int, ...] = (),
) -> dict[str, Category]:
    """Scan and verify the categories (all of them if none is named).

    Args:
        sides: the sides in pixels to which the study resizes masks.
        tested: whether a category without test images is an error.
        demo_root: folder for photographs that ship with the installation, written if they are missing.

    Raises:
        BadInput: the first problem of the data.
    """
    if dataset.root is not None and has_shards(dataset.root):
        found = _from_shards(dataset, dataset.root, categories, sides)
    elif dataset.root is not None and "://" in dataset.root:
        raise BadInput(
            f"{below(public(dataset.root), MANIFEST)}: does not exist; write it with goodshot shard {dataset.name} "
            "--root FOLDER --out URI, or give a folder of this machine"
        )
    else:
        found = _from_folders(dataset, _root(dataset, demo_root), categories, sides)
    for name, category in found.items():
        _refuse_overlap(dataset, category)
        if tested and not any(s.split == "test" for s in category.samples):
            where = public(dataset.root) if dataset.root else demo_root
            raise BadInput(f"{where}: {name} has no test images to measure a detector on; add some and read it again")
    return found


def _refuse_overlap(dataset: DatasetConfig, category: Category) -> None:
    overlap = [finding for finding in category.findings if finding.kind == "overlap"]
    if overlap and dataset.overlap == "refuse":
        more = f" ({len(overlap)} such images)" if len(overlap) > 1 else ""
        raise BadInput(f"{overlap[0]}{more}, or allow it with --set dataset.overlap=allow")


def _from_folders(
    dataset: DatasetConfig, root: Path, categories: tuple[str, ...], sides: tuple[int, ...]
) -> dict[str, Category]:
    names = categories or dataset_of(dataset.name).list_categories(root)
    if not names:
        hint = deeper(root, dataset_of(dataset.name).list_categories)
        raise BadInput(f"{root}: holds no category folder of {dataset.name}; set dataset.root{hint}")
    reports = {name: read_category(dataset.name, root, name, Checks(sides, dataset.limit)) for name in names}
    return {
        name: Category(dataset.name, name, report.samples, None, report.findings, report.enlarged)
        for name, report in reports.items()
    }


def _from_shards(
    dataset: DatasetConfig, uri: str, categories: tuple[str, ...], sides: tuple[int, ...]
) -> dict[str, Category]:
    manifest = read_manifest(uri)
    held = manifest["dataset"]
    if held != dataset.name:
        raise BadInput(f"{public(uri)}: holds shards of {held}, not of {dataset.name}; --set dataset.name={held}")
    names = categories or tuple(sorted(manifest["categories"]))
    return {name: _from_shard(held, uri, name, sides) for name in names}


def _from_shard(dataset: str, uri: str, name: str, sides: tuple[int, ...]) -> Category:
    samples = tuple(shard_samples(uri, name))
    counts = too_fine_masks(uri, name, sides)
    findings = (*overlaps(samples), *too_fine(counts, Path(name)))
    return Category(dataset, name, samples, uri, findings, frozenset(counts))


def _root(dataset: DatasetConfig, demo_root: Path) -> Path:
    if dataset.root is not None:
        return Path(dataset.root).expanduser()
    write = dataset_of(dataset.name).write
    if write is None:
        raise BadInput(
            f"dataset.root: {dataset.name} has to be somewhere on this machine; "
            f"--root {dataset.name}=DIR, the folder that holds the category folders"
        )
    return write(demo_root)
