"""Read the files of every dataset: the samples of its categories, and all problems of its files."""

from collections.abc import Callable, Iterable
from pathlib import Path

from goodshot.components.data.checking import DEFAULT_CHECKS, Checks, Report, check
from goodshot.components.data.datasets import dataset_of
from goodshot.components.data.layout import Finding
from goodshot.components.data.sample import Sample
from goodshot.components.errors import BadInput


def read_dataset(name: str, root: Path, category: str) -> list[Sample]:
    """Returns the samples of `read_category`."""
    return list(read_category(name, root, category).samples)


def read_category(name: str, root: Path, category: str, checks: Checks = DEFAULT_CHECKS) -> Report:
    """Returns the category's samples sorted by `image_id`, every file read and verified, and the findings about them.

    Images of one category may differ in size. Hidden files and files that are not images are skipped.

    Raises:
        BadInput: the first problem that stops the reading, in one line: the path, the problem, the remedy.
    """
    listing = dataset_of(name).list_category(root, category)
    _refuse(listing.findings)
    report = check(listing, name, category, checks)
    _refuse(report.findings)
    return report


def verify(
    name: str,
    root: Path,
    categories: Iterable[str] = (),
    checks: Checks = DEFAULT_CHECKS,
    done: Callable[[], None] = lambda: None,
) -> Report:
    """Returns every finding about the categories (all of them if none is named), and the valid samples.

    `done` is called after each image.

    Raises:
        BadInput: `root` or a category is missing, or cannot be listed.
    """
    dataset = dataset_of(name)
    names = tuple(categories) or dataset.list_categories(root)
    reports = [check(dataset.list_category(root, category), name, category, checks, done) for category in names]
    return Report(
        tuple(sample for report in reports for sample in report.samples),
        tuple(finding for report in reports for finding in report.findings),
        tuple(checked for report in reports for checked in report.checked),
    )


def _refuse(findings: Iterable[Finding]) -> None:
    for finding in findings:
        if finding.stops:
            raise BadInput(str(finding))
