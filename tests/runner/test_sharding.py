"""`goodshot shard`: verified, whole or not at all, resumable, and enough to plan and run a study without the files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from goodshot.components.data import read_dataset, read_split
from goodshot.components.errors import BadInput
from goodshot.runner.cli import main
from goodshot.runner.data.sharding import shard_samples
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.shard import ShardStage, make_shards, read_support, read_test
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.files import Files
from goodshot.runner.study.study import Study
from tests.data import miniatures


def shard(name: str, root: Path, out: Path, *more: str) -> int:
    return main(["shard", name, "--root", str(root), "--out", str(out), *more])


def test_a_study_from_shards_is_the_same_study(
    photographs: Path, tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    copy, out = tmp_path / "copy", tmp_path / "shards"
    shutil.copytree(photographs, copy)
    assert shard("demo", copy, out, "--category", "coin") == 0
    shutil.rmtree(copy)
    direct = plan_studies([tiny_study()], Options(str(tmp_path / "a")))
    plan = plan_studies([tiny_study(dataset={"name": "demo", "root": str(out)})], Options(str(tmp_path / "b")))
    assert list(plan.cells) == list(direct.cells)
    (stage,), (own,) = plan.of(ShardStage), direct.of(ShardStage)
    assert stage.key == own.key
    store = Store(str(tmp_path / "store"))
    make_shards(stage.samples, stage.key, store, stage.source)
    assert len(read_test(store, stage.key, 32)) == 28
    assert len(read_support(next(iter(plan.cells.values())).support, store)) == 1
    (test,) = out.glob("coin/*/test.arrow")
    data = bytearray(test.read_bytes())
    data[len(data) // 2] ^= 1
    test.write_bytes(bytes(data))
    with pytest.raises(BadInput, match=r"test\.arrow: is damaged"):
        make_shards(stage.samples, "shard/other", store, stage.source)
    assert not store.has("shard/other")


def test_a_finished_category_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = miniatures.btad(tmp_path / "btad"), tmp_path / "out"
    assert shard("btad", root, out) == 0
    first = {p: p.stat().st_mtime_ns for p in out.rglob("*.arrow")}
    miniatures.photo(root / "02/train/ok/0009.png", 40)
    capsys.readouterr()
    assert shard("btad", root, out) == 0
    assert capsys.readouterr().out.splitlines() == [
        "01: unchanged, 7 images",
        "02: written, 8 images",
        "03: unchanged, 7 images",
    ]
    assert all(p.stat().st_mtime_ns == when for p, when in first.items())
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["categories"]["02"]["files"]["train"]["images"] == 4
    assert "NC" in manifest["licence"]
    # Shards of another version are written again: they could not be read.
    manifest["categories"]["01"]["columns"].remove("mask_saturation")
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert shard("btad", root, out) == 0
    assert capsys.readouterr().out.startswith("01: written, 7 images\n02: unchanged")


def test_findings_are_listed_and_strict_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = miniatures.loco(tmp_path / "loco")
    (root / "pushpins/train/good/000.png").write_text("text")
    (root / "pushpins/test/good/001.png").write_bytes(b"")
    assert shard("mvtec_loco", root, tmp_path / "out", "--strict") == 2
    listed = capsys.readouterr()
    assert listed.out.count("broken: ") == 2
    assert "2 findings" in listed.err
    assert not (tmp_path / "out").exists()
    assert shard("mvtec_loco", root, tmp_path / "out") == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert len(manifest["categories"]["pushpins"]["left_out"]) == 2


@pytest.mark.parametrize("form", ["path", "file URI", "bare file URI"])
def test_spaces_and_letters_of_any_language(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tmp_path / "Prüf teile", tmp_path / "ausgabe für 100% 工場"
    category = "ünï cödé 工場"
    miniatures.own(root / category)
    miniatures.photo(root / category / "good/bild 01.png", 30)
    uri = {"path": str(out), "file URI": out.as_uri(), "bare file URI": f"file://{out}".replace("%", "%25")}[form]
    assert main(["shard", "folder", "--root", str(root), "--out", uri]) == 0
    assert capsys.readouterr().out == f"{category}: written, 10 images\n"
    (shard,) = out.rglob("train.arrow")
    assert shard.parent.parent.name == category
    samples = {s.image_id: s.sha256 for s in shard_samples(uri, category)}
    assert samples == {s.image_id: s.sha256 for s in read_dataset("folder", root, category)}
    assert "good/bild 01.png" in samples
    image = read_split(shard, ["image"], ["good/bild 01.png"])["image"][0].as_py()
    assert image == (root / category / "good/bild 01.png").read_bytes()


def test_links_in_a_circle_are_listed_not_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bolt = miniatures.own(tmp_path / "parts/bolt", bad=4)
    (bolt / "good/all").symlink_to("..")
    (bolt / "bad/all").symlink_to("..")
    (bolt / "bad/itself.png").symlink_to("itself.png")
    (tmp_path / "parts/again").symlink_to(".")
    assert shard("folder", tmp_path / "parts", tmp_path / "out") == 0
    *findings, last = capsys.readouterr().out.splitlines()
    assert last == "bolt: written, 13 images"
    listed = {(kind, Path(path).relative_to(bolt).as_posix()) for kind, path, *_ in (f.split(": ") for f in findings)}
    assert listed == {
        ("unexpected", "good/all"),
        ("unexpected", "bad/all/good"),
        ("unexpected", "bad/all/bad"),
        ("broken", "bad/itself.png"),
    }


def test_a_stream_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(sink: object) -> None:
        sink.write(b"half")  # type: ignore[attr-defined]
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        Files(str(tmp_path)).write_stream("a/b.arrow", fail)
    assert not list((tmp_path / "a").iterdir())


def test_good_images_alone_are_shards_but_no_study(tmp_path: Path, tiny_study: Callable[..., Study]) -> None:
    root, out = miniatures.own(tmp_path / "bolt"), tmp_path / "shards"
    assert shard("folder", root, out) == 0
    study = tiny_study(dataset={"name": "folder", "root": str(out)}, categories=["bolt"])
    with pytest.raises(BadInput, match=r"shards: bolt has no test images to measure a detector on"):
        plan_studies([study], Options(str(tmp_path / "run")))


def test_a_resolution_is_kept_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = miniatures.loco(tmp_path / "loco"), tmp_path / "out"
    assert shard("mvtec_loco", root, out, "--resolution", "16") == 0
    capsys.readouterr()
    assert shard("mvtec_loco", root, out, "--resolution", "16") == 0
    assert "pushpins: unchanged" in capsys.readouterr().out
    samples = shard_samples(str(out), "pushpins")
    assert {(s.width, s.height) for s in samples} == {(16, 16)}
    assert {s.image_id: len(s.masks) for s in samples if s.label} == {
        "test/logical_anomalies/000.png": 2,
        "test/logical_anomalies/001.png": 1,
        "test/structural_anomalies/000.png": 3,
    }
    assert shard("mvtec_loco", root, out) == 2
    assert "written with --resolution 16" in capsys.readouterr().err
