"""A toy arm, stage, cell kind, metric, section, dataset and experiment, defined here alone, go through the whole house.

Each is an object in one of the explicit tuples; a test adds its own to the tuple, and touches nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from rich.console import Console

from goodshot import experiments
from goodshot.components.data import datasets
from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.metrics import declared
from goodshot.components.metrics.declared import Metric
from goodshot.components.metrics.detection import MetricValue
from goodshot.runner import arms, cells
from goodshot.runner.arms import AddedImages, Arm, Planner, SeededSupport, Variant
from goodshot.runner.cells import Cell, CellKind, CellStage, Measured
from goodshot.runner.cells.base import cell_key, train_identity
from goodshot.runner.console.terminal import print_study
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.named import load_studies
from goodshot.runner.plan.plan import Plan
from goodshot.runner.plan.pricing import price
from goodshot.runner.plan.scheduling import Shares
from goodshot.runner.report import sections, write_report
from goodshot.runner.report.blocks import Block, Text
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections import Section
from goodshot.runner.results.results import Results
from goodshot.runner.results.verifying import verify
from goodshot.runner.run.execute import plan_studies, run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.base import Context, SharedValue, Stage, Support
from goodshot.runner.stages.values import Originals
from goodshot.runner.store.artifacts import Store, arrays_bytes
from goodshot.runner.store.files import Files
from goodshot.runner.store.fingerprint import canonical, fingerprint
from goodshot.runner.store.retention import superfluous
from goodshot.runner.study.experiment import Experiment, Reference
from goodshot.runner.study.problems import SchemaNode
from goodshot.runner.study.study import Study
from tests.wandb_files import wandb_runs

SHARES_RAY = True


@dataclass(frozen=True, kw_only=True)
class MirrorStage(Stage):
    """Mirror the originals of a support."""

    kind = "mirror"
    title = "mirrored set"
    version = 1

    support: Support
    copies: int

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.support.shard,)

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        return (Originals(self.support),)

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        originals = context.read(Originals(self.support))
        images = np.stack([np.ascontiguousarray(originals[0][:, ::-1])] * self.copies)
        context.store.put(self.key, {"images.safetensors": arrays_bytes({"images": images})}, {})


class Mirrored(Arm):
    """Adds mirror images."""

    name = label = "mirrored"
    colour = "#000000"
    point_fields = ("copies",)
    images_are = "mirrored"
    columns = MappingProxyType({"mirror": pa.string()})

    def variants(self, study: Declaration) -> Iterator[Variant]:
        yield from (Variant(self, point.copies) for point in study.points)

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        options, inputs = {"copies": variant.copies}, {"support": list(seeded.support.content)}
        key = f"image_set/{fingerprint(MirrorStage.kind, MirrorStage.version, options, inputs)}"
        stage = planner.add(MirrorStage(key=key, support=seeded.support, copies=variant.copies))
        return AddedImages({"image_set": stage.key}, (stage.id,), stage.key)

    def images(
        self, variant: Variant, added: AddedImages, support: Support, seed: int, context: Context
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        return context.store.get(str(added.image_set)).arrays("images.safetensors")["images"], {"mirror": "upright"}


@dataclass(frozen=True, kw_only=True)
class BrightnessStage(CellStage):
    """The mean of what an arm adds; no detector takes part."""

    kind = "brightness"
    title = "brightness"
    version = 1

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        images, facts = self.added_images(context)
        brightness = float(images.mean()) / 255
        return Measured({"brightness": brightness, **facts}, [], [MetricValue("all", "brightness", brightness)])


class Brightness(CellKind):
    """How bright the images are that an arm adds."""

    name = "brightness"
    title = "brightness"
    stages = (BrightnessStage,)
    columns = MappingProxyType({"brightness": pa.float64()})
    metrics = ("brightness",)
    checked = ("brightness",)

    def wants(self, variant: Variant) -> bool:
        return variant.copies > 0

    def problems(
        self, row: Mapping[str, Any], labels: np.ndarray, scores: np.ndarray, has_metrics: bool
    ) -> Iterator[str]:
        if not 0 <= row["brightness"] <= 1:
            yield "is brighter than white"

    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> CellStage:
        inputs = {"train": train_identity(planner, seeded.support), "added": added.identity}
        return BrightnessStage(
            key=cell_key(self.name, BrightnessStage.version, canonical({}, self.name), inputs),
            cell=cell,
            study=planner.study.name,
            support=seeded.support,
            added=replace(added, identity={}),
            declared=declared,
        )


TOY = Dataset(name="toy", title="Toy", source="made here", licence="none", nothing_to_fetch="it is made in a test")


def toy_study() -> Study:
    return Study(
        name="toy_study",
        title="A toy study",
        dataset=DatasetConfig(name="toy", root=str(TOY_ROOT)),
        arms=("original", "mirrored"),
        cells=("detection", "brightness"),
        support_seeds=(0,),
        copies=(2,),
        objective="brightness",
        detectors=({"image_size": 64},),  # type: ignore[arg-type]
    )


class ToySection(Section):
    """How bright the brightest row is."""

    name = "toy"
    title = "Toy section"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        values = [row["brightness"] for row in study.rows if row["brightness"] is not None]
        if values:
            yield Text(f"The brightest row has {max(values):.3f}.")


class OwnSection(Section):
    """A section of the toy experiment alone."""

    name = "own"
    title = "The experiment's own section"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        yield Text("Shown for this experiment alone.")


TOY_EXPERIMENT = Experiment(
    "toy",
    "A toy experiment",
    lambda: (toy_study(),),
    references=(Reference("nobody's table", "brightness", 0.5, {"arm": "mirrored"}, "a toy"),),
    sections=(OwnSection(),),
)
TOY_ROOT = Path("unset")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each toy as the last of its tuple."""
    monkeypatch.setattr(arms, "ARMS", (*arms.ARMS, Mirrored()))
    monkeypatch.setattr(cells, "CELL_KINDS", (*cells.CELL_KINDS, Brightness()))
    brightness = Metric("brightness", "brightness", column=True, shown=("results",), objective="fair")
    monkeypatch.setattr(declared, "METRICS", (*declared.METRICS, brightness))
    monkeypatch.setattr(sections, "SECTIONS", (*sections.SECTIONS, ToySection()))
    monkeypatch.setattr(datasets, "DATASETS", (*datasets.DATASETS, TOY))
    monkeypatch.setattr(experiments, "EXPERIMENTS", (*experiments.EXPERIMENTS, TOY_EXPERIMENT))
    monkeypatch.setitem(globals(), "TOY_ROOT", write_toy(tmp_path / "toy"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    SchemaNode.of.cache_clear()
    yield
    SchemaNode.of.cache_clear()


def write_toy(root: Path) -> Path:
    """Discs with a light and one with a dark spot, in MVTec's layout."""
    yy, xx = np.mgrid[:64, :64]
    disc = np.where((yy - 32) ** 2 + (xx - 30) ** 2 < 400, 180, 40).astype(np.uint8)
    broken = disc.copy()
    broken[28:36, 28:36] = 0
    mask = np.where((broken == 0), 255, 0).astype(np.uint8)
    pictures = {"train/good/0": disc, "train/good/1": disc + 1, "test/good/0": disc + 2, "test/bad/0": broken}
    for name, pixels in {**pictures, "ground_truth/bad/0_mask": mask}.items():
        path = root / "disc" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels if "mask" in name else np.stack([pixels] * 3, 2)).save(path)
    return root


@pytest.mark.parametrize("local", [True, False], ids=["in this process", "on Ray"])
def test_toys_go_through_the_whole_house(local: bool, tmp_path: Path) -> None:
    options = Options(str(tmp_path / "out"), local=local, cpus=2)
    experiment, studies = load_studies("toy")
    planned = plan_studies(studies, options)
    before = {each.kind: (each.wanted, each.remaining) for each in _prices(planned, options, set())}
    assert before == {"shard": (1, 1), "mirrored set": (1, 1), "detection": (2, 2), "brightness": (1, 1)}
    plan, run = run_studies(studies, options, Console(file=io.StringIO()), experiment)
    assert (run.failed, dict(run.executed)) == (0, {"shard": 1, "mirror": 1, "detection": 2, "brightness": 1})
    results = Results(options.out)
    rows = results.rows()
    by_kind = {(row["cell"], row["arm"]): row for row in rows.values()}
    assert by_kind.keys() == {("detection", "original"), ("detection", "mirrored"), ("brightness", "mirrored")}
    bright = by_kind["brightness", "mirrored"]
    assert 0.1 < bright["brightness"] < 0.9
    assert (bright["image_auroc"], bright["detector"]) == (None, None)
    assert bright["mirror"] == by_kind["detection", "mirrored"]["mirror"] == "upright"
    assert by_kind["detection", "original"]["mirror"] is None
    assert by_kind["detection", "mirrored"]["dataset"] == "toy"
    _is_known_everywhere(plan, rows, results, options)
    again = run_studies(studies, options, Console(file=io.StringIO()), experiment)[1]
    assert again.stages == 0
    assert {each.remaining for each in _prices(plan, options, set(rows))} == {0}


def _prices(plan: Plan, options: Options, finished: set[str]) -> list[Any]:
    return price(plan, Store(options.store_uri), finished, Shares([{"CPU": 2}]), {})


def _is_known_everywhere(plan: Plan, rows: Mapping[str, Mapping[str, Any]], results: Results, options: Options) -> None:
    store = Store(options.store_uri)
    # The process that wrote it knows none of these toys.
    (logged,) = wandb_runs(Path(options.out))
    assert logged.summary["disc/mirrored/brightness"] == pytest.approx(
        next(row["brightness"] for row in rows.values() if row["brightness"] is not None)
    )
    assert list(verify(results, store)) == []
    page = Path(write_report(options).removeprefix("file://")).read_text()
    for text in ("A toy study", "mirrored", "brightness", "Toy section", "The brightest row has 0."):
        assert text in page
    for text in ("The experiment's own section", "Comparison with published numbers", "nobody's table", "a toy"):
        assert text.replace("'", "&#39;") in page or text in page
    console = Console(file=io.StringIO(), width=250)
    print_study(console, "A toy study", list(rows.values()))
    assert "brightness" in console.file.getvalue()  # type: ignore[attr-defined]
    files = Files(store.uri)
    (mirror,) = plan.of(MirrorStage)
    files.write(f"{mirror.key}/0123456789ab/images.safetensors", b"of a killed process")
    names = [name for found in superfluous(files, timedelta(0)) for name in found.names]
    assert names == [f"{mirror.key}/0123456789ab/images.safetensors"]
    files.delete(names[0])


def test_a_wrong_row_of_a_toy_kind_is_found(tmp_path: Path) -> None:
    options = Options(str(tmp_path / "out"), local=True)
    _, studies = load_studies("toy")
    plan, _ = run_studies(studies, options, Console(file=io.StringIO()))
    results = Results(options.out)
    (cell,) = (cell for cell in plan.cells.values() if isinstance(cell, BrightnessStage))
    results.append_cell(cell, Measured({"brightness": 1.5}), "cpu")
    fresh = Results(str(tmp_path / "other"))
    fresh.append_cell(cell, Measured({"brightness": 1.5}), "cpu")
    assert [problem.what for problem in verify(fresh, Store(options.store_uri))] == ["is brighter than white"]
