"""A user's own folder, in one of two layouts.

    <category>/good/*                    normal images; without bad/ all of them for training
    <category>/bad/* or bad/<defect>/*   optional: defective images, all of them for the test
    <category>/masks/…                   optional: masks, at the image's path below bad/ (any extension, or _mask)
    <category>/index.csv or index.json   instead of the folders: see `goodshot.components.data.index`

`root` is the category itself or the folder that holds several. With `bad/`, the last third of the different good
images in the order of their SHA-256 are the test's normal images, and the others are training images: the choice
depends on nothing but the images, and two copies of one image are always in the same split.
"""

from dataclasses import replace
from pathlib import Path

from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.data.index import INDEXES, list_index
from goodshot.components.data.layout import (
    Entry,
    Finding,
    Listing,
    duplicates,
    images,
    is_folder,
    no_such_category,
    strays,
    subfolders,
    unmasked,
)
from goodshot.components.data.sample import GOOD, Sample
from goodshot.components.errors import BadInput

BAD = "bad"
HELD_OUT = 3
"""Of this many different good images, one is held out for the test."""


def list_categories(root: Path) -> tuple[str, ...]:
    """Returns the root's own name if it is a category, else the sorted names of the categories in it.

    Raises:
        BadInput: `root` is missing or cannot be listed.
    """
    below = subfolders(root)
    if _is_category(root):
        return (root.resolve().name,)
    return tuple(path.name for path in below if _is_category(path))


def list_category(root: Path, category: str) -> Listing:
    """Returns the category's listing, described by its index if it has one, else by its folders.

    Raises:
        BadInput: there is no such category, or a folder or the index cannot be read.
    """
    names = list_categories(root)
    if category not in names:
        if not names:
            raise BadInput(f"{root}: holds no folder {GOOD} and no index; put normal images in {root / GOOD}")
        raise no_such_category(root, category, names)
    folder = root if _is_category(root) else root / category
    index = _index(folder)
    return list_index(index) if index else _list_folders(folder)


def _hold_out(samples: list[Sample]) -> list[Sample]:
    """The samples with the last third of the different good images, by SHA-256, moved to the test.

    Nothing is moved without test images: good images alone are all training images.
    """
    if all(s.split == "train" for s in samples):
        return samples
    hashes = sorted({s.sha256 for s in samples if s.split == "train"})
    held = set(hashes[len(hashes) - len(hashes) // HELD_OUT :])
    return [replace(s, split="test") if s.split == "train" and s.sha256 in held else s for s in samples]


def _is_category(folder: Path) -> bool:
    return is_folder(folder / GOOD) or _index(folder) is not None


def _index(folder: Path) -> Path | None:
    return next((folder / name for name in INDEXES if (folder / name).is_file()), None)


def _list_folders(folder: Path) -> Listing:
    good = [Entry("train", GOOD, 0, path) for path in images(folder / GOOD)]
    findings = [] if good else [Finding("missing", folder / GOOD, "no good images", "put normal images there")]
    bad, missing = _bad(folder)
    if bad and len(good) < HELD_OUT:
        remedy = f"add good images (at least {HELD_OUT}: every third is held out for the test)"
        findings.append(Finding("missing", folder / GOOD, f"{len(good)} good images are too few to test", remedy))
    unused = _unused(folder, bad)
    lacking = unmasked(missing, len(bad))
    entries = (*good, *bad)
    found = (*findings, *lacking, *unused, *_strays(folder), *duplicates(e.image for e in entries))
    return Listing(folder, entries, found, _hold_out, not missing)


def _bad(folder: Path) -> tuple[list[Entry], dict[Path, str]]:
    """The defective images, and, where others have masks, how to give one to those that have none."""
    entries, missing = [], {}
    masked = is_folder(folder / "masks")
    for kind, image in _bad_images(folder):
        mask = _mask_of(image, folder) if masked else None
        if masked and mask is None:
            missing[image] = f"add {(folder / 'masks' / image.relative_to(folder / BAD)).with_suffix('.png')}"
        entries.append(Entry("test", kind, 1, image, (mask,) if mask else ()))
    return entries, missing


def _bad_images(folder: Path) -> list[tuple[str, Path]]:
    kinds = subfolders(folder / BAD) if is_folder(folder / BAD) else []
    plain = [(BAD, image) for image in images(folder / BAD)]
    return plain + [(kind.name, image) for kind in kinds for image in images(kind)]


def _mask_of(image: Path, folder: Path) -> Path | None:
    where = folder / "masks" / image.parent.relative_to(folder / BAD)
    by_stem = {mask.stem: mask for mask in images(where)}
    return by_stem.get(f"{image.stem}_mask", by_stem.get(image.stem))


def _unused(folder: Path, bad: list[Entry]) -> list[Finding]:
    truth = folder / "masks"
    used = {mask for entry in bad for mask in entry.masks}
    places = [truth, *subfolders(truth)] if is_folder(truth) else []
    return [
        Finding("missing", mask, "mask without image", f"add its image below {folder / BAD} or remove the mask")
        for place in places
        for mask in images(place)
        if mask not in used
    ]


def _strays(folder: Path) -> list[Finding]:
    top = [f for f in strays(folder, (GOOD, BAD, "masks")) if f.path.suffix.lower() not in (".txt", ".md")]
    kinds = [p.name for p in subfolders(folder / BAD)] if is_folder(folder / BAD) else []
    below = [f for kind in kinds for f in strays(folder / BAD / kind)]
    return [*top, *strays(folder / GOOD), *strays(folder / BAD, kinds), *below]


FOLDER = Dataset(
    name="folder",
    title="a folder of your own",
    source="the user's own folder",
    licence="the owner's",
    list_category=list_category,
    list_categories=list_categories,
    recognises=_is_category,
    nothing_to_fetch="it is a folder of your own; name it as dataset.root of a study, or to "
    "'goodshot shard folder --root'",
)
