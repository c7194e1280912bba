"""The reader of MVTec AD's layout, which most industrial datasets and many users' folders share.

    <root>/<category>/train/good/*.png
    <root>/<category>/test/<defect or good>/*.png
    <root>/<category>/ground_truth/<defect>/<stem>_mask.png      (<stem>.png is accepted too)

Everything that can be wrong with the files is found here, while scanning, and not hours later inside a run.
"""

import difflib
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from components.data.images import check_image, decode_mask
from components.data.sample import GOOD, MaskFile, Sample, SplitName
from components.errors import BadInput

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
THREADS = 4
_LAYOUT = "expected train/good, test/<defect> and ground_truth/<defect> in it"


@dataclass(frozen=True)
class _Entry:
    """A file found by listing, not opened yet."""

    split: SplitName
    defect_type: str
    image: Path
    mask: Path | None


def list_categories(root: Path) -> tuple[str, ...]:
    """Returns the sorted names of the folders in `root` that hold a `train` folder.

    Raises:
        BadInput: `root` is missing or cannot be listed.
    """
    if not _is_folder(root):
        raise BadInput(f"{root}: no such folder; give the folder that holds the categories")
    return tuple(p.name for p in _list(root) if _is_folder(p / "train"))


def scan(root: Path, category: str, dataset: str) -> list[Sample]:
    """Returns the category's samples sorted by `image_id`, every file read and verified.

    Images of one category may differ in size. Files that are no images, and hidden files, are passed over.

    Raises:
        BadInput: a folder is missing or empty, or a file is unreadable, empty, without its partner or of
            another size than its mask. One line: the path, the problem, the remedy.
    """
    folder = _category_folder(root, category)
    entries = [*_train(folder), *_test(folder)]
    with ThreadPoolExecutor(THREADS) as pool:
        samples = pool.map(lambda entry: _sample(entry, folder, category, dataset), entries)
        return sorted(samples, key=lambda sample: sample.image_id)


def _category_folder(root: Path, category: str) -> Path:
    names = list_categories(root)
    if category in names:
        return root / category
    if _is_folder(root / "train"):
        raise BadInput(f"{root}: is a category itself, not a folder of categories; give its parent {root.parent}")
    if not names:
        raise BadInput(f"{root}: holds no category; {_LAYOUT.replace(' in it', ' in each category')}")
    near = difflib.get_close_matches(category, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise BadInput(f"{root / category}: no such category; {hint}there are: {', '.join(names)}")


def _train(folder: Path) -> list[_Entry]:
    good = folder / "train" / GOOD
    images = _images(good) if _is_folder(good) else []
    if not images:
        raise BadInput(f"{good}: no train images; put the category's normal images there")
    return [_Entry("train", GOOD, image, None) for image in images]


def _test(folder: Path) -> list[_Entry]:
    test = folder / "test"
    defects = [p for p in _list(test) if _is_folder(p)] if _is_folder(test) else []
    masks = _masks(folder / "ground_truth")
    entries = [entry for defect in defects for entry in _defect(defect, masks)]
    if not entries:
        raise BadInput(f"{test}: no test images; put them in test/{GOOD} and test/<defect>")
    used = {entry.mask for entry in entries}
    for mask in (m for of_type in masks.values() for m in of_type.values() if m not in used):
        raise BadInput(f"{mask}: mask without image; add {test / mask.parent.name}/{_stem(mask)}.* or remove the mask")
    return entries


def _defect(folder: Path, masks: dict[str, dict[str, Path]]) -> Iterator[_Entry]:
    for image in _images(folder):
        if folder.name == GOOD:
            yield _Entry("test", GOOD, image, None)
            continue
        of_type = masks.get(folder.name, {})
        mask = of_type.get(f"{image.stem}_mask", of_type.get(image.stem))
        if mask is None:
            wanted = folder.parents[1] / "ground_truth" / folder.name / f"{image.stem}_mask.png"
            raise BadInput(f"{image}: its mask is missing; add {wanted} or move the image to test/{GOOD}")
        yield _Entry("test", folder.name, image, mask)


def _masks(folder: Path) -> dict[str, dict[str, Path]]:
    """Returns defect type -> file stem -> mask. Masks of good images are blank and say nothing."""
    types = [p for p in _list(folder) if _is_folder(p) and p.name != GOOD] if _is_folder(folder) else []
    return {of_type.name: {mask.stem: mask for mask in _images(of_type)} for of_type in types}


def _stem(mask: Path) -> str:
    return mask.stem.removesuffix("_mask")


def _images(folder: Path) -> list[Path]:
    return [p for p in _list(folder) if p.suffix.lower() in EXTENSIONS and p.is_file()]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise BadInput(f"{path}: cannot be looked at ({error.strerror}); check its permissions") from error


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise BadInput(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error


def _sample(entry: _Entry, folder: Path, category: str, dataset: str) -> Sample:
    data = _read(entry.image)
    width, height = _checked_size(entry.image, data)
    return Sample(
        image_id=entry.image.relative_to(folder).as_posix(),
        dataset=dataset,
        category=category,
        split=entry.split,
        defect_type=entry.defect_type,
        label=int(entry.defect_type != GOOD),
        image_path=entry.image,
        width=width,
        height=height,
        sha256=hashlib.sha256(data).hexdigest(),
        masks=(MaskFile(entry.mask, _mask_sha256(entry, width, height)),) if entry.mask else (),
    )


def _mask_sha256(entry: _Entry, width: int, height: int) -> str:
    path = entry.mask
    if path is None:
        raise ValueError(f"{entry.image} has no mask")
    data = _read(path)
    try:
        mask_height, mask_width = decode_mask(data).shape
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    if (mask_width, mask_height) != (width, height):
        sizes = f"{mask_width}x{mask_height}, its image {entry.image.name} is {width}x{height}"
        raise BadInput(f"{path}: the mask is {sizes}; resize the mask (nearest neighbour)")
    return hashlib.sha256(data).hexdigest()


def _checked_size(path: Path, data: bytes) -> tuple[int, int]:
    try:
        return check_image(data)
    except BadInput as error:
        raise BadInput(f"{path}: {error}; replace or remove the file") from error


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not data:
        raise BadInput(f"{path}: the file is empty (0 bytes); copy it again or remove it")
    return data
