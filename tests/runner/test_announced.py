"""A stage that goes on after it has announced an artifact: what needs only that artifact runs meanwhile.

The toy training waits after each of its image sets until a cell has measured that set. Without the announcement the
cell would wait for the training, and the training for the cell.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from goodshot.components.data import datasets
from goodshot.runner import arms, cells
from goodshot.runner.arms import AddedImages, Arm, Planner, SeededSupport, Variant
from goodshot.runner.cells import Cell, CellKind, CellStage, Measured
from goodshot.runner.cells.base import cell_key, train_identity
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.base import Context, Stage, Support
from goodshot.runner.store.artifacts import arrays_bytes
from goodshot.runner.store.fingerprint import canonical, fingerprint
from goodshot.runner.study.problems import SchemaNode
from goodshot.runner.study.study import Study
from tests.runner.test_openness import TOY, write_toy

SHARES_RAY = True
PATIENCE = 120.0
"""Seconds after which the training takes it that nobody will measure the set that it has announced."""


@dataclass(frozen=True, kw_only=True)
class PatientTraining(Stage):
    """Commits its sets one by one, and waits after each until it has been measured."""

    kind = "patient"
    title = "patient training"
    version = 1
    takes = "generator"
    is_artifact = False

    shard: str
    noted: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.shard,)

    @property
    def home(self) -> str:
        return self.shard

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        for product in wanted:
            assert isinstance(product, PatientSet)
            images = np.full((product.copies, 8, 8, 3), product.copies, np.uint8)
            context.store.put(product.key, {"images.safetensors": arrays_bytes({"images": images})}, {})
            context.announce(product.key)
            began = time.monotonic()
            while not (Path(self.noted) / str(product.copies)).exists():
                if time.monotonic() - began > PATIENCE:
                    raise TimeoutError(f"nobody measured the set of {product.copies} images while the training went on")
                time.sleep(0.05)


@dataclass(frozen=True, kw_only=True)
class PatientSet(Stage):
    """One set of the training."""

    kind = "patient_set"
    title = "patient set"
    version = 1

    training: str
    copies: int

    @property
    def producer(self) -> str:
        return self.training

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        raise AssertionError("the training makes it")


class Patient(Arm):
    """Adds sets of one training, which takes no part in what identifies them."""

    name = label = "patient"
    colour = "#000000"
    point_fields = ("copies",)
    stages = (PatientTraining, PatientSet)

    def variants(self, study: Declaration) -> Iterator[Variant]:
        yield from (Variant(self, point.copies) for point in study.points)

    def plan(self, planner: Planner, variant: Variant, seeded: SeededSupport, side: int) -> AddedImages:
        shard = seeded.support.shard
        training = planner.add(
            PatientTraining(key=f"patient/{shard.rpartition('/')[2]}", shard=shard, noted=str(NOTED))
        )
        name = fingerprint(PatientSet.kind, 1, {"copies": variant.copies}, {"shard": shard})
        made = planner.add(PatientSet(key=f"patient_set/{name}", training=training.id, copies=variant.copies))
        return AddedImages({"image_set": made.key}, (made.id,), made.key)

    def images(
        self, variant: Variant, added: AddedImages, support: Support, seed: int, context: Context
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        return context.store.get(str(added.image_set)).arrays("images.safetensors")["images"], {}


@dataclass(frozen=True, kw_only=True)
class NotingStage(CellStage):
    """Leaves a file when it has measured a set."""

    kind = "noting"
    title = "noting"
    version = 1
    takes = "cpu"

    noted: str

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        images, _ = self.added_images(context)
        (Path(self.noted) / str(len(images))).touch()
        return Measured({"noting": float(len(images))}, [], [])


class Noting(CellKind):
    """The number of images of a set."""

    name = "noting"
    title = "noting"
    stages = (NotingStage,)
    columns = MappingProxyType({"noting": pa.float64()})
    metrics = ("noting",)
    tested = False

    def plan(
        self, planner: Planner, cell: Cell, seeded: SeededSupport, added: AddedImages, declared: Mapping[str, Any]
    ) -> CellStage:
        inputs = {"train": train_identity(planner, seeded.support), "added": added.identity}
        return NotingStage(
            key=cell_key(self.name, NotingStage.version, canonical({}, self.name), inputs),
            cell=cell,
            study=planner.study.name,
            support=seeded.support,
            added=replace(added, identity={}),
            declared=declared,
            noted=str(NOTED),
        )


NOTED = Path("unset")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(arms, "ARMS", (*arms.ARMS, Patient()))
    monkeypatch.setattr(cells, "CELL_KINDS", (*cells.CELL_KINDS, Noting()))
    monkeypatch.setattr(datasets, "DATASETS", (*datasets.DATASETS, TOY))
    monkeypatch.setitem(globals(), "NOTED", tmp_path / "noted")
    NOTED.mkdir()
    SchemaNode.of.cache_clear()
    yield
    SchemaNode.of.cache_clear()


def test_a_cell_runs_while_the_training_of_its_images_goes_on(tmp_path: Path) -> None:
    study = Study(
        name="patience",
        title="A patient training",
        dataset=DatasetConfig(name="toy", root=str(write_toy(tmp_path / "toy"))),
        arms=("patient",),
        cells=("noting",),
        support_seeds=(0,),
        copies=(1, 2, 3),
    )
    options = Options(str(tmp_path / "out"), cpus=2)
    _, run = run_studies([study], options, Console(file=io.StringIO()))
    assert run.failed == 0
    assert run.executed["patient"] == 1
    assert sorted(row["noting"] for row in Results(options.out).rows().values()) == [1, 2, 3]
