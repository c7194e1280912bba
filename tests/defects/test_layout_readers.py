"""What the loaders of others read in our layouts: pycocotools and ultralytics (anomalib: ``test_layouts``).

``make test`` leaves these out; run them with ``pytest -m peer``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from goodshot.components.defects.images import DefectImages
from goodshot.components.defects.layouts import write_layout
from goodshot.components.defects.layouts.coco import Coco
from goodshot.components.defects.layouts.yolo import Yolo
from goodshot.components.defects.pasting import CropPaste, paste
from tests.defects.conftest import Category

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def made(coin: Category) -> DefectImages:
    return paste(CropPaste(), coin.goods, coin.products, coin.defects, range(10), 0, "coin")


def test_pycocotools_decodes_each_mask(
    made: DefectImages, coin: Category, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    out = write_layout(Coco(), made, coin.goods, "coin", tmp_path / "coco")
    read = COCO(str(out / "annotations.json"))
    names = {entry["file_name"]: entry["id"] for entry in read.loadImgs(read.getImgIds())}
    assert len(names) == len(made) + len(coin.goods)
    kinds = {entry["id"]: entry["name"] for entry in read.loadCats(read.getCatIds())}
    assert {*kinds.values()} == {*made.types}
    for i, (mask, kind) in enumerate(zip(made.masks, made.types, strict=True)):
        found = read.loadAnns(read.getAnnIds(imgIds=[names[f"{i:04d}.png"]]))
        assert {kinds[each["category_id"]] for each in found} == {kind}
        assert np.array_equal(np.any([read.annToMask(each) for each in found], axis=0), mask)
        assert sum(each["area"] for each in found) == mask.sum()
    assert read.getAnnIds(imgIds=[names["good_0000.png"]]) == []


def test_ultralytics_marks_each_mask_with_its_holes_filled(
    made: DefectImages, coin: Category, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset, polygons2masks

    out = write_layout(Yolo(), made, coin.goods, "coin", tmp_path / "yolo")
    data = check_det_dataset(str(out / "data.yaml"), autodownload=False)
    seen: dict[str, np.ndarray] = {}
    for split in ("train", "val"):
        read = YOLODataset(data[split], data=data, task="segment", augment=False, imgsz=made.masks.shape[1])
        for label in read.labels:
            stem, shape = Path(label["im_file"]).stem, label["shape"]
            corners = [segment * [shape[1], shape[0]] for segment in label["segments"]]
            marked = polygons2masks(shape, corners, color=1, downsample_ratio=1) if corners else np.zeros((1, *shape))
            seen[stem] = np.any(marked, axis=0)
            named = {data["names"][int(number)] for number in label["cls"].ravel()}
            assert named == ({made.types[int(stem)]} if stem.isdecimal() else set())
    assert len(seen) == len(made) + len(coin.goods)
    parts = ndimage.generate_binary_structure(2, 2)
    for i, mask in enumerate(made.masks):
        labelled, count = ndimage.label(mask, parts)
        filled = np.any([ndimage.binary_fill_holes(labelled == n + 1) for n in range(count)], axis=0)
        assert np.array_equal(seen[f"{i:04d}"], filled)
    assert not seen["good_0000"].any()
