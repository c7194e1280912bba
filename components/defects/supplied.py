"""A user's own product: good photographs, and defective ones with their masks.

    <good>/*                             normal photographs; or <good>/good/*
    <defects>/* or <defects>/<type>/*    defective photographs, of one type or of several
    <masks>/… at the same place          the mask of each: the photograph's stem, or <stem>_mask, any extension

Files are read and checked as those of datasets are (`goodshot.components.data.checking`): depth, EXIF rotation, masks
in colours. At least three defective photographs are needed, of one type or of several.

Masks are never guessed. Differences to the five nearest good photographs, shifted by up to two pixels and thresholded
by what good photographs differ by, overlap the true masks of the training third with a mean IoU of 0.13 on pill and
0.47 on bottle; with the best threshold for each single image, which nobody can know, it is 0.17 on pill. A generator
that learns from such masks would learn to make something else, and would call it the defect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from goodshot.components.data.checking import Checked, check
from goodshot.components.data.datasets.folder import FOLDER
from goodshot.components.data.layout import (
    EXTENSIONS,
    Entry,
    Finding,
    Listing,
    folder_in,
    images,
    inmost,
    is_folder,
    kinds_in,
    namesakes,
    paired,
)
from goodshot.components.data.sample import GOOD, Sample
from goodshot.components.errors import BadInput

FEWEST = 3
ONLY_TYPE = "defect"
"""The type of defective photographs that lie in no folder of a type."""
INSTEAD = "use cutpaste, which needs no defective photograph"


@dataclass(frozen=True)
class SuppliedDefects:
    """The good photographs, at least three defective ones or none, and notes about the files for the user.

    All are training images, because nothing is tested on them; each defective one has one mask.
    """

    goods: tuple[Sample, ...]
    defects: tuple[Sample, ...]
    findings: tuple[Finding, ...]


def read_supplied_defects(good: Path, defects: Path | None, masks: Path | None, category: str) -> SuppliedDefects:
    """Reads and checks a user's photographs; without ``defects``, the good ones alone.

    category: the name that the samples' category has.

    Raises:
        BadInput: a folder or the masks are missing; there are fewer than three defective photographs; a photograph has
            no mask, or a mask no photograph or another size, or nothing is marked in it; a file is damaged; or a
            defective photograph is a good one too.
    """
    entries = [Entry("train", GOOD, 0, path, place=GOOD) for path in _goods(good)]
    skipped: list[Finding] = []
    if defects is not None:
        folders, skipped = _types(defects)
        entries += _defective(folders, defects, masks)
    report = check(Listing(defects or good, tuple(entries), tuple(skipped)), FOLDER.name, category)
    for finding in report.findings:
        if finding.stops:
            raise BadInput(str(finding))
    _check_marked(report.checked)
    normal, defective = (tuple(s for s in report.samples if s.label == label) for label in (0, 1))
    _check_apart(normal, defective)
    return SuppliedDefects(normal, defective, report.findings)


def _goods(folder: Path) -> list[Path]:
    where = _existing(folder, "good photographs")
    found = images(where) or images(folder_in(where, GOOD))
    if not found:
        raise BadInput(f"{folder}: holds no images ({', '.join(sorted(EXTENSIONS))}); put good photographs there")
    return found


def _types(folder: Path) -> tuple[dict[str, Path], list[Finding]]:
    """Type → its folder, and findings about what is skipped."""
    where = _existing(folder, "defective photographs")
    kinds = {kind: path for kind, path in kinds_in(where).items() if images(path)}
    normal = namesakes(where, GOOD)
    remedy = "nothing has to be done"
    skipped = [
        Finding("unexpected", path, "is skipped: it is a folder of normal photographs", remedy) for path in normal
    ]
    kinds = {kind: path for kind, path in kinds.items() if path not in {inmost(p) for p in normal}}
    if kinds and (top := images(where)):
        raise BadInput(f"{top[0]}: lies beside folders of types ({', '.join(kinds)}); move it to the one of its type")
    return kinds or {ONLY_TYPE: where}, skipped


def _existing(folder: Path, what: str) -> Path:
    if not is_folder(folder):
        raise BadInput(f"{folder}: no such folder; give one with {what}")
    return inmost(folder)


def _defective(folders: Mapping[str, Path], defects: Path, masks: Path | None) -> list[Entry]:
    photographs = {kind: images(folder) for kind, folder in folders.items()}
    if (count := sum(map(len, photographs.values()))) < FEWEST:
        held = {0: "no defective photograph", 1: "a single defective photograph"}.get(count, f"{count} of them")
        raise BadInput(f"{defects}: holds {held}, and {FEWEST} are needed to learn from; add some, or {INSTEAD}")
    if masks is None:
        raise BadInput(
            f"{defects}: has no masks, and masks are not guessed (a guess overlaps real ones by 0.13 on pill); give "
            f"--masks DIR with a mask of the same name for each photograph, or {INSTEAD}"
        )
    of_types = _mask_folders(_existing(masks, "masks"), folders)
    return [entry for kind, paths in photographs.items() for entry in _paired(kind, paths, of_types[kind])]


def _mask_folders(masks: Path, folders: Mapping[str, Path]) -> dict[str, Path]:
    """Type → the folder of its masks; a type of masks that has no photographs is refused."""
    if [*folders] == [ONLY_TYPE]:
        return {ONLY_TYPE: masks}
    found = kinds_in(masks)
    of_types = paired(folders, found)
    for kind, path in found.items():
        if path not in of_types.values() and images(path) and kind != GOOD:
            raise BadInput(f"{path}: holds masks of no photograph; remove them, or add photographs of type {kind}")
    return {kind: of_types.get(kind, masks / kind) for kind in folders}


def _paired(kind: str, photographs: Sequence[Path], folder: Path) -> Iterator[Entry]:
    _check_once(photographs)
    masks, stems = _masks_of(folder, photographs), {path.stem for path in photographs}
    for path in photographs:
        # Another photograph may have the name that the mask of this one could have.
        names = {path.stem, f"{path.stem}_mask"} - (stems - {path.stem})
        own = [mask for mask in masks if mask.stem in names]
        if not own:
            raise BadInput(f"{path}: has no mask; add {folder / path.stem}.png, or move the photograph away")
        if len(own) > 1:
            raise BadInput(f"{own[0]}: {own[1].name} is a mask of {path.name} too; keep one of them")
        yield Entry("train", kind, 1, path, (own[0],), place=f"defects/{kind}")


def _masks_of(folder: Path, photographs: Iterable[Path]) -> list[Path]:
    stems = {path.stem for path in photographs}
    found = images(folder)
    for path in found:
        if path.stem not in stems and path.stem.removesuffix("_mask") not in stems:
            raise BadInput(f"{path}: mask without a photograph of its name; add the photograph, or move the mask away")
    return found


def _check_once(photographs: Iterable[Path]) -> None:
    stem, count = Counter(path.stem for path in photographs).most_common(1)[0]
    if count > 1:
        same = [path for path in photographs if path.stem == stem]
        raise BadInput(f"{same[0]}: has the name of {same[1].name}, so that their masks are unclear; rename one")


def _check_marked(defective: Iterable[Checked]) -> None:
    for each in defective:
        if each.sample.masks and not any(each.shares):
            raise BadInput(f"{each.sample.masks[0].path}: nothing is marked in the mask; draw the defect")


def _check_apart(normal: Iterable[Sample], defective: Iterable[Sample]) -> None:
    good = {sample.sha256: sample.image_path for sample in normal}
    for sample in defective:
        if sample.sha256 in good:
            raise BadInput(
                f"{sample.image_path}: is the good photograph {good[sample.sha256]} too; keep it in one of the folders"
            )
