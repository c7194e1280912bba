"""Reads ``--out`` and the store into a page of plain values: no dataset, no Ray, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TypeVar

import numpy as np

from components.data.shards import SUFFIX, decode_originals, read_split
from components.errors import BadInput, GoodshotError
from components.prompts import Ranking
from runner.report.page import (
    Curve,
    Gallery,
    MapPanel,
    Page,
    PromptView,
    Row,
    Steps,
    StudyView,
    compares_points,
    support_label,
    variant_label,
)
from runner.report.search import read_search, read_trials
from runner.results.comparison import compare
from runner.results.record import CellRecord, StudyRecord, read_records
from runner.results.results import Results
from runner.results.trials import TrialRecord, chosen
from runner.stages.traces import read_curve
from runner.store.artifacts import Store
from runner.store.files import public
from runner.study.search import is_search

SHOWN_ORIGINALS = 4
SHOWN_IMAGES = 8
T = TypeVar("T")


def gather(out: str, store_uri: str) -> Page:
    """Read a finished or half-finished ``--out``.

    Raises:
        BadInput: no study was ever run into it.
    """
    results, store = Results(out), Store(store_uri)
    records = read_records(results)
    if not records:
        raise BadInput(
            f"{public(out)}: holds no study; give the folder that 'goodshot sweep' or 'demo' was told with --out"
        )
    rows = results.rows()
    runs = tuple(json.loads(results.files.read(name)) for name in results.files.names("runs", ".json"))
    metrics: dict[str, dict[tuple[str, str], float]] = {}
    for value in results.read("metrics").to_pylist():
        metrics.setdefault(value["fingerprint"], {})[value["subset"], value["metric"]] = value["value"]
    seen: set[str] = set()
    views = tuple(
        _Gatherer(record, rows, store, seen, read_trials(results, record.study)).view(runs, metrics, results)
        for record in records
    )
    return Page(views, tuple(results.read("failures").to_pylist()), runs)


class _Gatherer:
    """Reads one study's artifacts, noting the missing ones instead of failing.

    Args:
        seen: store keys whose pictures an earlier study shows; extended.
        trials: the points that were tried; none of a study with one point, or of an old ``--out``.
    """

    def __init__(
        self,
        record: StudyRecord,
        rows: Mapping[str, Row],
        store: Store,
        seen: set[str],
        trials: Sequence[TrialRecord],
    ) -> None:
        self.record, self.store, self.rows, self.seen, self.trials = record, store, rows, seen, trials
        self.cells = [cell for cell in record.cells if cell.fingerprint in rows]
        best = chosen(trials)
        self.chosen = best.best.fingerprints if best and best.best else ()
        self._last = record.study.points[-1]
        self.point = best.point if best and best.best else asdict(self._last)
        self._is_search, self._is_sweep = is_search(record.study), compares_points(record.study)
        self.missing: list[str] = []
        self.repeated = False

    def view(
        self, runs: Sequence[Row], metrics: Mapping[str, Mapping[tuple[str, str], float]], results: Results
    ) -> StudyView:
        """The whole view; pictures are of one point and of the supports that kept their maps."""
        asked = self._asked()
        own = tuple(self.rows[f] for f in asked if f in self.rows)
        shown = tuple(self.rows[f] for f in self.chosen if f in self.rows) if self._is_search else own
        last = [cell for cell in self.cells if self._is_pictured(cell)]
        kept = [cell for cell in last if cell.has_maps]
        pictured = [cell for cell in kept if cell.image_set]
        prompted = [cell for cell in kept if cell.prompt]
        return StudyView(
            record=self.record,
            asked=len(asked),
            rows=own,
            shown=shown,
            search=read_search(results, self.record, self.rows, self.trials, runs),
            comparisons=tuple(compare(shown)),
            steps=self._steps(runs),
            galleries=self._each("gallery", self._new(pictured, lambda c: c.image_set), self._gallery),
            panels=self._panels(kept),
            curves=self._each("similarity", self._trainings(last), self._curve),
            prompts=self._each("prompts", self._new(prompted, lambda c: c.prompt), self._prompts),
            missing=tuple(self.missing),
            repeated=self.repeated,
            metrics={c.fingerprint: metrics[c.fingerprint] for c in last if c.fingerprint in metrics},
        )

    def _asked(self) -> list[str]:
        """Every cell's fingerprint: a search that was killed may have reported some that it has not recorded."""
        reported = (f for trial in self.trials for report in trial.reports for f in report.fingerprints)
        return list(dict.fromkeys([*(cell.fingerprint for cell in self.record.cells), *reported]))

    def _steps(self, runs: Sequence[Row]) -> Steps:
        """Counted as :func:`runner.run.execute.sharing` does, from what the runs wrote down."""
        keys = {cell.generator for cell in self.cells if cell.generator}
        counts = (item for run in runs for item in run["generator_steps"].items())
        generated = [cell for cell in self.cells if cell.arm == "generated"]
        trained = {cell.image_set: int(self._row(cell)["iterations"]) for cell in generated}
        return Steps(
            executed=sum(steps for flight, steps in counts if flight.partition("?")[0] in keys),
            unshared=sum(iterations - 1 for iterations in trained.values()),
        )

    def _new(self, cells: Iterable[CellRecord], key: Callable[[CellRecord], str | None]) -> list[CellRecord]:
        """The first cell of each key that no earlier study shows."""
        firsts = {str(key(cell)): cell for cell in reversed(list(cells))}
        fresh = [cell for name, cell in reversed(firsts.items()) if name not in self.seen]
        self.repeated = self.repeated or len(fresh) < len(firsts)
        self.seen.update(firsts)
        return fresh

    def _trainings(self, pictured: Sequence[CellRecord]) -> list[CellRecord]:
        """A cell of every training to draw: of a sweep, the first support's; otherwise every support's."""
        own = [cell for cell in self.cells if self._is_drawn(cell)] if self._is_sweep else pictured
        generated = [cell for cell in own if cell.arm == "generated"]
        return list({cell.generator: cell for cell in reversed(generated)}.values())[::-1]

    def _is_drawn(self, cell: CellRecord) -> bool:
        """Whether a sweep's cell tells of its training to the end, for the support that all of them have."""
        last, row = self._last, self._row(cell)
        return (row["copies"], row["iterations"], row["support_seed"], cell.seed) == (
            last.copies,
            last.iterations,
            *self.record.study.seeds(cell.category)[0],
        )

    def _panels(self, shown: Sequence[CellRecord]) -> tuple[MapPanel, ...]:
        groups: dict[tuple[str, str], list[CellRecord]] = {}
        for cell in shown:
            groups.setdefault((cell.category, str(self._row(cell)["detector"])), []).append(cell)
        new = [g for g in groups.values() if self._new(g, lambda c: f"maps/{c.fingerprint}")]
        return tuple(panel for panel in map(self._panel, new) if panel is not None)

    def _panel(self, cells: Sequence[CellRecord]) -> MapPanel | None:
        """One category's and detector's maps; a variant whose maps are gone is left out."""
        kept: dict[str, tuple[tuple[str, ...], dict[str, np.ndarray]]] = {}
        for cell in cells:
            label = variant_label(self._row(cell))
            read = self._try(f"anomaly maps of {cell.category}, {label}", partial(self._maps, cell))
            if read is not None:
                kept.setdefault(label, read)
        if not kept:
            return None
        ids, arrays = next(iter(kept.values()))
        maps = {label: own["maps"].astype(np.float32) for label, (_, own) in kept.items()}
        detector = str(self._row(cells[0])["detector"])
        return MapPanel(cells[0].category, detector, ids, arrays["images"], arrays["masks"], maps)

    def _maps(self, cell: CellRecord) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
        artifact = self.store.get(f"maps/{cell.fingerprint}")
        return tuple(artifact.info["image_ids"]), artifact.arrays("maps.safetensors")

    def _each(self, what: str, cells: Sequence[CellRecord], read: Callable[[CellRecord], T]) -> tuple[T, ...]:
        names = [f"{what} of {cell.category}, {support_label(self._row(cell))}" for cell in cells]
        found = [self._try(name, partial(read, cell)) for name, cell in zip(names, cells, strict=True)]
        return tuple(item for item in found if item is not None)

    def _try(self, name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (GoodshotError, FileNotFoundError) as error:
            reason = str(error).splitlines()[0].removeprefix(f"{public(self.store.uri)}: ")
            self.missing.append(f"{name}: {reason}")
            return None

    def _row(self, cell: CellRecord) -> Row:
        return self.rows[cell.fingerprint]

    def _is_pictured(self, cell: CellRecord) -> bool:
        """Whether it belongs to the chosen point; where nothing was chosen, to a sweep's last declared one."""
        if self._is_search:
            return cell.fingerprint in self.chosen
        row, weight, copies = self._row(cell), self.point["vq_weight"], self.point["copies"]
        if cell.arm == "original":
            return True
        if cell.arm != "generated":
            return bool(row["copies"] == copies and row["vq_weight"] in (None, weight))
        return all(row[name] == value for name, value in self.point.items())

    def _gallery(self, cell: CellRecord) -> Gallery:
        images = self.store.get(str(cell.image_set)).arrays("images.safetensors")["images"]
        shard, ids = self.store.get(cell.shard), cell.support_ids[:SHOWN_ORIGINALS]
        path = shard.path(f"train{SUFFIX}")
        table = read_split(path, columns=["image"], image_ids=ids, filesystem=shard.filesystem)
        originals = tuple(decode_originals(table))
        row = self._row(cell)
        return Gallery(cell.category, row, variant_label(row), originals, images[:SHOWN_IMAGES])

    def _prompts(self, cell: CellRecord) -> PromptView:
        ranking = Ranking.from_json(self.store.get(str(cell.prompt)).read("ranking.json"))
        return PromptView(cell.category, support_label(self._row(cell)), ranking)

    def _curve(self, cell: CellRecord) -> Curve:
        row = self._row(cell)
        training = read_curve(self.store, str(cell.image_set), str(cell.prompt), str(row["prompt_kind"]))
        label = f"λ = {row['vq_weight']:g}" if self._is_sweep else support_label(row)
        varied = "" if row["variance"] == "estimated" else f", variance {row['variance']}"
        return Curve(cell.category, label + varied, training)
