"""The files in a dataset's folders, found by listing: no file is opened.

A reader turns one category into a `Listing`: the images to read, and the problems of the folders.
"""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from goodshot.components.data.sample import Sample, SplitName
from goodshot.components.errors import BadInput

EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".gif"}
)
Kind = Literal["broken", "missing", "unexpected", "mismatched", "noted", "overlap"]
Defects = Mapping[int, Callable[[int], int] | None]
"""(pixel value in a mask, area of the defect) -> number of its pixels that have to be found; None if undefined."""


@dataclass(frozen=True)
class Finding:
    """One problem of a dataset's files.

    Files with an `unexpected` finding are skipped when a dataset is read, files with a `noted` one are read as it says.
    Files with an `overlap` finding are read too, but a study refuses them unless told otherwise. Any other finding
    stops the reading.
    """

    kind: Kind
    path: Path
    problem: str
    remedy: str

    @property
    def stops(self) -> bool:
        """Whether the files cannot be read without correcting it."""
        return self.kind not in ("unexpected", "noted", "overlap")

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.remedy}"


@dataclass(frozen=True)
class Entry:
    """A listed image with its masks; `defects` are the values that a mask may contain, None if any."""

    split: SplitName
    defect_type: str
    label: int
    image: Path
    masks: tuple[Path, ...] = ()
    defects: Defects | None = None


@dataclass(frozen=True)
class Listing:
    """A category's folder, its images to read, and the problems of its folders.

    Where the layout leaves the split to the images' content, `hold_out` takes the valid samples, sorted by
    `image_id`, and returns them with some of them moved to the test split.

    Where some defective images lack a mask, `has_masks` is False and no image keeps its masks, because pixel metrics
    would count defective pixels as normal ones.
    """

    folder: Path
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]
    hold_out: Callable[[list[Sample]], list[Sample]] = list
    has_masks: bool = True


def unmasked(missing: Mapping[Path, str], defective: int) -> list[Finding]:
    """Returns a finding if some defective images have no mask, so that the category has no pixel metrics.

    Args:
        missing: image -> how to give it a mask.
        defective: the number of defective images.
    """
    if not missing:
        return []
    image, remedy = next(iter(missing.items()))
    problem = f"has no mask{_and_others(len(missing), defective)}: there are no pixel metrics"
    return [Finding("noted", image, problem, remedy + ", and so for the others" * (len(missing) > 1))]


def _and_others(missing: int, defective: int) -> str:
    if missing == 1:
        return ""
    return f", as {missing - 1} more of {defective} defective images" if missing < defective else ", nor any other"


def subfolders(root: Path) -> list[Path]:
    """Returns the folders in `root`, sorted, without hidden ones.

    Raises:
        BadInput: `root` is missing or cannot be listed.
    """
    if not is_folder(root):
        raise BadInput(f"{root}: no such folder; give the folder that holds the categories")
    return [path for path in listed(root) if is_folder(path)]


def images(folder: Path) -> list[Path]:
    """Returns the image files in `folder` by their extension, sorted; an empty list if there is no such folder."""
    return [p for p in listed(folder) if is_image(p)] if is_folder(folder) else []


def is_image(path: Path) -> bool:
    """Returns whether the path has an image's extension and is a file, or a link without a target."""
    return path.suffix.lower() in EXTENSIONS and (path.is_file() or path.is_symlink())


def strays(folder: Path, folders: Iterable[str] = ()) -> list[Finding]:
    """Returns a finding for everything in `folder` that is neither an image nor one of the named `folders`."""
    if not is_folder(folder):
        return []
    allowed = {*folders}
    found = [p for p in listed(folder, hidden=True) if not (is_image(p) and not p.name.startswith("."))]
    unknown = [p for p in found if not (is_folder(p) and p.name in allowed)]
    return [Finding("unexpected", p, "is not part of the layout and is skipped", "remove it") for p in unknown]


def duplicates(paths: Iterable[Path]) -> list[Finding]:
    """Returns a finding for every file that has the name of an earlier one, without extension and case."""
    seen: defaultdict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in paths:
        seen[path.parent, path.stem.casefold()].append(path)
    return [
        Finding("unexpected", p, f"has the name of {same[0].name} apart from case or extension", "rename one of them")
        for same in seen.values()
        for p in same[1:]
    ]


def is_folder(path: Path) -> bool:
    """Returns whether the path is a folder. Raises BadInput if its permissions forbid to know."""
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
