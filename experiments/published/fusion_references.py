"""AnomalyXFusion's printed numbers (`fusion`) as references: its own and crop-paste's beside our rows, others cited."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from goodshot.components.metrics.declared import metric_of
from goodshot.experiments.published.fusion import METHODS, PAPER, TABLE_6, TABLES, WRONG_MEANS, Row, Table
from goodshot.runner.study.experiment import Reference

ON = {1: "mvtec_ad", 2: "mvtec_loco", 3: "mvtec_ad", 4: "mvtec_ad", 5: "mvtec_loco"}
"""Table → dataset."""
METRIC = {"accuracy": "defect_accuracy"}
"""Where the name of the metric is another one here."""
SETTING = (
    "a third of each defect type is for training, of which here a third chooses checkpoints and is not learned from; "
    "the paper states neither seeds nor how a checkpoint is chosen"
)
MEASURED_WITH = {"base": "ldm_text2im", "side": 256}
"""What the paper measured with, as far as it says so: a latent text-to-image model, at 256 pixels."""
BY_KIND = "; the printed mean is over the categories' two kinds of defects, ours over the categories"
"""What is different in a mean on MVTec LOCO."""
SUBSETS = {"logical": "logical_anomalies", "structural": "structural_anomalies"}


def references(number: int) -> tuple[Reference, ...]:
    """Those of Table 1 to 5: by category for methods that run here, the mean alone for the others."""
    table = TABLES[number]
    return tuple(reference for row in table.rows for reference in _of_row(number, table, row))


def ablation() -> tuple[Reference, ...]:
    """The means of Table 6."""
    found = []
    for row in TABLE_6:
        on = [name for name, is_on in (("text", row.text), ("mif", row.mif), ("ddf", row.ddf)) if is_on]
        arm = "fusion" if len(on) == 3 else f"fusion:{'+'.join(on) or 'none'}"
        values = {"is": row.inception, "ic_lpips": row.ic_lpips, "defect_accuracy": row.accuracy / 100}
        for metric, value in values.items():
            where = {"dataset": "mvtec_ad", "arm": arm}
            source = f"{PAPER}, Table 6, {'+'.join(on) or 'none'}"
            found.append(
                Reference(
                    source, metric, round(value, 6), where, SETTING,
                    mean_over=("category",), measured_with=MEASURED_WITH,
                )
            )  # fmt: skip
    return tuple(found)


def _of_row(number: int, table: Table, row: Row) -> Iterator[Reference]:
    method, metric = METHODS[row.method], METRIC.get(row.metric, row.metric)
    scale = 100.0 if metric_of(metric).is_fraction else 1.0
    source, dataset = f"{PAPER}, Table {number}, {row.method}", {"dataset": ON[number]}
    wrong = WRONG_MEANS.get((number, row.method, row.metric))
    doubt = "" if wrong is None else f"the printed values of the categories have the mean {wrong}"
    mean = round(row.mean / scale, 6)
    of_mean = SETTING + (BY_KIND if any("/" in column for column in table.columns) else "")
    if method.here is None:
        where: dict[str, Any] = {**dataset, "shots": "full"}
        about = f"{method.publication}, as the paper prints it"
        yield Reference(
            f"{source} ({about})", metric, mean, where, of_mean, "field", mean_over=("category",), doubt=doubt
        )
        return
    where = {**dataset, "arm": method.here}
    yield Reference(
        source, metric, mean, where, of_mean, mean_over=("category",), measured_with=MEASURED_WITH, doubt=doubt
    )
    for column, value in zip(table.columns, row.values, strict=True):
        category, _, kind = column.partition("/")
        subset = SUBSETS[kind] if kind else "all"
        own = {**where, "category": category}
        yield Reference(
            source, metric, round(value / scale, 6), own, SETTING, subset=subset, measured_with=MEASURED_WITH
        )
