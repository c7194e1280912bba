"""Cells of the kind ``latents``: a generator's sampled latents, with and without variance."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from goodshot.components.errors import BadInput
from goodshot.components.metrics.latents import LATENTS
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.plan.plan import Plan
from goodshot.runner.report import write_report
from goodshot.runner.results.comparison import compare
from goodshot.runner.results.results import Results
from goodshot.runner.results.verifying import verify
from goodshot.runner.run.execute import plan_studies, run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.latents import SAMPLES, LatentsStage, read_latents
from goodshot.runner.stages.training import TrainingStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.files import Files
from goodshot.runner.store.retention import remove, superfluous
from goodshot.runner.study.study import Study

FIG_10 = {"cells": ["latents"], "arms": ["original", "generated"]}


def plan_of(study: Study, out: Path) -> Plan:
    return plan_studies([study], Options(str(out)))


def test_latents_go_through_the_whole_house(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(**FIG_10, variance=["estimated", "none", "unit"])
    options = Options(str(tmp_path / "out"), local=True)
    _, run = run_studies([study], options, Console(file=io.StringIO()))
    assert (run.failed, run.executed["latents"], run.executed["latent_distribution"]) == (0, 3, 3)
    results, store = Results(options.out), Store(options.store_uri)
    rows = {row["variance"]: row for row in results.rows().values()}
    assert [rows[v]["latent_zero_variance"] for v in ("none", "unit")] == [1, 0]
    assert [rows[v]["latent_variance"] for v in ("none", "unit")] == [0, 1]
    own = rows["estimated"]
    assert own["latent_variance"] == pytest.approx(own["latent_view_variance"], abs=1e-6)
    # Noise of deviation 1 drowns these latents, so that their distribution is the noise's.
    assert rows["unit"]["latent_ks"] < rows["none"]["latent_ks"]
    for row in rows.values():
        assert (row["cell"], row["prompt_kind"], row["similarity"], row["image_auroc"]) == ("latents", *[None] * 3)
        assert (row["iterations"], row["vq_weight"]) == (4, 1.0)
        metrics = [m for m in results.read("metrics").to_pylist() if m["fingerprint"] == row["fingerprint"]]
        assert {m["metric"]: m["value"] for m in metrics} == {m["metric"]: row[m["metric"]] for m in metrics}
        assert {m["subset"] for m in metrics} == {LATENTS}
    assert results.read("scores").num_rows == 0
    assert list(verify(results, store)) == []
    assert list(superfluous(Files(store.uri), timedelta(0))) == []
    page = Path(write_report(options).removeprefix("file://")).read_text()
    for text in ("KS distance to N(0, 1)", "share of Σ = 0", "generated +2 variance=none", "the sampled latents"):
        assert text in page
    assert "could not be read" not in page
    assert [c.compared for c in compare(list(rows.values()))] == [None] * 3


def test_what_the_report_draws_is_in_the_store(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    plan = plan_of(tiny_study(**FIG_10, variance=["estimated", "none"]), tmp_path)
    store = Store(str(tmp_path / "store"))
    for stage in plan.of(LatentsStage):
        LocalExecutor(plan, store).make(stage.id)
        figures = read_latents(store, stage.key)
        config = stage.training.config
        assert (figures.samples.shape, figures.views.shape) == ((SAMPLES, 2), (config.augmentations, 2))
        values = SAMPLES * config.vqgan.latent_channels * (config.resolution // config.vqgan.downsampling) ** 2
        assert 0 < figures.counts.sum() <= values
        spread = np.ptp(figures.samples, axis=0).max()
        # Without variance all samples are one, in the middle of the views.
        assert (spread > 1e-4) == (config.variance == "estimated")
        if config.variance == "none":
            np.testing.assert_allclose(figures.samples[0], figures.views.mean(axis=0), atol=1e-5)


def test_one_row_for_each_generator_and_l(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(
        **{**FIG_10, "arms": ["augmented", "generated", "vqgan_clip"]},
        vq_weight=[0.5, 1.0],
        iterations=[2, 4],
        copies=[1, 2],
        prompt_kind=["best", "naive"],
        select=["text", "last"],
        post_augment=["none", "strong"],
    )
    plan = plan_of(study, tmp_path)
    assert len(plan.cells) == len(plan.of(LatentsStage)) == 2 * 2
    assert len(plan.of(TrainingStage)) == 2
    assert {(stage.updates, stage.training.vq_weight) for stage in plan.of(LatentsStage)} == {
        (1, 0.5),
        (1, 1.0),
        (3, 0.5),
        (3, 1.0),
    }


def test_the_network_is_that_of_l_also_where_its_checkpoint_was_deleted(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    plan = plan_of(tiny_study(**FIG_10, iterations=[2, 4]), tmp_path)
    store = Store(str(tmp_path / "store"))
    first, last = sorted(plan.of(LatentsStage), key=lambda stage: stage.updates)
    executor = LocalExecutor(plan, store)
    executor.want(plan.cells.values())
    executor.make(last.id)
    executor.make(first.id)
    values = [store.get(stage.key).info["values"] for stage in (first, last)]
    assert values[0] != values[1]
    for stage in (first, last):
        shutil.rmtree(tmp_path / "store" / stage.key)
    for found in superfluous(Files(store.uri), timedelta(0), checkpoints=True):
        remove(Files(store.uri), found)
    again = LocalExecutor(plan, store)
    for stage in (first, last):
        again.make(stage.id)
    assert [store.get(stage.key).info["values"] for stage in (first, last)] == values


def test_an_arm_without_a_trained_generator_has_no_latents(tiny_study: Callable[..., Study]) -> None:
    with pytest.raises(BadInput, match="cells: latents measures nothing of the arms original, vqgan_clip"):
        tiny_study(cells=["latents"], arms=["original", "vqgan_clip"])
