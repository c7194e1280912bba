"""The long metrics as tables: by kind of defect (of MVTec LOCO logical, structural, their mean), and further ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.metrics.detection import ALL, IMAGE_SET, LOCO_KINDS, MEAN
from components.metrics.summary import MeanStd, mean_std
from runner.cells.planted import SUBSET
from runner.report.page import Row, variant_label

Values = Mapping[tuple[str, str], float]
"""(subset, metric) → value, of one row."""

BY_KIND = {"image_auroc": "image AUROC", "au_spro_0.05": "AU-sPRO (FPR ≤ 0.05)", "aupro": "AUPRO (FPR ≤ 0.3)"}
FURTHER = {
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "au_spro_0.05": "AU-sPRO (FPR ≤ 0.05)",
}
QUALITY = {
    "ssim": "SSIM",
    "psnr": "PSNR, dB",
    "lpips": "LPIPS",
    "lpips_lite0": "lpips_lite0",
    "is": "IS",
    "is_lite0": "is_lite0",
    "diversity_lpips": "diversity (LPIPS)",
    "diversity_lpips_lite0": "diversity (lpips_lite0)",
}
"""Of the images added, against their originals. The substitutes keep their own names."""


@dataclass(frozen=True)
class Breakdown:
    """One table: its title, its columns, and by variant a mean over supports for each column."""

    title: str
    columns: tuple[str, ...]
    lines: Mapping[str, tuple[MeanStd, ...]]


def breakdowns(rows: Sequence[Row], metrics: Mapping[str, Values]) -> list[Breakdown]:
    """The tables of each category and detector, in the order of the rows.

    Args:
        metrics: by fingerprint; rows without any are left out, and columns that no row defines.
    """
    groups: dict[tuple[str, str], dict[str, list[Values]]] = {}
    for row in rows:
        if row["fingerprint"] in metrics:
            variants = groups.setdefault((str(row["category"]), str(row["detector"])), {})
            variants.setdefault(variant_label(row), []).append(metrics[row["fingerprint"]])
    return [table for (category, detector), own in groups.items() for table in _of(f"{category}, {detector}", own)]


def _of(name: str, variants: Mapping[str, Sequence[Values]]) -> list[Breakdown]:
    present = {key for values in variants.values() for v in values for key in v}
    kinds = _kinds({subset for subset, _ in present})
    tables = [
        _table(
            f"{name}: {title} by kind of defect", {(kind, metric): kind.replace("_", " ") for kind in kinds}, variants
        )
        for metric, title in BY_KIND.items()
        if len(kinds) > 1
    ]
    tables.append(
        _table(f"{name}: further metrics", {(ALL, metric): title for metric, title in FURTHER.items()}, variants)
    )
    pictured = {
        label: values for label, values in variants.items() if any(s == IMAGE_SET for v in values for s, _ in v)
    }
    tables.append(
        _table(f"{name}: the images added", {(IMAGE_SET, metric): title for metric, title in QUALITY.items()}, pictured)
    )
    return [table for table in tables if table.columns]


def _kinds(subsets: set[str]) -> list[str]:
    """Defect types by name; LOCO's two and their mean in that order."""
    own = {s for s in subsets if s != ALL and s.partition("/")[0] != SUBSET and s != IMAGE_SET}
    return sorted(own, key=lambda s: (s == MEAN, LOCO_KINDS.index(s) if s in LOCO_KINDS else 0, s))


def _table(title: str, columns: Mapping[tuple[str, str], str], variants: Mapping[str, Sequence[Values]]) -> Breakdown:
    """Means over the supports whose value is defined; a column that nobody defines is left out."""
    means = {
        key: {
            label: mean_std(v[key] for v in values if math.isfinite(v.get(key, math.nan)))
            for label, values in variants.items()
        }
        for key in columns
    }
    used = [key for key, by_label in means.items() if any(math.isfinite(m.mean) for m in by_label.values())]
    lines = {label: tuple(means[key][label] for key in used) for label in variants}
    return Breakdown(title, tuple(columns[key] for key in used), lines)
