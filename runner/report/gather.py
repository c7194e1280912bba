"""What the report shows, read from ``--out`` and the store into plain values: no dataset, no Ray, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from components.data.images import decode_rgb
from components.data.shards import read_split
from components.errors import BadInput, GoodshotError
from components.prompts import Ranking
from runner.comparison import Comparison, compare
from runner.record import CellRecord, StudyRecord, read_records
from runner.results import Results
from runner.store import Store
from runner.traces import TrainingCurve, read_curve

SHOWN_IMAGES = 8
T = TypeVar("T")


@dataclass(frozen=True)
class Gallery:
    """A support's originals, uint8 (H, W, 3) each, beside the image set that was chosen for it, uint8 (M, R, R, 3)."""

    category: str
    row: Mapping[str, Any]
    originals: tuple[np.ndarray, ...]
    images: np.ndarray


@dataclass(frozen=True)
class MapPanel:
    """Test images uint8 (n, S, S, 3), masks bool and, per variant, anomaly maps (n, S, S) of one category."""

    category: str
    image_ids: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    maps: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Curve:
    """One training of a category: how similar its image sets were to the prompt, and its losses."""

    category: str
    seed: int
    training: TrainingCurve


@dataclass(frozen=True)
class PromptView:
    """The ranking of one support's prompts."""

    category: str
    seed: int
    ranking: Ranking


@dataclass
class StudyView:
    """One study's part of the page. ``missing`` names what is no longer in the store."""

    record: StudyRecord
    rows: list[dict[str, Any]]
    comparisons: list[Comparison]
    galleries: list[Gallery] = field(default_factory=list)
    panels: list[MapPanel] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    prompts: list[PromptView] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """Everything the report shows."""

    studies: Sequence[StudyView]
    failures: Sequence[Mapping[str, Any]]
    runs: Sequence[Mapping[str, Any]]
    out: str


def gather(out: str, store_uri: str) -> Page:
    """Read a finished or half-finished ``--out``.

    Raises:
        BadInput: no study was ever run into it.
    """
    results, store = Results(out), Store(store_uri)
    records = read_records(results)
    if not records:
        raise BadInput(f"{out}: holds no study; give the folder that 'goodshot sweep' or 'demo' was told with --out")
    rows = results.rows()
    runs = [json.loads(results.files.read(name)) for name in results.files.names("runs", ".json")]
    views = [_Gatherer(record, rows, store).view() for record in records]
    return Page(views, results.read("failures").to_pylist(), runs, out)


class _Gatherer:
    """Reads one study's artifacts, noting the missing ones instead of failing."""

    def __init__(self, record: StudyRecord, rows: Mapping[str, dict[str, Any]], store: Store) -> None:
        self.store, self.rows = store, rows
        self.cells = [cell for cell in record.cells if cell.fingerprint in rows]
        own = [rows[cell.fingerprint] for cell in self.cells]
        self.result = StudyView(record, own, compare(own))

    def view(self) -> StudyView:
        """The whole view; pictures are shown for the last declared point and the first support."""
        view = self.result
        shown = [cell for cell in self.cells if self._is_shown(cell)]
        generated = [cell for cell in shown if cell.image_set]
        view.galleries = self._each(generated, self._gallery)
        view.prompts = self._each(_first_of(generated, lambda c: c.prompt), self._prompts)
        trained = [c for c in self.cells if c.image_set and self._is_last_point(c) and self._row(c)["detail"] == "none"]
        view.curves = self._each(_first_of(trained, lambda c: c.generator), self._curve)
        for category in dict.fromkeys(cell.category for cell in shown):
            panel = self._try(f"anomaly maps of {category}", lambda c=category: self._panel(c, shown))  # type: ignore[misc]
            if panel is not None:
                view.panels.append(panel)
        return view

    def _each(self, cells: Sequence[CellRecord], read: Callable[[CellRecord], T]) -> list[T]:
        found = [self._try(f"{read.__name__.strip('_')} of {c.category}", lambda c=c: read(c)) for c in cells]  # type: ignore[misc]
        return [item for item in found if item is not None]

    def _try(self, name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (GoodshotError, FileNotFoundError, KeyError) as error:
            self.result.missing.append(f"{name}: {str(error).splitlines()[0]}")
            return None

    def _row(self, cell: CellRecord) -> dict[str, Any]:
        return self.rows[cell.fingerprint]

    def _is_shown(self, cell: CellRecord) -> bool:
        return cell.has_maps and self._is_last_point(cell)

    def _is_last_point(self, cell: CellRecord) -> bool:
        point, row = self.result.record.study.points[-1], self._row(cell)
        if cell.arm == "original":
            return True
        if cell.arm == "augmented":
            return bool(row["copies"] == point.copies)
        return (row["vq_weight"], row["copies"], row["iterations"]) == (point.vq_weight, point.copies, point.iterations)

    def _gallery(self, cell: CellRecord) -> Gallery:
        source = self.store.get(cell.shard).open("train.parquet")
        table = read_split(source, columns=["image_id", "sha256", "image"], image_ids=list(cell.support_ids[:1]))
        originals = tuple(decode_rgb(image.as_py()) for image in table["image"])
        images = self.store.get(cell.image_set or "").arrays("images.safetensors")["images"]
        return Gallery(cell.category, self._row(cell), originals, images[:SHOWN_IMAGES])

    def _prompts(self, cell: CellRecord) -> PromptView:
        ranking = Ranking.from_json(self.store.get(cell.prompt or "").read("ranking.json"))
        return PromptView(cell.category, cell.seed, ranking)

    def _curve(self, cell: CellRecord) -> Curve:
        kind = str(self._row(cell)["prompt_kind"])
        training = read_curve(self.store, cell.image_set or "", cell.prompt or "", kind)
        return Curve(cell.category, cell.seed, training)

    def _panel(self, category: str, shown: Sequence[CellRecord]) -> MapPanel | None:
        maps: dict[str, np.ndarray] = {}
        first = None
        for cell in shown:
            if cell.category != category:
                continue
            artifact = self.store.get(f"maps/{cell.fingerprint}")
            arrays = artifact.arrays("maps.safetensors")
            first = first or (tuple(artifact.info["image_ids"]), arrays["images"], arrays["masks"])
            # The first detector's maps: another one has a scale of its own.
            maps.setdefault(_label(self._row(cell)), arrays["maps"].astype(np.float32))
        return MapPanel(category, *first, maps) if first else None


def _label(row: Mapping[str, Any]) -> str:
    return f"{row['arm']} {row['detail']}" if row["detail"] not in (None, "none") else str(row["arm"])


def _first_of(cells: Sequence[CellRecord], key: Callable[[CellRecord], Any]) -> list[CellRecord]:
    """The first cell of each key, in order."""
    return list({key(cell): cell for cell in reversed(cells)}.values())[::-1]
