"""Read the files of every dataset: the samples of its categories, and all problems of its files."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from goodshot.components.data.checking import check
from goodshot.components.data.datasets import dataset_of
from goodshot.components.data.images import DEFAULT_LIMIT, Limit
from goodshot.components.data.layout import Finding
from goodshot.components.data.sample import Sample
from goodshot.components.errors import BadInput


@dataclass(frozen=True)
class Report:
    """A dataset's valid images, sorted by category and `image_id`, and every finding about the others."""

    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]


def read_dataset(name: str, root: Path, category: str) -> list[Sample]:
    """Returns the samples of `read_category`."""
    return list(read_category(name, root, category).samples)


def read_category(name: str, root: Path, category: str, limit: Limit = DEFAULT_LIMIT) -> Report:
    """Returns the category's samples sorted by `image_id`, every file read and verified, and what was noted about them.

    Images of one category may differ in size. Hidden files and files that are not images are skipped.

    Raises:
        BadInput: the first problem that stops the reading, in one line: the path, the problem, the remedy.
    """
    listing = dataset_of(name).list_category(root, category)
    _refuse(listing.findings)
    samples, findings = check(listing, name, category, limit=limit)
    _refuse(findings)
    return Report(tuple(samples), tuple(findings))


def verify(
    name: str,
    root: Path,
    categories: Iterable[str] = (),
    done: Callable[[], None] = lambda: None,
    limit: Limit = DEFAULT_LIMIT,
) -> Report:
    """Returns every finding about the categories (all of them if none is named), and the valid samples.

    `done` is called after each image.

    Raises:
        BadInput: `root` or a category is missing, or cannot be listed.
    """
    dataset = dataset_of(name)
    samples: list[Sample] = []
    findings: list[Finding] = []
    for category in tuple(categories) or dataset.list_categories(root):
        good, found = check(dataset.list_category(root, category), name, category, done, limit)
        samples += good
        findings += found
    return Report(tuple(samples), tuple(findings))


def _refuse(findings: Iterable[Finding]) -> None:
    for finding in findings:
        if finding.stops:
            raise BadInput(str(finding))
