"""The facts about a folder of photographs: counts, formats, sizes, copies, masks and findings of each category.

The findings are those of the readers, which studies and shards use too; nothing is judged a second time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from goodshot.components.data import datasets
from goodshot.components.data.checking import Checked, Checks, Report, check
from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.data.layout import (
    EXTENSIONS,
    Entry,
    Finding,
    Listing,
    images,
    inmost,
    no_such_category,
    strays,
    subfolders,
)
from goodshot.components.data.sample import GOOD
from goodshot.components.errors import BadInput

PHOTOGRAPHS = "photographs without folders"
"""The name of the layout of a folder that holds images alone."""


@dataclass(frozen=True)
class Examined:
    """One category as it was read.

    layout: the dataset whose layout it has.
    side: the side in pixels to which a detector resizes masks.
    checked: its valid images by split and defect type, each sorted by ``image_id``.
    findings: every finding about its files.
    """

    name: str
    layout: str
    side: int
    checked: Sequence[Checked]
    findings: Sequence[Finding]

    @property
    def groups(self) -> dict[tuple[str, str], list[Checked]]:
        """(split, defect type) → images: train, validation and test, normal images before defects."""
        groups: defaultdict[tuple[str, str], list[Checked]] = defaultdict(list)
        for each in self.checked:
            groups[each.sample.split, each.sample.defect_type].append(each)
        order = ("train", "validation", "test")
        return dict(sorted(groups.items(), key=lambda item: (order.index(item[0][0]), item[0][1] != GOOD, item[0][1])))

    @property
    def kinds(self) -> Counter[str]:
        """Formats with colours and bits, such as ``PNG colour, 8 bits``."""
        return Counter(each.facts.kind for each in self.checked)

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """(width, height) in pixels."""
        return Counter((each.sample.width, each.sample.height) for each in self.checked)

    @property
    def copies(self) -> list[list[str]]:
        """Groups of images with the same content, as their ids."""
        same: defaultdict[str, list[str]] = defaultdict(list)
        for each in self.checked:
            same[each.sample.sha256].append(each.sample.image_id)
        return [ids for ids in same.values() if len(ids) > 1]

    @property
    def shares(self) -> list[float]:
        """The share of its pixels that each mask marks, in [0, 1], ascending."""
        return sorted(share for each in self.checked for share in each.shares)

    @property
    def too_fine(self) -> int:
        """The number of images with a mask of which nearest neighbour would leave nothing at ``side``."""
        return sum(self.side in each.enlarged for each in self.checked)


def layout_of(folder: Path) -> tuple[Dataset | None, Path, tuple[str, ...]]:
    """The dataset whose layout a folder has, the folder of the categories, and their names.

    The folder holds categories, is a category, or holds only images, which is not the layout of a dataset (None).

    Raises:
        BadInput: it has no known layout, or cannot be listed.
    """
    folder = inmost(folder)
    own = folder.resolve().name
    below = [(path.name, inmost(path)) for path in subfolders(folder)]
    for dataset in datasets.DATASETS:
        if dataset.recognises(folder):
            # A user's own folder may be named itself; other datasets are named by the folder that holds the category.
            root = folder if own in dataset.list_categories(folder) else folder.resolve().parent
            return dataset, root, (own,)
        if names := tuple(name for name, path in below if dataset.recognises(path)):
            return dataset, folder, names
    if images(folder):
        return None, folder, (own,)
    raise BadInput(
        f"{folder}: holds no images ({', '.join(sorted(EXTENSIONS))}) and no layout that is known; "
        "put normal images in good/ and defective ones in bad/, or name the dataset with --dataset"
    )


def examine(
    folder: Path,
    dataset: Dataset | None,
    categories: Sequence[str],
    checks: Checks,
    side: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Examined]:
    """Read and check the categories of a folder, all of them if none is named.

    Args:
        dataset: the dataset whose layout the folder has; None to recognise it.

    Raises:
        BadInput: the folder has no such layout or category, or cannot be listed.
    """
    if dataset is None:
        dataset, folder, found = layout_of(folder)
    else:
        found = dataset.list_categories(folder)
    if unknown := [name for name in categories if name not in found]:
        raise no_such_category(folder, unknown[0], found)
    names = tuple(categories) or found
    if not names:
        raise BadInput(f"{folder}: holds no category of {dataset.name if dataset else ''}; give the folder that does")
    listings = {name: dataset.list_category(folder, name) if dataset else _photographs(folder) for name in names}
    total, done = sum(len(listing.entries) for listing in listings.values()), 0

    def advance() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    layout = dataset.name if dataset else PHOTOGRAPHS
    reports = {name: check(listing, layout, name, checks, advance) for name, listing in listings.items()}
    return [_examined(name, layout, side, report) for name, report in reports.items()]


def _examined(name: str, layout: str, side: int, report: Report) -> Examined:
    return Examined(name, layout, side, report.checked, report.findings)


def _photographs(folder: Path) -> Listing:
    return Listing(folder, tuple(Entry("train", GOOD, 0, path) for path in images(folder)), tuple(strays(folder)))
