"""What the report shows, as plain values: a page of studies, each with its rows and what explains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.prompts import Ranking
from runner.results.comparison import USUAL, Comparison
from runner.results.record import StudyRecord
from runner.results.trials import TrialRecord
from runner.stages.traces import TrainingCurve
from runner.study.search import is_search
from runner.study.study import Study

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Gallery:
    """A support's first originals, uint8 (H, W, 3) each, beside the chosen image set's first, uint8 (M, R, R, 3)."""

    category: str
    row: Row
    label: str
    originals: tuple[np.ndarray, ...]
    images: np.ndarray


@dataclass(frozen=True)
class MapPanel:
    """One category's and detector's test images uint8 (n, S, S, 3), masks bool (n, S, S), and maps alike by variant."""

    category: str
    detector: str
    image_ids: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    maps: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Curve:
    """One training of a category: how similar its image sets were to the prompt, and its losses."""

    category: str
    label: str
    training: TrainingCurve


@dataclass(frozen=True)
class PromptView:
    """The ranking of one support's prompts."""

    category: str
    support: str
    ranking: Ranking


@dataclass(frozen=True)
class Steps:
    """Generator steps executed for a study in all runs into this ``--out``, and what a plain sweep would take."""

    executed: int
    unshared: int


@dataclass(frozen=True)
class SearchView:
    """The points that a study has tried, in the order in which they began.

    ``cells`` counts the generated cells that the chosen point's value is the mean of; ``unnoted`` tells that a run was
    killed before it noted which artifacts belong to them; ``file`` is the study at the chosen point, below ``--out``,
    and empty if there is none.
    """

    study: Study
    trials: tuple[TrialRecord, ...]
    chosen: TrialRecord | None
    cells: int
    unnoted: bool
    steps: Steps
    file: str


@dataclass(frozen=True)
class StudyView:
    """One study's part of the page.

    ``asked`` counts its cells, ``rows`` are those that are finished, and ``shown`` those that are compared: of a search
    the chosen point's, for rows of different points may differ in no column. ``metrics`` holds the long table of the
    rows whose pictures are shown, the chosen point's or the last declared one's: by fingerprint, (subset, metric) →
    value. ``missing`` names what is no longer in the store; ``repeated`` tells that an earlier study shows some of its
    pictures. ``search`` is None for a study with one point, and where an old ``--out`` has no trials.
    """

    record: StudyRecord
    asked: int
    rows: tuple[Row, ...]
    shown: tuple[Row, ...]
    search: SearchView | None
    comparisons: tuple[Comparison, ...]
    steps: Steps
    galleries: tuple[Gallery, ...]
    panels: tuple[MapPanel, ...]
    curves: tuple[Curve, ...]
    prompts: tuple[PromptView, ...]
    missing: tuple[str, ...]
    repeated: bool
    metrics: Mapping[str, Mapping[tuple[str, str], float]]

    @property
    def is_sweep(self) -> bool:
        """Whether several hyperparameter points are compared."""
        return compares_points(self.record.study)

    @property
    def is_search(self) -> bool:
        """Whether one point among many is shown: the one that the objective chose."""
        return is_search(self.record.study)


@dataclass(frozen=True)
class Page:
    """Everything the report shows."""

    studies: tuple[StudyView, ...]
    failures: tuple[Row, ...]
    runs: tuple[Row, ...]


def compares_points(study: Study) -> bool:
    """Whether a study's declared points are shown side by side; of a search only the chosen one is."""
    return len(study.points) > 1 and not is_search(study)


def variant_label(row: Row) -> str:
    """The arm, and what is varied within it away from the default: ``generated worst``."""
    varied = [str(row[column]) for column, default in USUAL.items() if row[column] not in (None, default)]
    return " ".join([str(row["arm"]), *varied])


def support_label(row: Row) -> str:
    """``support 0``; a ``full`` support has no seed of its own, its rows differ by the training's."""
    return f"seed {row['seed']}" if row["support_seed"] is None else f"support {row['support_seed']}"
