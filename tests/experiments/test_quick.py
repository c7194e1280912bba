"""Every quick flavour, end to end, in one store: minutes on two cores, hence ``slow``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from rich.console import Console

from goodshot import experiments
from goodshot.runner.cells import kind_of_row
from goodshot.runner.report import write_report
from goodshot.runner.results.results import Results
from goodshot.runner.results.verifying import verify
from goodshot.runner.run.execute import run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.experiment import Experiment

NAMES = [pytest.param(one, id=one.name) for one in experiments.EXPERIMENTS if one.quick]
NOT_MEASURED = {
    "planted": "only with objective: planted",
    "lpips": "VGG-16 is not embedded: lpips_lite0 is measured",
    "is": "Inception v3 is not embedded: is_lite0 is measured",
    "ic_lpips": "VGG-16 is not embedded: ic_lpips_lite0 is measured",
    "background_lpips": "VGG-16 is not embedded: background_lpips_lite0 is measured",
    "defect_accuracy": "ResNet-34 is not embedded: defect_accuracy_lite0 is measured",
    "defect_accuracy_resnet34_scratch": "the embedded network is better than one from scratch",
    "diversity_lpips": "VGG-16 is not embedded: diversity_lpips_lite0 is measured",
}
"""Metric → why a row on embedded weights has no value of it."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("store"))


@pytest.mark.slow
@pytest.mark.parametrize("one", NAMES)
def test_a_quick_flavour_has_no_empty_cell_without_a_reason(
    one: Experiment, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    options = Options(str(tmp_path), store=store, local=True)
    studies = one.studies(quick=True)
    plan, run = run_studies(studies, options, Console(quiet=True), one)
    assert (run.failed, run.skipped, run.cells) == (0, 0, len(plan.cells))
    results = Results(options.out)
    rows = results.rows()
    assert rows.keys() == plan.cells.keys()
    empty = {(row["cell"], name) for row in rows.values() for name in _empty(row)}
    assert {name for _, name in empty} <= {*NOT_MEASURED}
    assert list(verify(results, Store(options.store_uri))) == []
    page = Path(write_report(options).removeprefix("file://")).read_text()
    assert all(escape(study.title) in page for study in studies)


def _empty(row: Mapping[str, Any]) -> list[str]:
    """The metrics of a row's kind that it has no value of; similarity is one of arms with a text alone."""
    kind = kind_of_row(row["cell"])
    assert kind is not None
    expected = [*kind.metrics, *(["similarity"] if row["prompt"] is not None else [])]
    return [name for name in expected if row[name] is None]
