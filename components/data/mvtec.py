"""The layout of MVTec AD, which most industrial datasets and many users' folders have too.

    <root>/<category>/train/good/*.png
    <root>/<category>/test/<defect or good>/*.png
    <root>/<category>/ground_truth/<defect>/<stem>_mask.png      (<stem>.png is accepted too)

BTAD has the same layout with other names: the normal images are in `ok`, the defective ones in `ko`. Extensions may
differ within a category, and between an image and its mask (BTAD's `03` has both as .bmp).
"""

from collections.abc import Iterable
from pathlib import Path

from goodshot.components.data.layout import (
    Defects,
    Entry,
    Finding,
    Listing,
    duplicates,
    images,
    is_folder,
    listed,
    no_such_category,
    strays,
    subfolders,
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
    return tuple(p.name for p in subfolders(root) if is_folder(p / "train"))


def category_folder(root: Path, category: str) -> Path:
    """Returns the category's folder. Raises BadInput with the existing categories if there is none."""
    names = list_categories(root)
    if category in names:
        return root / category
    if is_folder(root / "train"):
        raise BadInput(f"{root}: is a category itself, not a folder of categories; give its parent {root.parent}")
    if not names:
        raise BadInput(f"{root}: holds no category; {_LAYOUT.replace(' in it', ' in each category')}")
    raise no_such_category(root, category, names)


def list_category(root: Path, category: str, normal: str = GOOD) -> Listing:
    """Returns the category's listing; `normal` is the name of the folders of normal images.

    Raises:
        BadInput: there is no such category, or a folder cannot be listed.
    """
    folder = category_folder(root, category)
    findings = _stray_masks(folder, normal)
    return list_splits(folder, _masks(folder, normal), normal, findings=findings)


def list_splits(
    folder: Path,
    masks: Masks,
    normal: str,
    *,
    more: tuple[SplitName, ...] = (),
    defects: Defects | None = None,
    findings: Iterable[Finding] = (),
) -> Listing:
    """Returns the listing of train, test and the `more` splits, matched with the existing masks."""
    entries = [Entry(split, GOOD, 0, path) for split in ("train", *more) for path in images(folder / split / normal)]
    problems = [] if any(e.split == "train" for e in entries) else [_no_train(folder / "train" / normal)]
    test, missing, unusable = _test(folder, masks, normal, defects)
    unused = _unused(folder, masks, test)
    lacking = unmasked(missing, sum(entry.label for entry in test))
    found = [*problems, *unusable, *lacking, *unused, *_strays(folder, normal, more)]
    everything = (*entries, *test)
    return Listing(
        folder, everything, (*found, *findings, *duplicates(e.image for e in everything)), has_masks=not missing
    )


def _no_train(good: Path) -> Finding:
    return Finding("missing", good, "no train images", "put the category's normal images there")


def _test(
    folder: Path, masks: Masks, normal: str, defects: Defects | None
) -> tuple[list[Entry], dict[Path, str], list[Finding]]:
    """The test images, how to give masks to those that have none, and findings that stop the reading."""
    entries, missing, findings = [], {}, []
    kinds = subfolders(folder / "test") if is_folder(folder / "test") else []
    for kind, image in ((of_kind.name, image) for of_kind in kinds for image in images(of_kind)):
        if kind == normal:
            entries.append(Entry("test", GOOD, 0, image))
        elif found := masks.get((kind, image.stem)):
            entries.append(Entry("test", kind, 1, image, found, defects))
        elif defects is None:
            missing[image] = f"add {folder / 'ground_truth' / kind / image.stem}_mask.png"
            entries.append(Entry("test", kind, 1, image))
        else:
            # MVTec LOCO's metrics rest on every defect's own mask.
            remedy = f"add {folder / 'ground_truth' / kind / image.stem}"
            findings.append(Finding("missing", image, "its mask is missing", remedy))
    if not entries and not findings:
        remedy = f"put them in test/{normal} and test/<defect>"
        findings.append(Finding("missing", folder / "test", "no test images", remedy))
    return entries, missing, findings


def _unused(folder: Path, masks: Masks, test: list[Entry]) -> list[Finding]:
    used = {mask for entry in test for mask in entry.masks}
    return [
        Finding("missing", mask, "mask without image", f"add {folder / 'test' / kind}/{stem}.* or remove the mask")
        for (kind, stem), found in masks.items()
        for mask in found
        if mask not in used
    ]


def _masks(folder: Path, normal: str) -> Masks:
    """Masks of normal images are blank and are left out."""
    truth = folder / "ground_truth"
    kinds = [p for p in subfolders(truth) if p.name != normal] if is_folder(truth) else []
    found: Masks = {}
    for kind in kinds:
        # A stem with the suffix takes precedence over one without, because it comes later.
        for mask in sorted(images(kind), key=lambda m: m.stem.endswith("_mask")):
            found[kind.name, mask.stem.removesuffix("_mask")] = (mask,)
    return found


def _stray_masks(folder: Path, normal: str) -> list[Finding]:
    truth = folder / "ground_truth"
    kinds = [p for p in subfolders(truth) if p.name != normal] if is_folder(truth) else []
    return [finding for kind in kinds for finding in (*strays(kind), *duplicates(images(kind)))]


def _strays(folder: Path, normal: str, more: tuple[SplitName, ...]) -> list[Finding]:
    known = ("train", "test", "ground_truth", *more)
    # Publishers put their readme, licence and configuration next to the splits.
    top = [f for f in strays(folder, known) if f.path.suffix.lower() not in (".txt", ".md", ".json", ".pdf")]
    inside = [f for split in ("train", *more) for f in strays(folder / split, (normal,))]
    kinds = [p for p in listed(folder / "test") if is_folder(p)] if is_folder(folder / "test") else []
    folders = [*(folder / split / normal for split in ("train", *more)), *kinds]
    return [*top, *inside, *(f for path in folders for f in strays(path))]
