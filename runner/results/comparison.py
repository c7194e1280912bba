"""Rows → comparisons: each variant's mean ± std over supports, and its paired difference to the baselines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.metrics.summary import MeanStd, PairedDifference, mean_std, paired_difference

# The columns that tell variants of one arm apart, and those that tell tables apart.
VARIANT = (
    "arm", "copies", "vq_weight", "iterations", "prompt_kind", "select", "variance", "detail", "post_augment",
    "augmentation",
)  # fmt: skip
TABLE = ("dataset", "category", "shots", "detector", "image_size", "dev", "oracle")
BASELINES = ("original", "augmented")
METRICS = ("image_auroc", "pixel_auroc", "aupro")
USUAL = {
    "prompt_kind": "best",
    "select": "text",
    "variance": "estimated",
    "detail": "none",
    "post_augment": "none",
}


@dataclass(frozen=True)
class Comparison:
    """One variant of one category and detector over its supports.

    ``table`` holds the category's tags too: ``dev`` (a development category), ``oracle`` (test labels took part in a
    choice). ``against`` holds, per baseline arm (``original``, ``augmented``), the paired difference of image AUROC.
    """

    table: Mapping[str, Any]
    variant: Mapping[str, Any]
    seeds: tuple[Any, ...]
    metrics: Mapping[str, MeanStd]
    similarity: MeanStd
    planted: MeanStd
    against: Mapping[str, PairedDifference]

    @property
    def category(self) -> str:
        """The category with its tags: ``pill (dev)``."""
        tags = [tag for tag in ("dev", "oracle") if self.table[tag]]
        return f"{self.table['category']} ({', '.join(tags)})" if tags else str(self.table["category"])

    @property
    def label(self) -> str:
        """The arm, how many images it adds, and what is varied within it away from the default."""
        copies = self.variant["copies"]
        added = [f"+{copies}"] if copies else []
        values = {c: self.variant[c] for c in USUAL}
        varied = [f"{c}={value}" for c, value in values.items() if value not in (None, USUAL[c])]
        return " ".join([str(self.variant["arm"]), *added, *varied])


def compare(rows: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Group rows by table and variant, in order of appearance, and compare each variant with its baselines.

    The ``augmented`` baseline of a variant is the one with the same number of added images.
    """
    groups: dict[tuple[Any, ...], dict[Any, Mapping[str, Any]]] = {}
    for row in rows:
        key = (tuple(row[c] for c in TABLE), tuple(row[c] for c in VARIANT))
        groups.setdefault(key, {})[_seed(row)] = row
    baselines = _Baselines(groups)
    found = []
    for (table, variant), by_seed in groups.items():
        auroc = {seed: row["image_auroc"] for seed, row in by_seed.items()}
        found.append(
            Comparison(
                table=dict(zip(TABLE, table, strict=True)),
                variant=dict(zip(VARIANT, variant, strict=True)),
                seeds=tuple(by_seed),
                metrics={m: mean_std(row[m] for row in by_seed.values()) for m in METRICS},
                similarity=_mean_of(by_seed.values(), "similarity"),
                planted=_mean_of(by_seed.values(), "planted"),
                against={arm: paired_difference(auroc, base) for arm, base in baselines.of(table, variant).items()},
            )
        )
    return found


def _mean_of(rows: Iterable[Mapping[str, Any]], column: str) -> MeanStd:
    """Over the rows that have a value."""
    return mean_std(value for row in rows if (value := row.get(column)) is not None)


def _seed(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row["support_seed"], row["seed"]


class _Baselines:
    """Image AUROC by seed of what variants are compared to."""

    def __init__(self, groups: Mapping[tuple[Any, ...], Mapping[Any, Mapping[str, Any]]]) -> None:
        self._original: dict[Any, dict[Any, float]] = {}
        self._augmented: dict[Any, dict[Any, float]] = {}
        for (table, variant), by_seed in groups.items():
            values = dict(zip(VARIANT, variant, strict=True))
            auroc = {seed: row["image_auroc"] for seed, row in by_seed.items()}
            if values["arm"] == "original":
                self._original[table] = auroc
            elif values["arm"] == "augmented":
                self._augmented[table, values["copies"]] = auroc

    def of(self, table: tuple[Any, ...], variant: tuple[Any, ...]) -> dict[str, dict[Any, float]]:
        """Those of a variant, by arm: never itself."""
        values = dict(zip(VARIANT, variant, strict=True))
        found = {"original": self._original.get(table), "augmented": self._augmented.get((table, values["copies"]))}
        if values["arm"] in BASELINES:
            found.pop("augmented")
        return {arm: auroc for arm, auroc in found.items() if auroc is not None and arm != values["arm"]}
