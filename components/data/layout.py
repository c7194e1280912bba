"""What a dataset's folders hold, found by listing: no file is opened here.

A reader turns one category into a `Listing`: the images it wants read, and what is wrong with the folders.
"""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.data.sample import Sample, SplitName
from components.errors import BadInput

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
Kind = Literal["broken", "missing", "unexpected", "mismatched"]
Defects = Mapping[int, Callable[[int], int] | None]
"""The value in a mask -> how many pixels of a defect of that area have to be found; None where nobody knows."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a dataset's files.

    `unexpected` ones are passed over when a dataset is read; all others stop it.
    """

    kind: Kind
    path: Path
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.remedy}"


@dataclass(frozen=True)
class Entry:
    """An image found by listing, with its masks; `defects` are the values a mask may hold, None for any mask."""

    split: SplitName
    defect_type: str
    label: int
    image: Path
    masks: tuple[Path, ...] = ()
    defects: Defects | None = None


@dataclass(frozen=True)
class Listing:
    """A category's folder, the images in it that are to be read, and what is wrong with the folders.

    Where the layout leaves the split to the images' content, `hold_out` is given the sound samples, sorted by
    `image_id`, and returns them with some moved to the test.
    """

    folder: Path
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]
    hold_out: Callable[[list[Sample]], list[Sample]] = list


def subfolders(root: Path) -> list[Path]:
    """Returns the folders in `root`, sorted, hidden ones left out.

    Raises:
        BadInput: `root` is missing or cannot be listed.
    """
    if not is_folder(root):
        raise BadInput(f"{root}: no such folder; give the folder that holds the categories")
    return [path for path in listed(root) if is_folder(path)]


def images(folder: Path) -> list[Path]:
    """Returns the image files in `folder` by their extension, sorted; none if there is no such folder."""
    return [p for p in listed(folder) if is_image(p)] if is_folder(folder) else []


def is_image(path: Path) -> bool:
    """Returns whether the path is named as an image and is a file, or a link that leads nowhere."""
    return path.suffix.lower() in EXTENSIONS and (path.is_file() or path.is_symlink())


def strays(folder: Path, folders: Iterable[str] = ()) -> list[Finding]:
    """Returns a finding for everything in `folder` that is neither an image nor one of the `folders` named."""
    if not is_folder(folder):
        return []
    allowed = {*folders}
    found = [p for p in listed(folder, hidden=True) if not (is_image(p) and not p.name.startswith("."))]
    unknown = [p for p in found if not (is_folder(p) and p.name in allowed)]
    return [Finding("unexpected", p, "is not part of the layout and is passed over", "remove it") for p in unknown]


def duplicates(paths: Iterable[Path]) -> list[Finding]:
    """Returns a finding for every file whose name, without extension and case, its folder holds already."""
    seen: defaultdict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in paths:
        seen[path.parent, path.stem.casefold()].append(path)
    return [
        Finding("unexpected", p, f"has the name of {same[0].name} but for case or extension", "rename one of them")
        for same in seen.values()
        for p in same[1:]
    ]


def is_folder(path: Path) -> bool:
    """Returns whether the path is a folder. Raises BadInput if that may not be known."""
    try:
        return path.is_dir()
    except OSError as error:
        raise BadInput(f"{path}: cannot be looked at ({error.strerror}); check its permissions") from error


def listed(folder: Path, hidden: bool = False) -> list[Path]:
    """Returns the folder's contents, sorted. Raises BadInput if it cannot be listed."""
    try:
        return sorted(p for p in folder.iterdir() if hidden or not p.name.startswith("."))
    except OSError as error:
        raise BadInput(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error


def no_such_category(root: Path, category: str, names: tuple[str, ...]) -> BadInput:
    """Returns the error for a category that is not among `names`."""
    near = difflib.get_close_matches(category, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return BadInput(f"{root / category}: no such category; {hint}there are: {', '.join(names)}")
