"""Layouts: what anomalib, COCO and YOLO loaders find in them is what was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from scipy import ndimage

from goodshot.components.data import read_dataset
from goodshot.components.defects import DefectImages
from goodshot.components.defects.captions import read_captions
from goodshot.components.defects.layouts import LAYOUTS, Coco, Folders, Layout, Yolo, layout_of, write_layout
from goodshot.components.defects.layouts.coco import instance
from goodshot.components.defects.layouts.yolo import polygon
from goodshot.components.defects.pasting import CropPaste, paste
from goodshot.components.errors import BadInput
from tests.defects.conftest import Category

each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


@pytest.fixture(scope="module")
def made(coin: Category) -> DefectImages:
    return paste(CropPaste(), coin.goods, coin.products, coin.defects, range(10), 0, "coin")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@each_layout
def test_a_layout_appears_whole_or_not_at_all(
    layout: Layout, made: DefectImages, coin: Category, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / layout.name
    assert write_layout(layout, made, coin.goods, "old coin", out) == out
    again = write_layout(layout, made, coin.goods, "old coin", tmp_path / "again")
    assert files(again) == files(out)
    with pytest.raises(BadInput, match="exists already; choose another folder"):
        write_layout(layout, made, coin.goods, "old coin", out)
    assert files(again) == files(out)

    def fails(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fails)
    with pytest.raises(BadInput, match="No space left on device"):
        write_layout(layout, made, coin.goods, "old coin", tmp_path / "full" / "out")
    assert not [*(tmp_path / "full").iterdir()]


@each_layout
def test_a_type_called_good_is_refused(layout: Layout, made: DefectImages, coin: Category, tmp_path: Path) -> None:
    wrong = DefectImages(made.images, made.masks, ("good",) * len(made), made.captions)
    with pytest.raises(BadInput, match="a defect type is called good"):
        write_layout(layout, wrong, coin.goods, "coin", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_layouts_are_known_by_name() -> None:
    assert layout_of("coco") == Coco()
    with pytest.raises(BadInput, match="no layout voc; there are: folder, coco, yolo"):
        layout_of("voc")


@pytest.fixture(scope="module")
def folders(made: DefectImages, coin: Category, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layout(Folders(), made, coin.goods, "old coin", tmp_path_factory.mktemp("folders") / "out")


def test_our_own_reader_reads_the_folders(made: DefectImages, coin: Category, folders: Path) -> None:
    samples = read_dataset("mvtec_ad", folders, "old_coin")
    defective = [s for s in samples if s.label]
    assert sorted(s.defect_type for s in defective) == sorted(made.types)
    assert len(samples) - len(defective) == len(coin.goods)
    captions = read_captions(folders, "old_coin", samples, "coin")
    assert sorted(captions.sentences.values()) == sorted(made.captions)
    assert (captions.made, captions.findings) == (frozenset(), ())


def loaded(dataset: Any) -> dict[bytes, np.ndarray]:
    """Image → mask of an anomalib dataset."""
    items = [dataset[i] for i in range(len(dataset))]
    values = [(i.image.permute(1, 2, 0).mul(255).round().byte().numpy(), i.gt_mask.numpy().squeeze()) for i in items]
    return {image.tobytes(): mask for image, mask in values}


@pytest.mark.parametrize("kind", ["Folder", "MVTecAD"])
def test_anomalib_loads_the_folders(made: DefectImages, coin: Category, folders: Path, kind: str) -> None:
    from anomalib import data

    types = sorted({*made.types})
    if kind == "Folder":
        root = folders / "old_coin"
        where = {"abnormal_dir": [f"test/{t}" for t in types], "mask_dir": [f"ground_truth/{t}" for t in types]}
        module = data.Folder("coin", "train/good", root, **where, test_split_mode="from_dir", val_split_mode="none")
    else:
        module = data.MVTecAD(folders, "old_coin", test_split_mode="from_dir", val_split_mode="none")
    module.setup()
    found = loaded(module.test_data)
    for image, mask in zip(made.images, made.masks, strict=True):
        assert np.array_equal(found[image.tobytes()] > 0, mask)
    held_out = len(found) - len(made)
    assert len(module.train_data) + held_out == len(coin.goods)


def drawn(segmentation: dict[str, Any]) -> np.ndarray:
    """A slow reading of COCO's run lengths: columns first, starting with unmarked pixels."""
    height, width = segmentation["size"]
    flat: list[bool] = []
    for i, count in enumerate(segmentation["counts"]):
        flat += [i % 2 == 1] * count
    assert len(flat) == height * width
    return np.array([[flat[x * height + y] for x in range(width)] for y in range(height)])


def test_coco_holds_every_part_of_every_mask(made: DefectImages, coin: Category, tmp_path: Path) -> None:
    out = write_layout(Coco(), made, coin.goods, "coin", tmp_path / "coco")
    read = json.loads((out / "annotations.json").read_text())
    names = {c["id"]: c["name"] for c in read["categories"]}
    assert [*names.values()] == sorted({*made.types})
    assert len(read["images"]) == len(made) + len(coin.goods)
    assert [a["id"] for a in read["annotations"]] == [*range(1, len(read["annotations"]) + 1)]
    for i, entry in enumerate(read["images"]):
        image = pixels(out / "images" / entry["file_name"])
        assert (entry["width"], entry["height"]) == (image.shape[1], image.shape[0])
        of_image = [a for a in read["annotations"] if a["image_id"] == entry["id"]]
        if i >= len(made):
            assert np.array_equal(image, coin.goods[i - len(made)])
            assert not of_image
            continue
        assert np.array_equal(image, made.images[i])
        assert entry["caption"] == made.captions[i]
        assert {names[a["category_id"]] for a in of_image} == {made.types[i]}
        masks = [drawn(a["segmentation"]) for a in of_image]
        assert len(masks) == ndimage.label(made.masks[i], np.ones((3, 3)))[1]
        assert np.array_equal(np.any(masks, axis=0), made.masks[i])


MASKS = arrays(np.bool_, (7, 9)).filter(lambda mask: bool(mask.any()))


@given(MASKS)
@settings(deadline=None)
def test_an_instance_against_a_slow_reference(mask: np.ndarray) -> None:
    made = instance(mask)
    assert np.array_equal(drawn(made["segmentation"]), mask)
    left, top, width, height = made["bbox"]
    assert made["area"] == mask.sum() == mask[top : top + height, left : left + width].sum()
    assert mask[top].any()
    assert mask[:, left].any()
    assert mask[top + height - 1].any()
    assert mask[:, left + width - 1].any()


def filled(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """As ultralytics fills a polygon: coordinates cut to whole pixels, the edge included."""
    image = Image.new("1", (shape[1], shape[0]))
    whole = [(int(x), int(y)) for x, y in corners]
    draw = ImageDraw.Draw(image)
    draw.polygon(whole, fill=1, outline=1)
    draw.line([*whole, whole[0]], fill=1)
    return np.asarray(image)


@given(MASKS)
@settings(deadline=None)
def test_a_polygon_fills_the_parts_own_pixels(mask: np.ndarray) -> None:
    labelled, _ = ndimage.label(mask, np.ones((3, 3)))
    part = labelled == 1
    corners = polygon(part)
    assert len(corners) >= 3
    assert np.array_equal(filled(corners, part.shape), ndimage.binary_fill_holes(part))


def test_yolo_as_ultralytics_documents_it(made: DefectImages, coin: Category, tmp_path: Path) -> None:
    out = write_layout(Yolo(), made, coin.goods, "coin", tmp_path / "yolo")
    content = yaml.safe_load((out / "data.yaml").read_text())
    # A relative `path` would be below the folder of ultralytics' own data.
    assert {*content} == {"train", "val", "names"}
    assert content["names"] == dict(enumerate(sorted({*made.types})))
    found = {}
    for split in ("train", "val"):
        for path in sorted((out / content[split]).iterdir()):
            label = Path(str(path).replace("/images/", "/labels/")).with_suffix(".txt")
            found[path.stem] = (split, pixels(path), label.read_text())
    assert len(found) == len(made) + len(coin.goods)
    assert {split for split, *_ in found.values()} == {"train", "val"}
    for i, mask in enumerate(made.masks):
        _, image, labels = found[f"{i:04d}"]
        assert np.array_equal(image, made.images[i])
        seen = np.zeros_like(mask)
        for line in labels.splitlines():
            number, *values = line.split()
            assert content["names"][int(number)] == made.types[i]
            corners = np.array(values, dtype=np.float32).reshape(-1, 2)
            assert ((corners >= 0) & (corners <= 1)).all()
            seen |= filled(corners * [mask.shape[1], mask.shape[0]], mask.shape)
        holes = [ndimage.binary_fill_holes(p) for p in parts_of(mask)]
        assert np.array_equal(seen, np.any(holes, axis=0))
    goods = [labels for stem, (_, _, labels) in found.items() if stem.startswith("good")]
    assert goods == [""] * len(coin.goods)


def parts_of(mask: np.ndarray) -> list[np.ndarray]:
    labelled, count = ndimage.label(mask, np.ones((3, 3)))
    return [labelled == i + 1 for i in range(count)]


def test_one_image_alone_is_yolos_validation_set_too(made: DefectImages, coin: Category, tmp_path: Path) -> None:
    out = write_layout(Yolo(), made.of([0]), coin.goods[:1], "coin", tmp_path / "yolo")
    content = yaml.safe_load((out / "data.yaml").read_text())
    assert content["val"] == content["train"] == "images/train"
