"""The categories that gain most over the original alone, detector by detector (the paper's Fig. 5, second row)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from goodshot.runner.arms import originals_alone
from goodshot.runner.console.terminal import difference
from goodshot.runner.report.across.base import AcrossSection
from goodshot.runner.report.blocks import Block, Column, Table, TableCell, Value
from goodshot.runner.report.experiment import ExperimentContext
from goodshot.runner.results.comparison import Comparison

SHOWN = 5


class MostImproved(AcrossSection):
    """The five categories with the largest gain, for each setting with more categories than that."""

    name = "most_improved"
    title = "The most improved categories"

    def blocks(self, experiment: ExperimentContext) -> Iterator[Block]:
        """Return the table; nothing if no setting has more than five categories."""
        base = originals_alone().label
        groups: dict[tuple[str, ...], list[Comparison]] = {}
        for c in experiment.comparisons:
            if base in c.against and not c.arm.is_baseline:
                key = (str(c.table["dataset"]), str(c.table["shots"]), c.subject, c.label)
                groups.setdefault(key, []).append(c)
        lines = [line for key, own in groups.items() if len(own) > SHOWN for line in _lines(key, own, base)]
        if lines:
            columns = [
                *(Column(name, name) for name in ("dataset", "shots", "detector", "arm", "category")),
                Column("points", f"− {base}, points", "percentage points, with the interval over supports"),
                Column("relative", "relative", f"as a fraction of the value of {base}"),
            ]
            note = (
                "Chosen by the gain itself, so the gains of these five are biased upwards; the mean over all is above."
            )
            yield Table("most_improved", "The five most improved categories", columns, lines, [note])


def _lines(key: Sequence[str], comparisons: Sequence[Comparison], base: str) -> Iterator[list[TableCell]]:
    defined = [c for c in comparisons if c.against[base].mean == c.against[base].mean]
    for c in sorted(defined, key=lambda c: -c.against[base].mean)[:SHOWN]:
        value, metric = c.against[base], c.compared
        mean = c.mean(metric) if metric else None
        before = mean.mean - value.mean if mean else 0.0
        rows = tuple(str(row["fingerprint"]) for row in c.rows.values())
        relative = Value(value.mean / before, f"{100 * value.mean / before:+.1f} %") if before else None
        yield [
            *key,
            c.category,
            Value(100 * value.mean, difference(value), rows, metric.name if metric else ""),
            relative,
        ]
