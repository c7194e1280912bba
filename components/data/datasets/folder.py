"""A user's own folder, in one of two layouts.

    <category>/good/*                    normal images; without bad/ all of them for training
    <category>/bad/* or bad/<defect>/*   optional: defective images, all of them for the test
    <category>/masks/…                   optional: masks, at the image's path below bad/ (any extension, or _mask)
    <category>/index.csv or index.json   instead of the folders: see `goodshot.components.data.index`

`root` is the category itself or the folder that holds several. With `bad/`, the last third of the different good
images in the order of their SHA-256 are the test's normal images, and the others are training images: the choice
depends on nothing but the images, and two copies of one image are always in the same split. An `image_id` of the
folders has the names above, whatever their case and depth, as in MVTec AD's layout.
"""

from dataclasses import replace
from pathlib import Path

from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.data.index import INDEXES, list_index
from goodshot.components.data.layout import (
    Entry,
    Finding,
    Listing,
    deeper,
    duplicates,
    folder_in,
    folder_of_kinds,
    images,
    inmost,
    is_folder,
    kinds_in,
    listed,
    namesakes,
    no_such_category,
    paired,
    similar,
    strays,
    subfolders,
    unmasked,
)
from goodshot.components.data.sample import GOOD, Sample
from goodshot.components.errors import BadInput

BAD, MASKS = "bad", "masks"
HELD_OUT = 3
"""One in this many different good images is held out for the test."""


def list_categories(root: Path) -> tuple[str, ...]:
    """Returns the root's own name if it is a category, else the sorted names of the categories in it.

    Raises:
        BadInput: `root` is missing or cannot be listed.
    """
    return tuple(_categories(root))


def _categories(root: Path) -> dict[str, Path]:
    """Name -> folder with `good` or an index in it. `root` is looked through if it holds no category itself."""
    below = subfolders(root)
    if _is_category(root):
        return {root.resolve().name: root}
    found = {path.name: folder for path in below if _is_category(folder := inmost(path))}
    return found if found or inmost(root) == root else _categories(inmost(root))


def list_category(root: Path, category: str) -> Listing:
    """Returns the category's listing, described by its index if it has one, else by its folders.

    Raises:
        BadInput: there is no such category, or a folder or the index cannot be read.
    """
    folders = _categories(root)
    if category not in folders:
        if not folders:
            remedy = f"put normal images in {root / GOOD}{deeper(root, list_categories)}"
            raise BadInput(f"{root}: holds no folder {GOOD} and no index; {remedy}")
        raise no_such_category(root, category, tuple(folders))
    folder = folders[category]
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
    return bool(namesakes(folder, GOOD)) or _index(folder) is not None


def _index(folder: Path) -> Path | None:
    found = {path.name.lower(): path for path in reversed(listed(folder)) if path.name.lower() in INDEXES}
    return next((found[name] for name in INDEXES if name in found and found[name].is_file()), None)


def _list_folders(folder: Path) -> Listing:
    where = folder_in(folder, GOOD)
    good = [Entry("train", GOOD, 0, path, place=GOOD) for path in images(where)]
    findings = [] if good else [Finding("missing", where, "no good images", "put normal images there")]
    bad, missing = _bad(folder)
    if bad and len(good) < HELD_OUT:
        remedy = f"add good images (at least {HELD_OUT}: every third is held out for the test)"
        findings.append(Finding("missing", where, f"{len(good)} good images are too few to test", remedy))
    unused = _unused(folder, bad)
    lacking = unmasked(missing, len(bad))
    entries = (*good, *bad)
    found = (*findings, *lacking, *unused, *_strays(folder), *duplicates(e.image for e in entries))
    return Listing(folder, entries, found, _hold_out, not missing)


def _bad(folder: Path) -> tuple[list[Entry], dict[Path, str]]:
    """Return the defective images and, if only some of them have masks, how to supply the missing masks."""
    entries, missing = [], {}
    where, truth = folder_of_kinds(folder, BAD), folder_in(folder, MASKS)
    kinds = kinds_in(where)
    masks = {BAD: truth} | {kind: truth / kind for kind in kinds if kind != BAD} | paired(kinds, kinds_in(truth))
    groups = [(BAD, BAD, where, truth), *((k, f"{BAD}/{k}", path, masks[k]) for k, path in kinds.items())]
    for kind, place, path, masks_of_kind in groups:
        by_stem = {mask.stem: mask for mask in images(masks_of_kind)}
        for image in images(path):
            mask = by_stem.get(f"{image.stem}_mask", by_stem.get(image.stem))
            if is_folder(truth) and mask is None:
                missing[image] = f"add {(masks_of_kind / image.name).with_suffix('.png')}"
            entries.append(Entry("test", kind, 1, image, (mask,) if mask else (), place=place))
    return entries, missing


def _unused(folder: Path, bad: list[Entry]) -> list[Finding]:
    truth = folder_in(folder, MASKS)
    used = {mask for entry in bad for mask in entry.masks}
    remedy = f"add its image below {folder_of_kinds(folder, BAD)} or remove the mask"
    places = [truth, *kinds_in(truth).values()]
    unused = [mask for place in places for mask in images(place) if mask not in used]
    return [Finding("missing", mask, "mask without image", remedy) for mask in unused]


def _strays(folder: Path) -> list[Finding]:
    top = [f for f in strays(folder, (GOOD, BAD, MASKS)) if f.path.suffix.lower() not in (".txt", ".md")]
    bad = folder_of_kinds(folder, BAD)
    below = [f for path in kinds_in(bad).values() for f in strays(path)]
    others = [f for f in strays(bad) if not is_folder(f.path) or f.path.name.startswith(".")]
    return [*top, *strays(folder_in(folder, GOOD)), *others, *similar(kinds_in(bad)), *below]


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
