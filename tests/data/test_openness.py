"""A dataset is one object in one tuple: a toy that only this file knows is read, sharded, named and declared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from goodshot.components.data import Dataset, datasets, read_dataset, verify
from goodshot.components.data.layout import Entry, Listing, images
from goodshot.components.data.sample import Sample
from goodshot.components.errors import BadInput
from goodshot.components.prompts import known_objects, object_for
from goodshot.runner.cli import main
from goodshot.runner.data.catalogue import read_catalogue
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.named import load_study
from goodshot.runner.study.problems import SchemaNode
from goodshot.runner.study.settings import validate
from tests.data import miniatures


def list_category(root: Path, category: str) -> Listing:
    """Everything good and to learn from, but for the last image."""
    found = tuple(Entry("train", "good", 0, path) for path in images(root / category))
    return Listing(root / category, found, (), lambda s: [*s[:-1], replace(s[-1], split="test")])


def write(out: Path) -> Path:
    for i in range(4):
        miniatures.photo(out / "cup" / f"{i}.png", i)
    return out


TOY = Dataset(
    name="toy",
    title="Toy",
    source="the tests",
    licence="anybody's",
    list_category=list_category,
    list_categories=lambda root: tuple(sorted(p.name for p in root.iterdir())),
    categories=("cup",),
    objects={"cup": "mug"},
    nothing_to_fetch="the tests paint it",
    write=write,
)


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets, "DATASETS", (*datasets.DATASETS, TOY))
    # What is allowed in a study is remembered for the whole process.
    SchemaNode.of.cache_clear()
    yield
    SchemaNode.of.cache_clear()


def splits(samples: tuple[Sample, ...] | list[Sample]) -> list[str]:
    return [s.split for s in samples]


def test_it_is_read_verified_and_sharded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = write(tmp_path / "toy"), tmp_path / "shards"
    samples = read_dataset("toy", root, "cup")
    assert splits(samples) == ["train", "train", "train", "test"]
    assert {s.dataset for s in samples} == {"toy"}
    (root / "cup/4.png").write_text("no image")
    report = verify("toy", root)
    assert (splits(report.samples), [f.path.name for f in report.findings if f.stops]) == (splits(samples), ["4.png"])
    assert main(["shard", "toy", "--root", str(root), "--out", str(out)]) == 0
    assert json.loads((out / "manifest.json").read_text())["licence"] == "anybody's"
    (category,) = read_catalogue(DatasetConfig(name="toy", root=str(out)), (), tmp_path).values()
    assert splits(category.samples) == splits(samples)
    assert main(["fetch", "toy", "--root", str(tmp_path / "x")]) == 2
    assert "toy: there is nothing to fetch: the tests paint it" in capsys.readouterr().err


def test_what_ships_is_written_where_a_run_wants_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    declared = DatasetConfig(name="toy")
    assert declared.is_written_here
    assert [*read_catalogue(declared, (), tmp_path / "photographs")] == ["cup"]
    study = tmp_path / "mine.yaml"
    study.write_text(yaml.safe_dump({"name": "mine", "dataset": {"name": "toy"}, "arms": ["original"]}))
    assert main(["doctor", str(study)]) == 0
    assert "the tests" in capsys.readouterr().out


def test_its_objects_are_known() -> None:
    assert object_for("cup") == "mug"
    assert object_for("cup", {"cup": "beaker"}) == "beaker"


def test_a_study_may_name_it_and_nothing_unknown() -> None:
    assert validate({"name": "x", "dataset": {"name": "toy"}}, "x").dataset.name == "toy"
    allowed = "mvtec_ad, mvtec_loco, btad, demo, folder, toy"
    for name, hint in (("mvtec", "did you mean mvtec_ad? "), ("nothing", "")):
        with pytest.raises(BadInput) as refused:
            load_study("demo", [f"dataset.name={name}"])
        line = f"dataset.name: {name}: no such dataset; {hint}there are: {allowed}"
        assert str(refused.value).endswith(line)
    with pytest.raises(BadInput, match=r"dataset\.name: must be 'mvtec_ad', .* or 'toy' \(given: 3\)"):
        load_study("demo", ["dataset.name=3"])


def test_datasets_that_share_a_category_agree_on_its_object() -> None:
    named = [(category, noun) for dataset in datasets.DATASETS for category, noun in dataset.objects.items()]
    assert sorted({*named}) == sorted(known_objects().items())
    assert all({*dataset.categories} <= {*dataset.objects} for dataset in datasets.DATASETS)
