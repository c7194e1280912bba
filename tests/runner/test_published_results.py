"""Published numbers beside rows: metrics, gains, means over categories, subsets, and what counts as a substitute."""

from __future__ import annotations

from typing import Any

import pytest

from goodshot.runner.results.published import beside
from goodshot.runner.study.experiment import Reference

BLANK = {"vq_weight": None, "iterations": None, "detector": "patchcore-lite0", "image_size": 256, "cell": "detection"}
PINNED = {"prompt_kind": "best", "select": "text", "variance": "estimated", "detail": "none", "post_augment": "none"}


def row(category: str, seed: int, arm: str, auroc: float | None, **columns: Any) -> dict[str, Any]:
    own = {"vq_weight": 1.0, "iterations": 10, **PINNED} if arm == "generated" else dict.fromkeys(PINNED)
    return {
        **BLANK,
        "dataset": "mvtec_ad",
        "category": category,
        "shots": "1",
        "support_seed": seed,
        "seed": seed,
        "arm": arm,
        "copies": 0 if arm == "original" else 5,
        "image_auroc": auroc,
        "fingerprint": f"{category}-{seed}-{arm}",
        "encoder": "conse" if arm == "generated" else None,
        **own,
        **columns,
    }


ROWS = [
    row(category, seed, arm, {"original": 0.5, "generated": 0.6}[arm] + 0.1 * (category == "b") + 0.02 * seed)
    for category in ("a", "b")
    for seed in (0, 1)
    for arm in ("original", "generated")
]


def reference(value: float, **fields: Any) -> Reference:
    where = {"dataset": "mvtec_ad", "arm": "generated", **fields.pop("where", {})}
    return Reference("the paper", "image_auroc", value, where, **fields)


def test_a_metric_of_one_category_is_its_mean_over_supports() -> None:
    (found,) = beside([reference(0.65, where={"category": "a"})], ROWS, {})
    assert found.own == pytest.approx((0.61, 0.0141421), abs=1e-6)
    assert (found.supports, found.categories) == (2, 1)
    assert found.difference == pytest.approx(-0.04)
    assert found.relative_difference == pytest.approx(-0.04 / 0.65)
    assert found.rows == ("a-0-generated", "a-1-generated")


def test_a_mean_over_categories_spreads_over_supports_only() -> None:
    (found,) = beside([reference(0.66, mean_over=("category",))], ROWS, {})
    # 0.65 and 0.67: the categories differ by 0.1, which is no uncertainty of their mean.
    assert found.own == pytest.approx((0.66, 0.0141421), abs=1e-6)
    assert found.categories == 2


def test_a_gain_of_unstated_unit_is_read_both_ways() -> None:
    printed = reference(0.157, where={"category": "b"}, over="original", unit="unstated")
    points, relative = beside([printed], ROWS, {})
    assert (points.unit, relative.unit) == ("points", "relative")
    assert points.own.mean == pytest.approx(0.1)
    assert relative.own.mean == pytest.approx((0.7 / 0.6 + 0.72 / 0.62) / 2 - 1)


def test_a_subset_is_read_from_the_long_metrics() -> None:
    metrics = {"a-0-generated": {("logical_anomalies", "image_auroc"): 0.4}}
    (found,) = beside([reference(0.5, subset="logical_anomalies")], ROWS, metrics)
    assert found.own.mean == pytest.approx(0.4)
    assert found.rows == ("a-0-generated",)


def test_variants_have_lines_of_their_own_and_substitutes_are_named() -> None:
    other = [row("a", 0, "generated", 0.9, prompt_kind="worst")]
    found = beside([reference(0.6, measured_with={"encoder": "open_clip"})], [*ROWS, *other], {})
    assert [line.label for line in found] == ["generated", "generated worst"]
    assert found[0].substitutes == {"encoder": ("open_clip", "conse")}


def test_what_no_row_measures_is_left_out() -> None:
    undefined = [row("a", 0, "generated", None)]
    assert beside([reference(0.6)], undefined, {}) == []
    assert beside([reference(0.6, where={"category": "c"})], ROWS, {}) == []
    assert beside([reference(0.6, kind="field")], ROWS, {}) == []
