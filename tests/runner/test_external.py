"""The arm ``external:<folder>``: a user's images, identified by content, put into the store by the driver."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from goodshot.components.errors import BadInput
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.plan.plan import Plan
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.external import ExternalSetStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.study import Study


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Photographs of every kind a user may bring, of different sizes."""
    folder = tmp_path / "photos" / "web"
    folder.mkdir(parents=True)
    coffee = Image.fromarray(skimage.data.coffee()).resize((150, 100))
    coffee.save(folder / "a.jpg")
    coffee.convert("L").save(folder / "b.png")
    coffee.convert("RGBA").save(folder / "c.PNG")
    exif = coffee.getexif()
    exif[0x0112] = 6
    coffee.save(folder / "d.jpeg", exif=exif)
    coffee.convert("P").save(folder / "e.tif")
    (folder / "notes.txt").write_text("where they are from")
    return folder


def plan_of(study: Study, tmp_path: Path) -> Plan:
    return plan_studies([study], Options(str(tmp_path / "out")))


def external(folder: Path, **fields: object) -> dict[str, object]:
    return {"arms": ["original", f"external:{folder}"], **fields}


def images_of(plan: Plan, tmp_path: Path) -> np.ndarray:
    """The only image set of a plan, made."""
    store = Store(str(tmp_path / "store"))
    (stage,) = plan.of(ExternalSetStage)
    LocalExecutor(plan, store).make(stage.id)
    return store.get(stage.key).arrays("images.safetensors")["images"]


def test_every_kind_of_image_is_read_by_name_and_copies_are_a_prefix(
    tiny_study: Callable[..., Study], web: Path, tmp_path: Path
) -> None:
    many = images_of(plan_of(tiny_study(**external(web, copies=5)), tmp_path), tmp_path)
    few = images_of(plan_of(tiny_study(**external(web, copies=2)), tmp_path), tmp_path)
    assert many.shape == (5, 64, 64, 3)
    assert many.dtype == np.uint8
    np.testing.assert_array_equal(few, many[:2])
    colour, grey, alpha, turned = (image.astype(float) for image in many[:4])
    assert np.abs(colour - alpha).mean() < 5
    assert np.abs(colour.mean(axis=2) - grey.mean(axis=2)).mean() < 10
    assert np.abs(np.rot90(colour, -1) - turned).mean() < 5


def test_content_identifies_it_never_the_path(tiny_study: Callable[..., Study], web: Path, tmp_path: Path) -> None:
    base = plan_of(tiny_study(**external(web)), tmp_path)
    moved = tmp_path / "elsewhere" / "other"
    shutil.copytree(web, moved)
    other = plan_of(tiny_study(**external(moved)), tmp_path)
    assert list(other.cells) == list(base.cells)
    assert {p.columns["arm"] for p in other.cells.values()} == {"original", "external:other"}
    (moved / "a.jpg").rename(moved / "z.jpg")
    assert len(set(plan_of(tiny_study(**external(moved)), tmp_path).cells) & set(base.cells)) == 1


def test_several_categories_have_a_folder_each(tiny_study: Callable[..., Study], web: Path, tmp_path: Path) -> None:
    both = external(web, categories=["brick", "coin"])
    with pytest.raises(BadInput, match=r"has no folder for brick; make .*web/brick, or run a study of one category"):
        plan_of(tiny_study(**both), tmp_path)
    for category, first in (("brick", "a.jpg"), ("coin", "b.png")):
        (web / category).mkdir()
        for name in (first, "c.PNG"):
            shutil.copy(web / name, web / category)
    assert len(plan_of(tiny_study(**both), tmp_path).of(ExternalSetStage)) == 2
    alone = plan_of(tiny_study(**external(web)), tmp_path)
    assert {i.path.parent.name for s in alone.of(ExternalSetStage) for i in s.images} == {"coin"}


def test_a_detector_trains_on_them_where_their_folder_is_gone(
    tiny_study: Callable[..., Study], web: Path, tmp_path: Path
) -> None:
    plan = plan_of(tiny_study(**external(web, objects={})), tmp_path)
    store, results = Store(str(tmp_path / "store")), Results(str(tmp_path / "out"))
    executor = LocalExecutor(plan, store, results)
    (supplied,) = plan.of(ExternalSetStage)
    executor.make(supplied.id)
    shutil.rmtree(web)
    executor.run(list(plan.cells))
    rows = {row["arm"]: row for row in results.rows().values()}
    assert rows["external:web"]["copies"] == 2
    assert not results.tries()
    assert rows["external:web"]["prompt"] is None
    scores = results.read("scores").to_pandas().groupby("fingerprint")["score"].mean()
    # More in the memory bank: no distance grows.
    assert scores[rows["external:web"]["fingerprint"]] <= scores[rows["original"]["fingerprint"]]


def too_few(folder: Path) -> str:
    for path in sorted(folder.iterdir())[1:5]:
        path.unlink()
    return r"web: holds 1 images \(1 files are not named .*: notes.txt …\), and copies = 2 needs 2"


def none(folder: Path) -> str:
    for path in folder.iterdir():
        path.unlink()
    return r"web: holds 0 images, and copies = 2 needs 2; add some, or lower copies"


def no_folder(folder: Path) -> str:
    shutil.rmtree(folder)
    return "web: no such folder; put the images of arm external:"


def truncated(folder: Path) -> str:
    path = folder / "b.png"
    path.write_bytes(path.read_bytes()[:300])
    return r"web/b\.png: not a readable image .*; "


def empty(folder: Path) -> str:
    (folder / "a.jpg").write_bytes(b"")
    return r"web/a\.jpg: not a readable image \(unknown format\); replace"


def floating(folder: Path) -> str:
    (folder / "a.jpg").unlink()
    Image.fromarray(np.ones((8, 8), np.float32)).save(folder / "a.tif")
    return r"web/a\.tif: floating-point pixels have no known range; store"


@pytest.mark.parametrize("damage", [too_few, none, no_folder, truncated, empty, floating])
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    damage: Callable[[Path], str], tiny_study: Callable[..., Study], web: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=damage(web)) as caught:
        plan_of(tiny_study(**external(web)), tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_test_image_is_refused(
    tiny_study: Callable[..., Study], web: Path, photographs: Path, tmp_path: Path
) -> None:
    shutil.copy(photographs / "coin/test/good/003.png", web / "b.png")
    with pytest.raises(BadInput, match=r"web/b\.png: is the test image test/good/003\.png of coin; remove it"):
        plan_of(tiny_study(**external(web)), tmp_path)


def test_a_file_changed_after_planning_is_refused(tiny_study: Callable[..., Study], web: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny_study(**external(web)), tmp_path)
    shutil.copy(web / "b.png", web / "a.jpg")
    with pytest.raises(BadInput, match=r"a\.jpg: changed since it was first read"):
        images_of(plan, tmp_path)
