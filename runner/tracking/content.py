"""The content of a W&B run: configuration, means, curves over iterations, tables, and images of each support."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from goodshot.components.contact_sheet import GAP, LABEL_HEIGHT, contact_sheet
from goodshot.runner.declaration.fields import assign
from goodshot.runner.plan.plan import point_label
from goodshot.runner.results.pictures import added_images, original_images
from goodshot.runner.results.results import Results, software
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.traces import TrainingCurve, read_curve
from goodshot.runner.store.artifacts import Store
from goodshot.runner.tracking.messages import PointBegun, StudyBegun, TrackedCell

Row = Mapping[str, Any]
STATISTICS = ("codes_used", "adaptive_weight", "rollbacks")
"""What trainings record beside their losses."""
MOST_UPDATES = 250
"""A curve has at most about so many points, evenly spaced."""
SIDE = 512
"""The longer side of a support's images, in pixels, if it shows at most five rows."""
IMAGES, LARGEST_IMAGE, SMALLEST_IMAGE = 4, 120, 64
"""The most images of a row, and the side of each in pixels."""
FEW = 8
"""So many rows are read one by one."""
LEFT_OUT = ("fingerprint", "commit", "versions")
"""Columns of rows that a table of a few rows need not repeat; the configuration has the versions."""


def code() -> dict[str, Any]:
    """The commit and the versions of the packages that run, goodshot's own among them."""
    return {"commit": software()["commit"], "versions": json.loads(software()["versions"])}


def configuration(study: StudyBegun, values: Mapping[str, Any], report: str) -> dict[str, Any]:
    """The swept fields by their names, and under ``study`` every field of the study at this point."""
    declared = copy.deepcopy(dict(study.declared))
    for path, value in values.items():
        assign(declared, path, value)
    return {"point": point_label(values), "study": declared, "report": report, "code": code(), **values}


def summarise(rows: Iterable[Row], columns: Sequence[str] | None = None) -> dict[str, float]:
    """The means of all finite float columns, or of some columns, by ``category/arm/column``."""
    groups: dict[str, list[float]] = {}
    numbers = float if columns is None else (float, int)
    for row in rows:
        for name in row if columns is None else columns:
            value = row.get(name)
            if isinstance(value, numbers) and math.isfinite(value):
                groups.setdefault(f"{row['category']}/{row['arm']}/{name}", []).append(value)
    return {name: sum(values) / len(values) for name, values in groups.items()}


def table(rows: Sequence[Row], order: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """The columns that any row fills, and the rows' values in them."""
    names = [name for name in order if name not in LEFT_OUT and any(row.get(name) is not None for row in rows)]
    return names, [[_plain(row.get(name)) for name in names] for row in rows]


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def curve_prefix(point: PointBegun, cell: TrackedCell) -> str:
    """The beginning of the names of a cell's curves, which tells apart what a point has of one support."""
    traced = {c.variant for cells in point.cells.values() for c in cells if c.prompt_kind is not None}
    prefix = f"{cell.record.category}/{cell.support}"
    return prefix if len(traced) == 1 else f"{prefix}/{cell.variant}"


def read_cell_curve(store: Store, cell: TrackedCell) -> TrainingCurve | None:
    """The trace of the training whose images a cell measured; None if it has none."""
    image_set, prompt = cell.record.image_set, cell.record.key_of(PromptStage)
    if cell.prompt_kind is None or not image_set or not prompt:
        return None
    return read_curve(store, image_set, prompt, cell.prompt_kind)


def curve_points(curve: TrainingCurve, prefix: str) -> Iterator[tuple[str, int, float]]:
    """(name, iteration, value) of the similarity, of each loss that is not always zero, and of the codes used."""
    scored = zip(curve.iterations.tolist(), curve.similarity.tolist(), strict=True)
    yield from ((f"{prefix}/similarity", iteration, value) for iteration, value in _thinned([*scored]))
    updates = curve.losses["iteration"].tolist() if "iteration" in curve.losses else []
    for name, values in curve.losses.items():
        if name == "iteration" or not values.any():
            continue
        full_name = f"{prefix}/{name}" if name in STATISTICS else f"{prefix}/loss/{name}"
        points = _thinned([*zip(updates, values.tolist(), strict=True)])
        yield from ((full_name, at, value) for at, value in points if math.isfinite(value))


def _thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    return points[:: -(-len(points) // MOST_UPDATES) or 1]


def by_iteration(points: Iterable[tuple[str, int, float]]) -> dict[int, dict[str, float]]:
    """The values of each iteration by name, in ascending order of the iterations."""
    lines: dict[int, dict[str, float]] = {}
    for name, iteration, value in points:
        lines.setdefault(int(iteration), {})[name] = value
    return dict(sorted(lines.items()))


def support_image(cells: Sequence[TrackedCell], store: Store) -> bytes | None:
    """The photographs of one support, and below them what each variant adds, as PNG; None if nothing is added.

    Augmented images are those that a cell keeps for the report, so that they are there for the first support seed.
    """
    added = {}
    for cell in cells:
        images = added_images(store, cell.record) if cell.copies else None
        if images is not None and cell.variant not in added:
            added[cell.variant] = images[:IMAGES]
    if not added:
        return None
    originals = original_images(store, cells[0].record, IMAGES)
    rows = [("original", originals), *((name, [*images]) for name, images in added.items())]
    fitting = (SIDE - GAP) // len(rows) - GAP - LABEL_HEIGHT
    return contact_sheet(rows, min(LARGEST_IMAGE, max(SMALLEST_IMAGE, fitting)))


def read_rows(results: Results, fingerprints: Sequence[str]) -> dict[str, Row]:
    """The rows of finished cells; of a few each by itself, of many out of the whole table."""
    if len(fingerprints) <= FEW:
        return {f: results.row(f) for f in fingerprints}
    wanted = {*fingerprints}
    return {f: row for f, row in results.rows().items() if f in wanted}
