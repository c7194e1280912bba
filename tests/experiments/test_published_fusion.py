"""The AnomalyXFusion paper's tables: complete, each number once, and which printed means are wrong."""

from __future__ import annotations

from goodshot.components.data.datasets import dataset_of
from goodshot.components.metrics.declared import METRICS
from goodshot.experiments.fusion_flavours import ABLATION
from goodshot.experiments.published import fusion
from goodshot.experiments.published.fusion import METHODS, OURS, TABLE_6, TABLES, WRONG_MEANS
from goodshot.experiments.published.fusion_references import ablation, references


def test_the_tables_are_whole() -> None:
    assert {*fusion.CATEGORIES} == {*dataset_of("mvtec_ad").categories}
    assert {column.split("/")[0] for column in fusion.LOCO} == {*dataset_of("mvtec_loco").categories}
    assert {number: (len(table.rows), len(table.columns)) for number, table in TABLES.items()} == {
        1: (16, 15),
        2: (6, 10),
        3: (30, 15),
        4: (8, 14),
        5: (3, 10),
    }
    for table in TABLES.values():
        assert all(len(row.values) == len(table.columns) for row in table.rows)
        assert len({(row.method, row.metric) for row in table.rows}) == len(table.rows)
    assert {row.method for table in TABLES.values() for row in table.rows} == {*METHODS}


def test_every_value_is_on_its_scale() -> None:
    for number, table in TABLES.items():
        for row in table.rows:
            low, high = {"is": (1, 3), "ic_lpips": (0.02, 0.6)}.get(row.metric, (1, 100))
            assert all(low <= value <= high for value in (*row.values, row.mean)), (number, row)


def test_which_printed_means_are_not_the_means_of_the_printed_values() -> None:
    wrong = {}
    for number, table in TABLES.items():
        for row in table.rows:
            # 1e-9: a mean that ends in 5 may be rounded either way.
            if abs(row.true_mean - row.mean) > 0.5 * 10**-table.decimals + 1e-9:
                wrong[number, row.method, row.metric] = round(row.true_mean, table.decimals)
    assert wrong == dict(WRONG_MEANS)
    assert not [key for key in wrong if key[0] == 3 and not key[2].startswith("pixel")]
    assert sorted(key for key in wrong if key[1] == OURS) == [(1, OURS, "ic_lpips"), (3, OURS, "pixel_auroc")]


def test_the_ablations_last_row_is_the_full_method_of_the_other_tables() -> None:
    printed = {(n, row.metric): row.mean for n, table in TABLES.items() for row in table.rows if row.method == OURS}
    full = TABLE_6[-1]
    assert (full.text, full.mif, full.ddf) == (True, True, True)
    assert (full.inception, full.ic_lpips, full.accuracy) == (
        printed[1, "is"],
        printed[1, "ic_lpips"],
        printed[4, "accuracy"],
    )


def test_a_value_is_found_by_method_metric_and_category() -> None:
    assert TABLES[3].value(OURS, "pixel_ap", "grid") == 97.3
    assert TABLES[4].value("AnoDiff", "accuracy", "metal_nut") == 59.38
    assert TABLES[5].value(OURS, "accuracy", "splicing_connectors/structural") == 82.76


def test_references_are_the_printed_numbers_on_our_scale() -> None:
    """A method that runs here has its mean and each category; the others have their means alone, as the field."""
    for number, table in TABLES.items():
        found = references(number)
        cited = {row.method for row in table.rows if METHODS[row.method].here is None}
        assert len(found) == sum(1 if row.method in cited else 1 + len(row.values) for row in table.rows)
        assert len([one for one in found if one.kind == "field"]) == sum(row.method in cited for row in table.rows)
        assert all(one.doubt == "" or one.mean_over for one in found)
    by = {(one.metric, one.where.get("category"), one.where.get("arm")): one for one in references(4)}
    assert by["defect_accuracy", None, "fusion"].value == 0.747
    assert (
        by["defect_accuracy", "metal_nut", "crop_paste"].value
        == TABLES[4].value("Crop-P", "accuracy", "metal_nut") / 100
    )
    assert ("defect_accuracy", "toothbrush", "fusion") not in by
    (kinds,) = [one for one in references(5) if one.where == {"dataset": "mvtec_loco", "arm": "fusion"}]
    assert "the categories' two kinds" in kinds.setting
    structural = [one for one in references(5) if one.subset == "structural_anomalies"]
    assert {one.where["category"] for one in structural} == {*dataset_of("mvtec_loco").categories}
    assert {one.value for one in references(1) if one.metric == "is" and one.mean_over} >= {1.82, 1.51}


def test_the_ablation_is_of_the_arms_that_the_experiment_runs() -> None:
    found = ablation()
    assert {one.where["arm"] for one in found} == {*ABLATION}
    assert len(found) == 5 * 3
    full = {one.metric: one.value for one in found if one.where["arm"] == "fusion"}
    assert full == {"is": 1.82, "ic_lpips": 0.33, "defect_accuracy": 0.747}
    known = {metric.name for metric in METRICS}
    assert {one.metric for number in TABLES for one in references(number)} | full.keys() <= known
