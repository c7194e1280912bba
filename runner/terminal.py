"""What a run prints at its end: the table and the account of shared work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from components.metrics.summary import MeanStd, PairedDifference
from runner.comparison import CLAIM_SEEDS, Comparison, compare
from runner.execute import Sharing


def print_study(console: Console, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The study's table: a line per category, detector and variant."""
    comparisons = compare(rows)
    if not comparisons:
        return
    several_points = len({(c.variant["vq_weight"], c.variant["iterations"]) for c in comparisons}) > 2
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("category")
    table.add_column("arm")
    if several_points:
        table.add_column("λ", justify="right")
        table.add_column("L", justify="right")
    table.add_column("image AUROC", justify="right")
    table.add_column("pixel AUROC", justify="right")
    table.add_column("AUPRO", justify="right")
    table.add_column("− original", justify="right")
    if any("augmented" in c.against for c in comparisons):
        table.add_column("− augmented", justify="right")
    last = None
    for c in comparisons:
        category = c.table["category"]
        if last not in (None, category):
            table.add_section()
        point = [_or_dash(c.variant["vq_weight"]), _or_dash(c.variant["iterations"])] if several_points else []
        differences = [difference(c.against.get("original"))]
        if len(table.columns) > 6 + len(point):
            differences.append(difference(c.against.get("augmented")))
        table.add_row(
            category if category != last else "", c.label, *point,
            *(mean_std_text(c.metrics[m]) for m in ("image_auroc", "pixel_auroc", "aupro")), *differences,
        )  # fmt: skip
        last = category
    console.print(table)
    console.print(seeds_note(comparisons), style="dim", highlight=False)


def print_sharing(console: Console, counted: Sharing) -> None:
    """How many generator steps the sweep took, against one training per point."""
    ratio = f" ({counted.unshared / counted.all_runs:.1f} times as many)" if counted.all_runs else ""
    console.print(
        f"generator steps: {counted.this_run} in this run, {counted.all_runs} in all; "
        f"a sweep that trains every point on its own takes {counted.unshared}{ratio}",
        highlight=False,
    )


def mean_std_text(value: MeanStd) -> str:
    """``0.737 ± 0.005``; a dash where undefined."""
    if math.isnan(value.mean):
        return "–"
    return f"{value.mean:.3f}" if math.isnan(value.std) else f"{value.mean:.3f} ± {value.std:.3f}"


def difference(value: PairedDifference | None) -> str:
    """``+0.012 [−0.030, +0.054]``: the mean paired difference and its 95 % interval."""
    if value is None or math.isnan(value.mean):
        return ""
    if math.isnan(value.low):
        return f"{value.mean:+.3f}"
    return f"{value.mean:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"


def seeds_note(comparisons: Sequence[Comparison]) -> str:
    """What the number of supports allows one to say."""
    seeds = max(len(c.seeds) for c in comparisons)
    note = f"mean ± std over {seeds} support{'s' * (seeds != 1)}"
    if seeds > 1:
        note += "; − : paired difference of image AUROC with its 95 % interval"
    return note if seeds >= CLAIM_SEEDS else f"{note}; fewer than {CLAIM_SEEDS} supports: a report, not a claim"


def _or_dash(value: Any) -> str:
    return "–" if value is None else f"{value:g}"
