"""The files in a dataset's folders, found by listing: no file is opened.

A reader turns one category into a `Listing`: the images to read, and the problems of the folders. It finds the folders
of its layout by `folder_in`, in any case and one level deeper than expected, as archives are often unpacked.
"""

import difflib
import re
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
_ADDED = ("__MACOSX", "Thumbs.db", "desktop.ini")
"""Names of hidden files that macOS and Windows add to folders and archives."""
_TEXTS = (".txt", ".md", ".pdf")
"""Extensions of files that publishers put beside the folders of a dataset."""
Kind = Literal["broken", "missing", "unexpected", "mismatched", "noted", "unmarked", "overlap"]
Defects = Mapping[int, Callable[[int], int] | None]
"""(pixel value in a mask, area of the defect) -> number of its pixels that have to be found; None if undefined."""


@dataclass(frozen=True)
class Finding:
    """One problem of a dataset's files.

    Files with an `unexpected` finding are skipped. Files with a `noted` finding are read as the finding says.
    An image with an `unmarked` finding is read as an image of normal pixels, and no defect is learned from it.
    Files with an `overlap` finding are read, but a study refuses them by default. Any other finding stops the reading.
    """

    kind: Kind
    path: Path
    problem: str
    remedy: str

    @property
    def stops(self) -> bool:
        """Whether the files cannot be read until the problem is corrected."""
        return self.kind not in ("unexpected", "noted", "unmarked", "overlap")

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.remedy}"


@dataclass(frozen=True)
class Entry:
    """A listed image with its masks; `defects` are the values that a mask may contain, None if any.

    `place` is the image's folder relative to the category's, written as the layout writes it ("train/good"), whatever
    the case and depth of the folders. If it is None, the image's own path is its `image_id`.
    """

    split: SplitName
    defect_type: str
    label: int
    image: Path
    masks: tuple[Path, ...] = ()
    defects: Defects | None = None
    place: str | None = None

    def image_id(self, folder: Path) -> str:
        """Returns the image's posix path relative to the category's folder, as the layout writes it."""
        return self.image.relative_to(folder).as_posix() if self.place is None else f"{self.place}/{self.image.name}"


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
    return [path for path in listed(root) if path.name not in _ADDED and is_folder(path)]


def inmost(folder: Path) -> Path:
    """Returns the folder, or the one in it that holds the files: it looks through each folder that holds nothing but a
    folder of its own name, in any case, and texts.

    Raises:
        BadInput: a folder cannot be listed.
    """
    name = folder.absolute().name.casefold()
    while is_folder(folder):
        within = [p for p in listed(folder) if p.name not in _ADDED and p.suffix.lower() not in _TEXTS]
        if len(within) != 1 or within[0].name.casefold() != name or not is_folder(within[0]):
            break
        folder = within[0]
    return folder


def namesakes(parent: Path, name: str) -> list[Path]:
    """Returns the folders in `parent` that are called `name`, in any case and with any separator between words.

    The folder of exactly that name comes first. The list is empty if there is none, or no `parent`.
    """
    within = listed(parent) if is_folder(parent) else []
    found = [p for p in within if _spelled(p.name) == _spelled(name) and is_folder(p)]
    return sorted(found, key=lambda p: p.name != name)


def folder_in(parent: Path, name: str) -> Path:
    """Returns the first of the `namesakes`, looked through by `inmost`; `parent / name` if there is none."""
    found = namesakes(parent, name)
    return inmost(found[0]) if found else parent / name


def folder_of_kinds(parent: Path, name: str) -> Path:
    """Returns the folder that `folder_in` returns; a kind in it that has its name, and images alone, stays a kind."""
    found = folder_in(parent, name)
    return namesakes(parent, name)[0] if images(found) and not subfolders(found) else found


def kinds_in(parent: Path, names: Iterable[str] = ()) -> dict[str, Path]:
    """Returns name -> folder of the kinds of images in `parent`, sorted, each looked through by `inmost`.

    Kinds of the layout's own `names` are found as by `folder_in`, and have these names. Empty if there is no `parent`.
    """
    own = {name: found for name in names if (found := namesakes(parent, name))}
    others = {*subfolders(parent)} - {p for found in own.values() for p in found} if is_folder(parent) else ()
    kinds = {name: found[0] for name, found in own.items()} | {p.name: p for p in others}
    return {name: inmost(kinds[name]) for name in sorted(kinds)}


def paired(kinds: Iterable[str], folders: Mapping[str, Path]) -> dict[str, Path]:
    """Returns kind -> its folder among `folders`, whose name may be in another case if no other kind has that name."""
    kinds = {*kinds}
    free = {name.casefold(): path for name, path in folders.items() if name not in kinds}
    found = {kind: folders.get(kind, free.get(kind.casefold())) for kind in kinds}
    return {kind: path for kind, path in found.items() if path is not None}


def deeper(root: Path, list_categories: Callable[[Path], tuple[str, ...]]) -> str:
    """Returns a remedy for a `root` without categories: the first folder in `root` that holds categories."""
    found = next((path for path in subfolders(root) if list_categories(path)), None)
    return f"; {found} holds some: give that folder" if found else ""


def _spelled(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def images(folder: Path) -> list[Path]:
    """Returns the image files in `folder` by their extension, sorted; an empty list if there is no such folder."""
    return [p for p in listed(folder) if is_image(p)] if is_folder(folder) else []


def is_image(path: Path) -> bool:
    """Returns whether the path has an image's extension and is a file, or a link without a target."""
    return path.suffix.lower() in EXTENSIONS and (path.is_file() or path.is_symlink())


def strays(folder: Path, folders: Iterable[str] = ()) -> list[Finding]:
    """Returns a finding for everything in `folder` that is neither an image nor the folder read as one of `folders`."""
    if not is_folder(folder):
        return []
    twins_of = {name: twins(folder, name) for name in folders}
    read = {p for name in twins_of for p in namesakes(folder, name)}
    found = [p for p in listed(folder, hidden=True) if not (is_image(p) and not p.name.startswith("."))]
    return [*(stray(p) for p in found if p not in read), *(f for findings in twins_of.values() for f in findings)]


def twins(folder: Path, name: str) -> list[Finding]:
    """Returns a finding for every folder in `folder` that is skipped because another one is read as `name`."""
    read, *others = namesakes(folder, name) or [folder / name]
    problem = f"has the name of {read.name} in another spelling, and is skipped with all its files"
    return [Finding("unexpected", p, problem, f"move them to {read}, or rename it") for p in others]


def similar(kinds: Mapping[str, Path]) -> list[Finding]:
    """Returns a finding for every kind of defect that has the name of an earlier one in another case."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for kind in kinds:
        same[kind.casefold()].append(kind)
    return [
        Finding("noted", kinds[kind], f"is another kind of defect than {first}", "move its files if they are the same")
        for first, *others in same.values()
        for kind in others
    ]


def stray(path: Path) -> Finding:
    """Returns the finding about a file or folder that does not belong to the layout."""
    if path.name.startswith(".") or not images(path):
        return Finding("unexpected", path, "is not part of the layout and is skipped", "remove it")
    problem = "is not part of the layout and is skipped with all its images"
    return Finding("unexpected", path, problem, f"move them to {path.parent}, or remove it")


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
    """Returns whether the path is a folder. Raises BadInput if permissions prevent the check."""
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
    in_another_case = [name for name in names if name.casefold() == category.casefold()]
    near = in_another_case or difflib.get_close_matches(category, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return BadInput(f"{root / category}: no such category; {hint}there are: {', '.join(names)}")
