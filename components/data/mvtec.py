"""The layout of MVTec AD, which most industrial datasets and many users' folders have too.

    <root>/<category>/train/good/*.png
    <root>/<category>/test/<defect or good>/*.png
    <root>/<category>/ground_truth/<defect>/<stem>_mask.png      (<stem>.png is accepted too)

BTAD has the same layout with other names: the normal images are in `ok`, the defective ones in `ko`. Extensions may
differ within a category, and between an image and its mask (BTAD's `03` has both as .bmp).

An `image_id` has the names above even if the folders are called `Train/Good` or lie in a second `good`.
Case-insensitive file systems have always given these names, and a folder that is renamed or unpacked again stays the
same dataset.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from goodshot.components.data.layout import (
    Defects,
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
    namesakes,
    no_such_category,
    paired,
    similar,
    stray,
    strays,
    subfolders,
    twins,
    unmasked,
)
from goodshot.components.data.sample import GOOD, SplitName
from goodshot.components.errors import BadInput

_LAYOUT = "expected train/good, test/<defect> and ground_truth/<defect> in it"
Masks = dict[tuple[str, str], tuple[Path, ...]]
"""(defect type, stem of the image) -> its masks."""


def list_categories(root: Path) -> tuple[str, ...]:
    """Returns the sorted names of the folders in `root` that hold a `train` folder.

    Raises:
        BadInput: `root` is missing or cannot be listed.
    """
    return tuple(_categories(root))


def category_folder(root: Path, category: str) -> Path:
    """Returns the folder that holds the category's `train`. Raises BadInput with the existing categories if none is."""
    folders = _categories(root)
    if category in folders:
        return folders[category]
    if namesakes(root, "train"):
        raise BadInput(f"{root}: is a category itself, not a folder of categories; give its parent {root.parent}")
    if not folders:
        expected = _LAYOUT.replace(" in it", " in each category")
        raise BadInput(f"{root}: holds no category; {expected}{deeper(root, list_categories)}")
    raise no_such_category(root, category, tuple(folders))


def _categories(root: Path) -> dict[str, Path]:
    """Name -> folder with `train` in it. `root` is looked through if it holds no category itself."""
    found = {p.name: folder for p in subfolders(root) if namesakes(folder := inmost(p), "train")}
    return found if found or inmost(root) == root else _categories(inmost(root))


def list_category(root: Path, category: str, normal: str = GOOD, defective: tuple[str, ...] = ()) -> Listing:
    """Returns the category's listing.

    Args:
        normal: the name of the folders of normal images.
        defective: the names of kinds of defects that are the layout's own, and not the user's.

    Raises:
        BadInput: there is no such category, or a folder cannot be listed.
    """
    folder, names = category_folder(root, category), (normal, *defective)
    findings = _stray_masks(folder, names)
    return list_splits(folder, _masks(folder, names), names, findings=findings)


def mask_folders(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """Returns kind of defect -> the folder of its masks, whose name may be in another case than the images' folder.

    Masks of normal images are blank and are left out. See `list_splits` for the arguments.
    """
    found = kinds_in(folder_of_kinds(folder, "ground_truth"), names)
    tested = kinds_in(folder_of_kinds(folder, "test"), names)
    of_images = paired(tested, found)
    unused = {kind: path for kind, path in found.items() if path not in of_images.values()}
    return {kind: path for kind, path in (of_images | unused).items() if kind != names[0]}


def list_splits(
    folder: Path,
    masks: Masks,
    names: tuple[str, ...],
    *,
    more: tuple[SplitName, ...] = (),
    defects: Defects | None = None,
    findings: Iterable[Finding] = (),
) -> Listing:
    """Returns the listing of train, test and the `more` splits, matched with the existing masks.

    Args:
        names: the name of the folders of normal images, then the names of kinds of defects that are the layout's own.
    """
    normal = names[0]
    good = {split: folder_in(folder_in(folder, split), normal) for split in ("train", *more)}
    entries = [Entry(split, GOOD, 0, path, place=f"{split}/{normal}") for split in good for path in images(good[split])]
    problems = [] if any(e.split == "train" for e in entries) else [_no_train(good["train"])]
    test, missing, unusable = _test(folder, masks, names, defects)
    unused = _unused(folder, masks, test)
    lacking = unmasked(missing, sum(entry.label for entry in test))
    found = [*problems, *unusable, *lacking, *unused, *_strays(folder, names, good)]
    everything = (*entries, *test)
    return Listing(
        folder, everything, (*found, *findings, *duplicates(e.image for e in everything)), has_masks=not missing
    )


def _no_train(good: Path) -> Finding:
    nested = [path for path in subfolders(good) if images(path)] if is_folder(good) else []
    remedy = f"move those in {nested[0]} there" if nested else "put the category's normal images there"
    return Finding("missing", good, "no train images", remedy)


def _test(
    folder: Path, masks: Masks, names: tuple[str, ...], defects: Defects | None
) -> tuple[list[Entry], dict[Path, str], list[Finding]]:
    """Return the test images, how to supply missing masks, and findings that stop the reading."""
    entries, missing, findings = [], {}, []
    normal, truth = names[0], folder_of_kinds(folder, "ground_truth")
    kinds = kinds_in(folder_of_kinds(folder, "test"), names)
    for kind, image in ((kind, image) for kind, path in kinds.items() for image in images(path)):
        place = f"test/{kind}"
        if kind == normal:
            entries.append(Entry("test", GOOD, 0, image, place=place))
        elif found := masks.get((kind, image.stem)):
            entries.append(Entry("test", kind, 1, image, found, defects, place))
        elif defects is None:
            missing[image] = f"add {truth / kind / image.stem}_mask.png"
            entries.append(Entry("test", kind, 1, image, place=place))
        else:
            # MVTec LOCO's metrics rest on every defect's own mask.
            findings.append(Finding("missing", image, "its mask is missing", f"add {truth / kind / image.stem}"))
    if not entries and not findings:
        remedy = f"put them in test/{normal} and test/<defect>"
        findings.append(Finding("missing", folder / "test", "no test images", remedy))
    return entries, missing, findings


def _unused(folder: Path, masks: Masks, test: list[Entry]) -> list[Finding]:
    used = {mask for entry in test for mask in entry.masks}
    tested = folder_of_kinds(folder, "test")
    return [
        Finding("missing", mask, "mask without image", f"add {tested / kind}/{stem}.* or remove the mask")
        for (kind, stem), found in masks.items()
        for mask in found
        if mask not in used
    ]


def _masks(folder: Path, names: tuple[str, ...]) -> Masks:
    found: Masks = {}
    for kind, path in mask_folders(folder, names).items():
        # A stem with the suffix takes precedence over one without, because it comes later.
        for mask in sorted(images(path), key=lambda m: m.stem.endswith("_mask")):
            found[kind, mask.stem.removesuffix("_mask")] = (mask,)
    return found


def _stray_masks(folder: Path, names: tuple[str, ...]) -> list[Finding]:
    truth = folder_of_kinds(folder, "ground_truth")
    inside = [f for path in mask_folders(folder, names).values() for f in (*strays(path), *duplicates(images(path)))]
    return [*inside, *(f for name in names for f in twins(truth, name))]


def _is_document(path: Path) -> bool:
    return path.suffix.lower() in (".txt", ".md", ".json", ".pdf") or path.name.lower() in ("license", "readme")


def _strays(folder: Path, names: tuple[str, ...], good: Mapping[SplitName, Path]) -> list[Finding]:
    # Publishers put their readme, licence and configuration next to the splits.
    found = strays(folder, ("test", "ground_truth", *good))
    top = [f for f in found if not _is_document(f.path)]
    inside = [f for split in good for f in strays(folder_in(folder, split), names[:1])]
    test = folder_of_kinds(folder, "test")
    kinds = kinds_in(test, names)
    skipped = [f for name in names for f in twins(test, name)]
    # Only images in the folders of the splits' kinds are counted.
    splits = (*(folder_in(folder, split) for split in good), test)
    skipped += [stray(path) for split in splits if split not in good.values() for path in images(split)]
    below = [f for path in (*good.values(), *kinds.values()) for f in strays(path)]
    return [*top, *inside, *skipped, *similar(kinds), *below]
