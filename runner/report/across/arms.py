"""The effect of each arm's images over all categories, by dataset, shots and detector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from goodshot.components.metrics.summary import CLAIM_SEEDS, PairedDifference
from goodshot.runner.console.terminal import difference, mean_std_text, record, verdict
from goodshot.runner.report.across.base import AcrossSection
from goodshot.runner.report.across.pooled import Pooled, Setting, pooled
from goodshot.runner.report.blocks import Block, Column, Table, TableCell, Text, Value
from goodshot.runner.report.experiment import ExperimentContext
from goodshot.runner.report.summary import counted
from goodshot.runner.study.experiment import Reference


class Arms(AcrossSection):
    """A line for each setting and variant, with the published values of the field below those of the same setting."""

    name = "arms"
    title = "Over all categories"

    def blocks(self, experiment: ExperimentContext) -> Iterator[Block]:
        """Return a sentence for each setting, and the table; nothing if there is one category only."""
        found = pooled(experiment)
        if not any(line.categories > 1 for line in found):
            return
        for sentence in _sentences(found):
            yield Text(sentence, "answer")
        yield _table(found, experiment.record.references)


def _sentences(found: Sequence[Pooled]) -> Iterator[str]:
    for line in found:
        for base, value in line.against.items():
            if not line.comparisons[0].arm.is_baseline and not math.isnan(value.mean):
                dataset, shots, subject = line.setting
                over = counted(line.categories, "category", "categories")
                yield (
                    f"{dataset}, {_shots(shots)}, {subject}: {line.label} − {base} is {difference(value)} "
                    f"in {line.metric.title} over {over} ({counted(value.n, 'pair')}; "
                    f"{value.wins} better, {value.losses} worse)."
                )


def _shots(shots: str) -> str:
    return {"1": "1 shot", "full": "all images"}.get(shots, f"{shots} shots")


def _table(found: Sequence[Pooled], references: Sequence[Reference]) -> Table:
    bases = list(dict.fromkeys(base for line in found for base in line.against))
    columns = [
        Column("dataset", "dataset"),
        Column("shots", "shots"),
        Column("detector", "detector"),
        Column("arm", "arm"),
        Column("categories", "categories", "categories that have a value"),
        Column("mean", "mean over categories", "± is the deviation between categories"),
    ]
    for base in bases:
        columns += [
            Column(f"minus_{base}", f"− {base}", "mean paired difference over categories and supports"),
            Column(f"verdict_{base}", "verdict"),
        ]
    lines = []
    settings = list(dict.fromkeys(line.setting for line in found))
    for setting in settings:
        lines += [_line(line, bases) for line in found if line.setting == setting]
        if setting == next(s for s in settings if s[:2] == setting[:2]):
            shown = {line.metric.name for line in found if line.setting[:2] == setting[:2]}
            cited = [each for each in references if _is_of(each, setting) and each.metric in shown]
            lines += [_published_line(reference, len(bases)) for reference in cited]
    notes = ["Pairs of one category share its test images, so the interval may be too narrow."]
    if any(line.supports < CLAIM_SEEDS for line in found):
        notes.append(f"Fewer than {CLAIM_SEEDS} supports per category: a report, not a claim.")
    return Table("over_categories", "Means over categories, by dataset, shots and detector", columns, lines, notes)


def _line(line: Pooled, bases: Sequence[str]) -> list[TableCell]:
    mean = line.mean
    cells: list[TableCell] = [*line.setting, line.label, Value(line.categories, str(line.categories))]
    cells.append(Value(mean.mean, mean_std_text(mean), line.rows, line.metric.name))
    for base in bases:
        cells += _difference_cells(line.against.get(base), line.metric.objective is not None)
    return cells


def _difference_cells(value: PairedDifference | None, is_judged: bool) -> list[TableCell]:
    if value is None:
        return [None, None]
    won = record(value)
    text = f"{difference(value)}, {won}" if won else difference(value)
    return [Value(None if math.isnan(value.mean) else value.mean, text), verdict(value) if is_judged else None]


def _is_of(reference: Reference, setting: Setting) -> bool:
    return reference.kind == "field" and (reference.where.get("dataset"), reference.where.get("shots")) == setting[:2]


def _published_line(reference: Reference, bases: int) -> list[TableCell]:
    return [
        str(reference.where["dataset"]),
        str(reference.where["shots"]),
        reference.source,
        "published",
        None,
        Value(reference.value, f"{reference.value:.3f}"),
        *[None] * (2 * bases),
    ]
