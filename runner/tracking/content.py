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
"""The quantities that trainings record besides their losses."""
MOST_UPDATES = 250
"""The approximate maximum number of points of a curve, which are evenly spaced."""
SIDE = 512
"""The longer side of a support's images, in pixels, if it shows at most five rows."""
IMAGES, LARGEST_IMAGE, SMALLEST_IMAGE = 4, 120, 64
"""The maximum number of images in a row, and the largest and smallest side of an image in pixels."""
FEW = 8
"""The maximum number of rows that are read one by one and not from the whole table."""
LEFT_OUT = ("fingerprint", "commit", "versions")
"""Columns of rows that are left out of W&B's table; the versions are in the run's configuration."""


def code() -> dict[str, Any]:
    """Return the commit and the versions of the installed packages, including goodshot."""
    return {"commit": software()["commit"], "versions": json.loads(software()["versions"])}


def configuration(study: StudyBegun, values: Mapping[str, Any], report: str) -> dict[str, Any]:
    """Return the swept fields by name, and under ``study`` every field of the study at this point."""
    declared = copy.deepcopy(dict(study.declared))
    for path, value in values.items():
        assign(declared, path, value)
    return {"point": point_label(values), "study": declared, "report": report, "code": code(), **values}


def summarise(rows: Iterable[Row], columns: Sequence[str] | None = None) -> dict[str, float]:
    """Return the means of all float columns, or of ``columns``, over finite values, by ``category/arm/column``."""
    groups: dict[str, list[float]] = {}
    numbers = float if columns is None else (float, int)
    for row in rows:
        for name in row if columns is None else columns:
            value = row.get(name)
            if isinstance(value, numbers) and math.isfinite(value):
                groups.setdefault(f"{row['category']}/{row['arm']}/{name}", []).append(value)
    return {name: sum(values) / len(values) for name, values in groups.items()}


def table(rows: Sequence[Row], order: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """Return the columns that have a value in any row, and the values of the rows in these columns."""
    names = [name for name in order if name not in LEFT_OUT and any(row.get(name) is not None for row in rows)]
    return names, [[_plain(row.get(name)) for name in names] for row in rows]


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def curve_prefix(point: PointBegun, cell: TrackedCell) -> str:
    """Return the prefix of the names of a cell's curves, which distinguishes the curves of one point."""
    traced = {c.variant for cells in point.cells.values() for c in cells if c.prompt_kind is not None}
    prefix = f"{cell.record.category}/{cell.support}"
    return prefix if len(traced) == 1 else f"{prefix}/{cell.variant}"


def read_cell_curve(store: Store, cell: TrackedCell) -> TrainingCurve | None:
    """Return the trace of the training that made a cell's images; None if there is no trace."""
    image_set, prompt = cell.record.image_set, cell.record.key_of(PromptStage)
    if cell.prompt_kind is None or not image_set or not prompt:
        return None
    return read_curve(store, image_set, prompt, cell.prompt_kind)


def curve_points(curve: TrainingCurve, prefix: str) -> Iterator[tuple[str, int, float]]:
    """Yield (name, iteration, value) for the similarity, and for each loss and statistic that is not always zero."""
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
    """Return the values by name for each iteration, in ascending order of iterations."""
    lines: dict[int, dict[str, float]] = {}
    for name, iteration, value in points:
        lines.setdefault(int(iteration), {})[name] = value
    return dict(sorted(lines.items()))


def support_image(cells: Sequence[TrackedCell], store: Store) -> bytes | None:
    """Return a PNG with the photographs of one support, and below them the images that each variant adds.

    Returns None if no images are added. A cell keeps augmented images for the report only, so they are shown only for
    the first support seed.
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
    """Read the rows of finished cells: a few rows one by one, many rows from the whole table."""
    if len(fingerprints) <= FEW:
        return {f: results.row(f) for f in fingerprints}
    wanted = {*fingerprints}
    return {f: row for f, row in results.rows().items() if f in wanted}
