"""The W&B run of one point: which of the point's cells have finished, and which of these are logged already."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from goodshot.components.errors import GoodshotError
from goodshot.runner.store.artifacts import Store
from goodshot.runner.store.fingerprint import fingerprint
from goodshot.runner.tracking.content import (
    Row,
    by_iteration,
    curve_points,
    curve_prefix,
    read_cell_curve,
    summarise,
    support_image,
    table,
)
from goodshot.runner.tracking.messages import PointBegun, StudyBegun, TrackedCell
from goodshot.runner.tracking.record import RunRecord

WITHOUT_IMAGES = "GOODSHOT_WANDB_IMAGES"
"""The environment variable that keeps images out of W&B: with the value 0, no photograph or generated image is sent."""


@dataclass
class PointRun:
    """A point whose cells are logged to one W&B run.

    study, point: the study, and its point with the point's cells.
    kept: the record of the run as it was when the run was closed last.
    rows: the rows of the finished cells by fingerprint.
    run: W&B's run; None until it is opened.
    mode: the mode in which ``run`` was opened, ``online`` or ``offline``.
    record: the record of the run as it is now.
    logged: the fingerprints of the cells that the open run has logged.
    """

    study: StudyBegun
    point: PointBegun
    kept: RunRecord
    rows: dict[str, Row] = field(default_factory=dict)
    run: Any = None
    mode: str = ""
    record: RunRecord = field(init=False)
    logged: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.record = self.kept

    @property
    def cells(self) -> dict[str, TrackedCell]:
        """The cells of the point at all L, by fingerprint."""
        return {cell.record.fingerprint: cell for cells in self.point.cells.values() for cell in cells}

    @property
    def is_complete(self) -> bool:
        """Whether every cell of the point has finished."""
        return len(self.rows) == len(self.cells)

    @property
    def content(self) -> str:
        """A hash of the fingerprints of all cells of the point, which identifies the content of a complete run."""
        return fingerprint("wandb_content", 1, {"cells": sorted(self.cells)}, {})[:16]

    @property
    def is_known(self) -> bool:
        """Whether the record says that a complete run of this point was logged before."""
        return bool(self.cells) and self.kept.content == self.content

    def begin(self, run: Any, mode: str) -> None:
        """Use a W&B run that was just opened. All values that the run's record does not name will be logged to it."""
        self.run, self.mode, self.logged = run, mode, set()
        # A continued run starts at the next step. W&B knows the number of steps only of an online run, so the record
        # counts the lines as well.
        self.record = replace(self.kept.at(run), content="", lines=max(self.kept.lines, run.step))

    def log_new(self, store: Store) -> None:
        """Log curves, means and images of the cells that have finished since the last call."""
        new = [self.cells[f] for f in self.rows if f not in self.logged]
        if not new:
            return
        for iteration, values in self._new_curves(new, store).items():
            self._log({"iteration": iteration, **values})
        self._log_means(new)
        self._log_images(new, store)
        self.logged.update(cell.record.fingerprint for cell in new)
        self._sum_up(max(self.point.cells))

    def end(self, order: Sequence[str], iterations: int | None = None) -> None:
        """Log the table of all rows, and write the means at one L to the run's summary.

        Args:
            order: the columns of the table in their order; columns that no row fills are left out.
            iterations: the L at which the point is judged; None, or an L without cells, for the point's largest L.
        """
        import wandb

        last = iterations if iterations is not None and iterations in self.point.cells else max(self.point.cells)
        names, values = table([self.rows[f] for f in self.cells if f in self.rows], order)
        if values:
            results = wandb.Table(columns=names, data=values, allow_mixed_types=True)
            self._log({"iteration": last, "results": results})
        self._sum_up(last)
        if self.is_complete:
            self.record = replace(self.record, content=self.content)

    def _log(self, values: Mapping[str, Any]) -> None:
        self.run.log(values, step=self.record.lines)
        self.record = replace(self.record, lines=self.record.lines + 1)

    def _new_curves(self, new: Sequence[TrackedCell], store: Store) -> Mapping[int, Mapping[str, float]]:
        points, last = [], dict(self.record.curves)
        for cell in new:
            # The artifacts behind a row may have been deleted; then the row is logged without a curve.
            with suppress(GoodshotError, OSError, KeyError):
                curve = read_cell_curve(store, cell)
                own = [] if curve is None else [*curve_points(curve, curve_prefix(self.point, cell))]
                points += [each for each in own if each[1] > last.get(each[0], -1)]
                for name, iteration, _ in own:
                    last[name] = max(iteration, last.get(name, -1))
        self.record = replace(self.record, curves=last)
        return by_iteration(points)

    def _log_means(self, new: Sequence[TrackedCell]) -> None:
        """Log the means at each L whose last missing cell is among ``new``; they are one point of a curve over L."""
        finished = {cell.record.fingerprint for cell in new}
        for iterations, cells in self.point.cells.items():
            own = [cell.record.fingerprint for cell in cells]
            if (
                finished.isdisjoint(own)
                or not all(f in self.rows for f in own)
                or f"L={iterations}" in self.record.curves
            ):
                continue
            self._log({"iteration": iterations, **summarise((self.rows[f] for f in own), self.study.metrics)})
            self.record = replace(self.record, curves={**self.record.curves, f"L={iterations}": iterations})

    def _log_images(self, new: Sequence[TrackedCell], store: Store) -> None:
        """Log the images of each support whose cells at the point's largest L have all finished."""
        if os.environ.get(WITHOUT_IMAGES) == "0":
            return
        last = max(self.point.cells)
        for name in dict.fromkeys(f"{cell.record.category}/{cell.support}" for cell in new):
            cells = [c for c in self.point.cells[last] if f"{c.record.category}/{c.support}" == name]
            if name in self.record.pictured or not all(c.record.fingerprint in self.rows for c in cells):
                continue
            with suppress(GoodshotError, OSError, KeyError):
                if image := support_image(cells, store):
                    self._log({"iteration": last, f"{name}/images": _picture(image, self._caption(cells))})
            self.record = replace(self.record, pictured=(*self.record.pictured, name))

    def _caption(self, cells: Sequence[TrackedCell]) -> str:
        """Return the caption of a support's images: the chosen iteration of each variant that has one."""
        rows = ((cell.variant, self.rows[cell.record.fingerprint].get("chosen_iteration")) for cell in cells)
        chosen = dict.fromkeys(f"{variant}: iteration {value}" for variant, value in rows if value is not None)
        return ", ".join(chosen)

    def _sum_up(self, iterations: int) -> None:
        cells = [cell.record.fingerprint for cell in self.point.cells[iterations]]
        means = summarise((self.rows[f] for f in cells if f in self.rows), self.study.metrics)
        counts = {"cells": len(self.cells), "cells_finished": len(self.rows), "iterations": iterations}
        self.run.summary.update({**means, **counts})


def _picture(png: bytes, caption: str) -> Any:
    import wandb
    from PIL import Image

    return wandb.Image(Image.open(io.BytesIO(png)), caption=caption)


def artifact_name(study: str) -> str:
    """Return the name of the artifact with the best configuration of a study, in the letters that W&B allows."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"{study}-chosen")[:128]
