"""Cells of the kind ``images``: the quality of what arms add, end to end, and without any test image."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from goodshot.components.errors import BadInput
from goodshot.components.metrics.declared import metric_of
from goodshot.components.metrics.detection import IMAGE_SET
from goodshot.components.metrics.latents import LATENTS
from goodshot.components.metrics.summary import paired_difference
from goodshot.runner.console.terminal import print_study
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.plan.pricing import price
from goodshot.runner.plan.scheduling import Shares
from goodshot.runner.report import write_report
from goodshot.runner.results.comparison import Comparison, compare
from goodshot.runner.results.results import Results
from goodshot.runner.results.verifying import verify
from goodshot.runner.run.execute import plan_studies, run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.image_set import ImageSetStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.files import Files
from goodshot.runner.store.retention import superfluous
from goodshot.runner.study.study import Study

SHARES_RAY = True

TABLE_2: dict[str, Any] = {
    "cells": ["images"],
    "arms": ["original", "augmented", "generated"],
    "prompt_kind": ["naive", "best", "worst"],
}


def run_local(study: Study, out: Path) -> Results:
    plan, results = plan_studies([study], Options(str(out))), Results(str(out))
    LocalExecutor(plan, Store(str(out / "store")), results).run(list(plan.cells))
    assert not results.tries()
    return results


@pytest.mark.slow
def test_on_ray_with_the_latents_of_the_same_generator(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(cells=["images", "latents"], arms=["generated"])
    _, run = run_studies([study], Options(str(tmp_path), cpus=2), Console(file=io.StringIO()))
    executed = dict.fromkeys(("shard", "prompt", "generator", "latents", "images", "latent_distribution"), 1)
    assert (run.failed, dict(run.executed)) == (0, executed)
    rows = {row["cell"]: row for row in Results(str(tmp_path)).rows().values()}
    assert rows["images"]["ssim"] < 1
    assert rows["latents"]["latent_ks"] < 1


def test_image_quality_goes_through_the_whole_house(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(**{**TABLE_2, "cells": ["images", "latents"]})
    options = Options(str(tmp_path / "out"), local=True)
    plan, run = run_studies([study], options, Console(file=io.StringIO()))
    assert (run.failed, run.executed["images"], run.executed["latents"], len(plan.cells)) == (0, 4, 1, 5)
    results, store = Results(options.out), Store(options.store_uri)
    assert results.read("scores").num_rows == 0
    rows = [row for row in results.rows().values() if row["cell"] == "images"]
    assert {row["arm"] for row in rows} == {"augmented", "generated"}
    for row in rows:
        assert (row["detector"], row["image_auroc"], row["image_size"]) == (None, None, 32)
        assert row["ssim"] < 1 <= row["is_lite0"]
        assert (row["lpips"], row["is"]) == (None, None)
        assert (row["similarity"] is None) == (row["chosen_iteration"] is None) == (row["arm"] == "augmented")
    metrics = results.read("metrics").to_pylist()
    for row in rows:
        own = {m["metric"]: m["value"] for m in metrics if m["fingerprint"] == row["fingerprint"]}
        assert own == {name: row[name] for name in own}
    assert {m["subset"] for m in metrics} == {IMAGE_SET, LATENTS}
    assert list(verify(results, store)) == []
    assert list(superfluous(Files(store.uri), timedelta(0))) == []
    prices = price(plan, store, {*results.finished()}, Shares([{"CPU": 2}]), {})
    assert {each.remaining for each in prices} == {0}
    page = Path(write_report(options).removeprefix("file://")).read_text()
    for text in ("SSIM", "PSNR, dB", "lpips_lite0", "is_lite0", "generated +2 prompt_kind=worst", "the images added"):
        assert text in page
    assert "AUROC" not in page


def comparison_of(found: list[Comparison], arm: str, **variant: Any) -> Comparison:
    (one,) = (c for c in found if c.variant["arm"] == arm and variant.items() <= c.variant.items())
    return one


def test_rows_are_averaged_over_supports_and_compared(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    results = run_local(tiny_study(**TABLE_2, support_seeds=[0, 1]), tmp_path)
    rows = list(results.rows().values())
    found = compare(rows)
    best = comparison_of(found, "generated", prompt_kind="best")
    augmented, ssim = comparison_of(found, "augmented"), metric_of("ssim")
    values = [row["ssim"] for row in rows if row["prompt_kind"] == "best"]
    mean = best.mean(ssim)
    assert mean is not None
    assert mean.mean == pytest.approx(sum(values) / 2)
    assert best.compared == ssim
    assert best.against["augmented"] == paired_difference(best.values(ssim), augmented.values(ssim))
    # A difference of image quality is neither a gain nor a harm, however many supports there are.
    assert best.judged("augmented") is None
    lpips = metric_of("lpips_lite0")
    other = comparison_of(found, "generated", prompt_kind="worst")
    assert paired_difference(best.values(lpips), other.values(lpips)).n == 2
    console = Console(file=io.StringIO(), width=250)
    print_study(console, "Table 2", rows)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "verdict" not in shown
    for title in ("SSIM", "PSNR, dB", "lpips_lite0", "is_lite0", "− augmented", "won:lost"):
        assert title in shown


def test_an_exact_copy_of_the_original_measures_as_table_2_says(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    """The table's line "Original": IS 1.00, SSIM 1.00, no PSNR, LPIPS 0.00."""
    study = tiny_study()
    coin = Path(str(study.dataset.root)) / "coin" / "train" / "good"
    ids = sorted(path.name for path in coin.iterdir())[:1]
    (folder := tmp_path / "copies").mkdir()
    for i in range(3):
        shutil.copy(coin / ids[0], folder / f"{i}.png")
    side = Image.open(coin / ids[0]).width
    fields = {"support": {"coin": [f"train/good/{ids[0]}"]}, "generator": {"resolution": side}, "copies": [3]}
    results = run_local(tiny_study(**fields, cells=["images"], arms=[f"external:{folder}"]), tmp_path / "out")
    (row,) = results.rows().values()
    assert [row[name] for name in ("is_lite0", "ssim", "lpips_lite0")] == pytest.approx([1, 1, 0], abs=1e-5)
    assert row["psnr"] == math.inf
    # What Fig. 2 compares a gain with: as similar to the original as can be, and without variance.
    assert (row["original_similarity_lite0"], row["pixel_variance"]) == pytest.approx((1, 0), abs=1e-5)
    (comparison,) = compare([row])
    assert comparison.label == "external:copies +3"
    console = Console(file=io.StringIO(), width=200)
    print_study(console, "Table 2", [row])
    assert "PSNR" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_category_needs_no_test_images(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    source, root = Path(str(tiny_study().dataset.root)), tmp_path / "root"
    (good := root / "coin" / "good").mkdir(parents=True)
    for path in sorted((source / "coin" / "train" / "good").iterdir())[:2]:
        shutil.copy(path, good)
    fields = {"dataset": {"name": "folder", "root": str(root)}, "arms": ["augmented"]}
    results = run_local(tiny_study(**fields, cells=["images"]), tmp_path / "out")
    assert len(results.rows()) == 1
    with pytest.raises(BadInput, match="coin has no test images"):
        plan_studies([tiny_study(**fields)], Options(str(tmp_path / "other")))


def test_detections_share_what_was_measured(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    fields = {"cells": ["detection", "images"], "arms": ["original", "generated"]}
    results = run_local(tiny_study(**fields), tmp_path)
    rows = {(row["cell"], row["arm"]): row for row in results.rows().values()}
    assert rows.keys() == {("detection", "original"), ("detection", "generated"), ("images", "generated")}
    values = results.read("metrics").to_pylist()
    both = [
        {v["metric"]: v["value"] for v in values if (v["fingerprint"], v["subset"]) == (row["fingerprint"], IMAGE_SET)}
        for row in (rows["detection", "generated"], rows["images", "generated"])
    ]
    assert both[0] == both[1]
    assert both[0]["original_similarity_lite0"] < 1
    assert both[0]["pixel_variance"] > 0
    assert len(list((tmp_path / "store" / "quality").iterdir())) == 1
    assert rows["detection", "generated"]["ssim"] is None


def test_images_of_all_arms_have_the_size_of_the_largest_generated_ones(
    tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    study = tiny_study(cells=["images"], arms=["augmented", "generated"], detail=["none", "residual_256"])
    results = run_local(study, tmp_path)
    sizes = {(row["arm"], row["detail"]): row["image_size"] for row in results.rows().values()}
    assert sizes == {("augmented", None): 256, ("generated", "none"): 32, ("generated", "residual_256"): 256}
    # Images of different sizes are not compared.
    against = {c.variant["detail"]: set(c.against) for c in compare([*results.rows().values()])}
    assert against == {None: set(), "none": set(), "residual_256": {"augmented"}}


def test_an_arm_without_images_has_nothing_to_measure(tiny_study: Callable[..., Study]) -> None:
    with pytest.raises(BadInput, match="cells: images measures nothing of the arms original; add an arm, or leave it"):
        tiny_study(cells=["images"], arms=["original"])


def test_what_makes_the_images_is_their_identity(tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    def cells(**fields: Any) -> set[str]:
        study = tiny_study(**{"cells": ["images"], "arms": ["augmented", "generated"], **fields})
        plan = plan_studies([study], Options(str(tmp_path)))
        assert plan.of(ImageSetStage)
        return {*plan.cells}

    assert cells() == cells(detectors=[{"image_size": 96}], objective="planted", name="other")
    assert not cells() & cells(copies=[3])
    assert len(cells() & cells(prompt_kind=["worst"])) == 1
