"""A user's own product: folders in, checked samples out, and one line for whatever is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from goodshot.components.defects import DefectImages
from goodshot.components.defects.supplied import SuppliedDefects, read_supplied_defects
from goodshot.components.errors import BadInput
from tests.defects.decoding import decode_defects

Read = Callable[..., SuppliedDefects]


@pytest.fixture
def product(photographs: Path, tmp_path: Path) -> Path:
    """A folder with good/, defects/<type>/ and masks/<type>/ of three coins with stains and two with scratches."""
    for kind, count in (("stain", 3), ("scratch", 2)):
        for i in range(count):
            for part, name in (("test", f"{i:03d}"), ("ground_truth", f"{i:03d}_mask")):
                target = tmp_path / ("defects" if part == "test" else "masks") / kind / f"{name}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(photographs / "coin" / part / kind / f"{name}.png", target)
    shutil.copytree(photographs / "coin" / "train" / "good", tmp_path / "good")
    return tmp_path


@pytest.fixture
def read(product: Path) -> Read:
    def call(**changed: object) -> SuppliedDefects:
        given = {"good": product / "good", "defects": product / "defects", "masks": product / "masks"}
        return read_supplied_defects(**{**given, "category": "old_coin", **changed})  # type: ignore[arg-type]

    return call


def test_types_and_masks(read: Read) -> None:
    found = read()
    assert len(found.goods) == 16
    assert [sample.defect_type for sample in found.defects] == ["scratch"] * 2 + ["stain"] * 3
    assert {sample.category for sample in (*found.goods, *found.defects)} == {"old_coin"}
    assert {sample.split for sample in found.defects} == {"train"}
    assert decoded(found).masks.any(axis=(1, 2)).all()
    assert found.findings == ()


def decoded(found: SuppliedDefects) -> DefectImages:
    return decode_defects(found.defects, {sample.image_id: "a caption" for sample in found.defects}, 48)


def test_good_photographs_alone(read: Read) -> None:
    found = read(defects=None, masks=None)
    assert (len(found.goods), found.defects, found.findings) == (16, (), ())


def test_a_flat_folder_is_one_type_and_masks_may_have_the_photographs_names(product: Path, read: Read) -> None:
    for mask in (product / "masks" / "stain").iterdir():
        mask.rename(mask.with_name(mask.name.replace("_mask", "")))
    found = read(defects=product / "defects" / "stain", masks=product / "masks" / "stain")
    assert [sample.defect_type for sample in found.defects] == ["defect"] * 3


def test_photographs_of_other_sizes_and_formats(product: Path, read: Read) -> None:
    photograph, mask = product / "defects" / "stain" / "000.png", product / "masks" / "stain" / "000_mask.png"
    with Image.open(photograph) as image, Image.open(mask) as marked:
        image.resize((100, 70)).save(photograph.with_suffix(".jpg"))
        marked.resize((100, 70), Image.Resampling.NEAREST).save(mask)
    photograph.unlink()
    assert decoded(read()).masks[2].any()


def test_a_mask_is_turned_with_its_photograph(product: Path, read: Read) -> None:
    photograph, mask = product / "defects" / "stain" / "000.png", product / "masks" / "stain" / "000_mask.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 30), (9, 9, 9)).save(photograph, exif=exif)
    marked = np.zeros((30, 60), dtype=np.uint8)
    marked[:5] = 255
    Image.fromarray(marked).save(mask)
    found = read()
    mask = decoded(found).masks[2]
    assert mask[:, -8:].all()
    assert not mask[:, :30].any()
    assert [finding.kind for finding in found.findings] == ["noted"]


def test_a_folder_of_normal_photographs_among_the_types_is_skipped_and_said(
    photographs: Path, product: Path, read: Read
) -> None:
    shutil.copytree(photographs / "coin" / "test" / "good", product / "defects" / "good")
    found = read()
    assert {sample.defect_type for sample in found.defects} == {"stain", "scratch"}
    assert [str(f.problem) for f in found.findings] == ["is skipped: it is a folder of normal photographs"]


def add(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def black(shape: tuple[int, int]) -> np.ndarray:
    return np.zeros(shape, dtype=np.uint8)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "mask of another size": (
        lambda p: add(p / "masks" / "stain" / "000_mask.png", black((10, 12)) + 255),
        "000_mask.png: the mask is 12x10, its image 000.png is 128x128; resize the mask",
    ),
    "empty mask": (
        lambda p: add(p / "masks" / "stain" / "000_mask.png", black((128, 128))),
        "000_mask.png: nothing is marked in the mask; draw the defect",
    ),
    "mask without photograph": (
        lambda p: (p / "defects" / "stain" / "000.png").unlink(),
        "000_mask.png: mask without a photograph of its name; add the photograph, or move the mask away",
    ),
    "two masks of one photograph": (
        lambda p: shutil.copy(p / "masks" / "stain" / "000_mask.png", p / "masks" / "stain" / "000.png"),
        "000.png: 000_mask.png is a mask of 000.png too; keep one of them",
    ),
    "photograph without mask": (
        lambda p: (p / "masks" / "stain" / "000_mask.png").unlink(),
        "stain/000.png: has no mask; add",
    ),
    "masks of a type without photographs": (
        lambda p: shutil.rmtree(p / "defects" / "scratch"),
        "masks/scratch: holds masks of no photograph",
    ),
    "types beside photographs": (
        lambda p: shutil.copy(p / "defects" / "stain" / "000.png", p / "defects" / "top.png"),
        "top.png: lies beside folders of types (scratch, stain); move it to the one of its type",
    ),
    "two photographs of one name": (
        lambda p: Image.open(p / "defects" / "stain" / "000.png").save(p / "defects" / "stain" / "000.bmp"),
        "000.bmp: has the name of 000.png, so that their masks are unclear; rename one",
    ),
    "a good photograph among the defective": (
        lambda p: shutil.copy(p / "defects" / "stain" / "000.png", p / "good" / "x.png"),
        "stain/000.png: is the good photograph",
    ),
    "a damaged photograph": (
        lambda p: (p / "defects" / "stain" / "000.png").write_bytes(b"\x89PNG\r\n\x1a\n"),
        "stain/000.png: not a readable image",
    ),
    "no good photograph": (lambda p: [f.unlink() for f in (p / "good").iterdir()], "good: holds no images"),
    "no folder": (lambda p: shutil.rmtree(p / "defects"), "defects: no such folder; give one with defective"),
    "no mask folder": (lambda p: shutil.rmtree(p / "masks"), "masks: no such folder; give one with masks"),
    "one defective photograph": (
        lambda p: [f.unlink() for f in sorted((p / "defects").rglob("*.png"))[1:]],
        "defects: holds a single defective photograph, and 3 are needed to learn from; add some, or use cutpaste",
    ),
    "two of them": (
        lambda p: [f.unlink() for f in sorted((p / "defects").rglob("*.png"))[2:]],
        "defects: holds 2 of them, and 3 are needed",
    ),
    "none": (
        lambda p: [f.unlink() for f in (p / "defects").rglob("*.png")],
        "defects: holds no defective photograph, and 3 are needed",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(product: Path, read: Read, name: str) -> None:
    spoil, line = BAD[name]
    spoil(product)
    with pytest.raises(BadInput) as raised:
        read()
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_masks_are_not_guessed(read: Read) -> None:
    with pytest.raises(BadInput, match=r"masks are not guessed .* give --masks DIR .* or use cutpaste"):
        read(masks=None)


@pytest.mark.real
def test_a_real_category_as_a_users_own(shared: Path) -> None:
    pill = shared / "mvtec_ad_256" / "pill"
    found = read_supplied_defects(pill / "train", pill / "test", pill / "ground_truth", "pill")
    assert (len(found.goods), len(found.defects)) == (80, 141)
    assert len({sample.defect_type for sample in found.defects}) == 7
