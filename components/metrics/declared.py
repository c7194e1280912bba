"""The registry of metrics for tables, figures and searches: name, title, and the tables that show it.

To add one, add an entry to :data:`METRICS`, and the code that measures it (in a cell kind, or in `evaluate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Objective = Literal["fair", "oracle"]
"""``fair``: any study may choose by it. ``oracle``: it uses test labels, so a study that chooses by it is marked."""
Table = Literal["results", "by_kind", "further", "image_set"]
"""``results``: every results table. ``by_kind``: by defect type. ``further``: the other metrics of the test set.
``image_set``: quality of the images that an arm adds."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    name: its column in ``results/``, or its name in ``metrics/``.
    title: its name in tables.
    better: which direction is an improvement.
    column: whether it is a column of every row, so that searches and W&B see it.
    shown: the tables that have it as a column.
    objective: whether a study may choose its hyperparameters by it.
    """

    name: str
    title: str
    better: Literal["higher", "lower"] = "higher"
    column: bool = False
    shown: tuple[Table, ...] = ()
    objective: Objective | None = None


METRICS: tuple[Metric, ...] = (
    Metric("image_auroc", "image AUROC", column=True, shown=("results", "by_kind"), objective="oracle"),
    Metric("pixel_auroc", "pixel AUROC", column=True, shown=("results",), objective="oracle"),
    Metric("aupro", "AUPRO", column=True, shown=("results", "by_kind"), objective="oracle"),
    Metric("similarity", "similarity", column=True, shown=("results",), objective="fair"),
    Metric("planted", "synthetic-anomaly AUROC", column=True, shown=("results",), objective="fair"),
    Metric("image_ap", "image AP", shown=("further",)),
    Metric("image_f1_max", "image F1-max", shown=("further",)),
    Metric("pixel_ap", "pixel AP", shown=("further",)),
    Metric("pixel_f1_max", "pixel F1-max", shown=("further",)),
    Metric("au_spro_0.05", "AU-sPRO (FPR ≤ 0.05)", shown=("by_kind", "further")),
    Metric("ssim", "SSIM", shown=("image_set",)),
    Metric("psnr", "PSNR, dB", shown=("image_set",)),
    Metric("lpips", "LPIPS", better="lower", shown=("image_set",)),
    Metric("lpips_lite0", "lpips_lite0", better="lower", shown=("image_set",)),
    Metric("is", "IS", shown=("image_set",)),
    Metric("is_lite0", "is_lite0", shown=("image_set",)),
    Metric("diversity_lpips", "diversity (LPIPS)", shown=("image_set",)),
    Metric("diversity_lpips_lite0", "diversity (lpips_lite0)", shown=("image_set",)),
)


def columns() -> tuple[Metric, ...]:
    """The metrics that are columns of rows."""
    return tuple(metric for metric in METRICS if metric.column)


def shown_in(table: Table) -> tuple[Metric, ...]:
    """The metrics that are columns of a table."""
    return tuple(metric for metric in METRICS if table in metric.shown)


def objectives() -> tuple[Metric, ...]:
    """The metrics that a study may choose by, the fair ones first."""
    allowed = [metric for metric in METRICS if metric.objective is not None]
    return tuple(sorted(allowed, key=lambda metric: metric.objective != "fair"))


def metric_of(name: str) -> Metric:
    """The metric of this name. Raises KeyError for any other."""
    for metric in METRICS:
        if metric.name == name:
            return metric
    raise KeyError(name)
