"""One door to every dataset: which categories it has, their samples, and everything that is wrong with its files."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from components.data import folder, loco, mvtec
from components.data.checking import check
from components.data.layout import Finding, Listing
from components.data.sample import Sample
from components.errors import BadInput

DatasetName = Literal["demo", "mvtec_ad", "mvtec_loco", "btad", "folder"]
DATASETS: tuple[DatasetName, ...] = get_args(DatasetName)

_CC = "CC BY-NC-SA 4.0: non-commercial"
_CC_BTAD = "CC BY-SA 4.0 by its authors' repository, CC BY-NC-SA 4.0 by others: ask before commercial use"


@dataclass(frozen=True)
class Dataset:
    """A dataset's layout, and what its publisher says of it."""

    list_category: Callable[[Path, str], Listing]
    categories: Callable[[Path], tuple[str, ...]]
    licence: str
    source: str


_OF: dict[DatasetName, Dataset] = {
    "demo": Dataset(
        mvtec.list_category,
        mvtec.list_categories,
        "CC0 and public domain: LICENSE.txt in the folder",
        "photographs that ship with scikit-image",
    ),
    "mvtec_ad": Dataset(mvtec.list_category, mvtec.list_categories, _CC, "MVTec AD, Bergmann et al., CVPR 2019"),
    "mvtec_loco": Dataset(loco.list_category, mvtec.list_categories, _CC, "MVTec LOCO AD, Bergmann et al., IJCV 2022"),
    "btad": Dataset(
        partial(mvtec.list_category, normal="ok"), mvtec.list_categories, _CC_BTAD, "BTAD, Mishra et al., ISIE 2021"
    ),
    "folder": Dataset(folder.list_category, folder.list_categories, "the owner's", "the user's own folder"),
}


@dataclass(frozen=True)
class Report:
    """A dataset's sound images, sorted by category and `image_id`, and every finding about the others."""

    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]


def dataset(name: str) -> Dataset:
    """Returns the dataset of that name. Raises BadInput, naming those there are, if there is none."""
    if name not in _OF:
        raise BadInput(f"{name}: no such dataset; there are: {', '.join(DATASETS)}")
    return next(found for known, found in _OF.items() if known == name)


def categories_of(name: str, root: Path) -> tuple[str, ...]:
    """Returns the categories of the dataset in `root`, sorted.

    Raises:
        BadInput: `root` is missing or cannot be listed.
    """
    return dataset(name).categories(root)


def read_dataset(name: str, root: Path, category: str) -> list[Sample]:
    """Returns the category's samples sorted by `image_id`, every file read and verified.

    Images of one category may differ in size. Files that are no images, and hidden files, are passed over.

    Raises:
        BadInput: the first thing wrong, in one line: the path, the problem, the remedy.
    """
    return _read(dataset(name), name, root, category)


def scan(root: Path, category: str, dataset: str) -> list[Sample]:
    """Returns what `read_dataset` does, of a folder in MVTec AD's layout, whatever the dataset is called.

    Raises:
        BadInput: as `read_dataset`.
    """
    return _read(_OF["mvtec_ad"], dataset, root, category)


def verify(name: str, root: Path, categories: Iterable[str] = (), done: Callable[[], None] = lambda: None) -> Report:
    """Returns every finding about the categories (all of them where none is named), and the sound samples.

    `done` is called after each image.

    Raises:
        BadInput: `root` or a category is missing, or cannot be listed.
    """
    known = dataset(name)
    samples: list[Sample] = []
    findings: list[Finding] = []
    for category in tuple(categories) or known.categories(root):
        good, found = check(known.list_category(root, category), name, category, done)
        samples += _assigned(name, root, category, good)
        findings += found
    return Report(tuple(samples), tuple(findings))


def _read(known: Dataset, name: str, root: Path, category: str) -> list[Sample]:
    listing = known.list_category(root, category)
    for finding in (f for f in listing.findings if f.kind != "unexpected"):
        raise BadInput(str(finding))
    samples, findings = check(listing, name, category)
    for finding in (f for f in findings if f.kind != "unexpected"):
        raise BadInput(str(finding))
    return _assigned(name, root, category, samples)


def _assigned(name: str, root: Path, category: str, samples: list[Sample]) -> list[Sample]:
    if name != "folder" or folder.has_index(root, category):
        return samples
    return folder.hold_out(samples)
