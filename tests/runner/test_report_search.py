"""The report's section of a search: its trials, how it chose, and the chosen point's rows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from goodshot.runner.results.record import read_records
from goodshot.runner.results.results import Results
from goodshot.runner.results.trials import Ledger, Report, State
from goodshot.runner.study.settings import to_yaml, validate
from tests.conftest import TINY
from tests.runner.report_pages import AUROC, charts_of, page_of, redeclare, tables_of, write_small_study


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_small_study(tmp_path)


SEARCH = {
    "algorithm": "optuna",
    "scheduler": "asha",
    "trials": 3,
    "space": {
        "generator.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "variance": ["estimated", "unit"],
        "copies": {"low": 1, "high": 4},
    },
}
BEST = tuple(f"{category}-{seed}-{arm}" for category in ("brick", "coin") for seed in (0, 1) for arm in AUROC)
OTHER = tuple(name.replace("-generated", "-other") for name in BEST)


def tried(out: Path, values: dict[str, object], state: State, *reports: Report, name: str = "tiny") -> None:
    """Leave a trial of the study beside its rows."""
    ledger = ledger_of(out, name)
    ledger.write(replace(ledger.begin(values), state=state, reports=reports))


def ledger_of(out: Path, name: str = "tiny") -> Ledger:
    (study,) = (record.study for record in read_records(Results(str(out))) if record.study.name == name)
    return Ledger(Results(str(out)), study)


@pytest.fixture
def searched(out: Path) -> Path:
    """Optuna and ASHA chose the second of three points; the first was stopped, and its rows differ in no column."""
    results = Results(str(out))
    cells = json.loads((out / "studies/tiny.cells.json").read_text())
    for cell in [cell for cell in cells if cell["arm"] == "generated"]:
        own, name = results.row(cell["fingerprint"]), cell["fingerprint"].replace("-generated", "-other")
        results.append(name, {**own, "fingerprint": name, "image_auroc": 0.111, "similarity": 0.3}, [], [])
        own_keys = {"trainings": {f"generator/{name}": "generator"}, "image_set": f"image_set/{name}"}
        cells.append({**cell, "fingerprint": name, **own_keys})
    (out / "studies/tiny.cells.json").write_text(json.dumps(cells))
    study = validate(
        {**TINY, "dataset": {"name": "demo"}, "support_seeds": [0, 1], "iterations": [2, 4], "search": SEARCH}, "tiny"
    )
    (out / "studies/tiny.yaml").write_text(to_yaml(study))
    first = {"vq_weight": 1.0, "copies": 2, "generator.learning_rate": 0.005}
    tried(out, {**first, "variance": "unit"}, "stopped", Report(2, 0.3, OTHER))
    best = Report(2, 0.2, ()), Report(4, 0.5, BEST)
    tried(out, {**first, "generator.learning_rate": 0.0002, "variance": "estimated"}, "complete", *best)
    tried(out, {**first, "copies": 3, "variance": "unit"}, "failed", Report(2, math.nan, ()))
    return out


def lines(page: str, label: str) -> list[list[str]]:
    """The texts of the cells of the table whose caption begins so."""
    (table,) = (table for title, table in tables_of(page).items() if title.startswith(label))
    return table.lines


def test_a_search_shows_the_rows_and_pictures_of_the_chosen_point_alone(searched: Path) -> None:
    page = page_of(searched)
    assert "0.805 ± 0.007" in page
    assert [line[1] for line in lines(page, "Results")] == ["original", "augmented +2", "generated +2"] * 2
    assert "+0.100 [+0.100, +0.100] · 4:0:0" in page
    assert "prefers λ = 1, copies = 2, L = 4, generator.learning_rate = 0.0002, variance = estimated" in page
    assert "3 hyperparameter points, 16 of 16 cells finished" in page
    assert "Generated image 2 of coin" in page
    assert "Anomaly maps by original, augmented, generated" in page
    assert "Line chart: similarity per iteration, coin" in page
    assert "the store does not hold it" not in page  # nothing was wanted of the other points
    assert not any("Heatmap" in chart for chart in charts_of(page))


def test_a_search_lists_its_trials(searched: Path) -> None:
    page = page_of(searched)
    assert lines(page, "The trials of") == [
        ["2", "0.5000", "4", "complete, chosen", "2", "0.0002", "estimated"],
        ["1", "0.3000", "2", "stopped early", "2", "0.005", "unit"],
        ["3", "–", "–", "failed", "3", "0.005", "unit"],
    ]
    assert [table.marked for title, table in tables_of(page).items() if title.startswith("The trials")] == [[0]]
    assert "more are not" not in page


def test_a_search_says_how_it_chose_and_what_that_took(searched: Path) -> None:
    (searched / "runs").mkdir()
    run = {"generator_steps": {"generator/brick-0?scoring=1": 5, "generator/elsewhere?": 9}, "seconds": 1.0}
    (searched / "runs/1.json").write_text(json.dumps(run))
    page = page_of(searched)
    assert "Optuna (TPE) with the ASHA scheduler tried 3 points" in page
    assert "differ in copies, generator.learning_rate, variance: 1 complete, 1 stopped early, 1 failed" in page
    assert "similarity 0.5000, the mean over 4 generated cells" in page
    # Of eight trainings the rows show three steps each, the run two more.
    assert "All trainings took 26 generator steps" in page
    assert "training every point to L = 4 on its own" in page


def test_a_search_is_drawn_by_field_by_order_and_by_length(searched: Path) -> None:
    page = page_of(searched)
    charts = charts_of(page)
    for field in ("copies", "generator.learning_rate", "variance"):
        assert f"Dot plot: similarity of every trial by {field}" in charts
    assert "Dot plot: similarity of every trial in the order of their start, and the best so far" in charts
    assert "Line chart: similarity that every trial reported over L" in charts
    assert "Hollow" in page


def test_a_long_search_shows_its_best_trials(searched: Path) -> None:
    for i in range(40):
        values = {"vq_weight": 1.0, "copies": 1 + i % 4, "generator.learning_rate": 0.001, "variance": "unit"}
        tried(searched, values, "complete", Report(4, 0.4 + i / 1000, ()))
    page = page_of(searched)
    assert [line[0] for line in lines(page, "The trials of")] == ["2", *(str(n) for n in range(43, 14, -1))]
    assert "The best 30 are shown, 13 more are not." in page


def test_a_search_without_a_value_names_its_trials_and_compares_nothing(searched: Path) -> None:
    for path in (searched / "trials").iterdir():
        path.unlink()
    assert "nothing to compare" in page_of(searched)
    tried(searched, {"vq_weight": 1.0, "copies": 3, "variance": "<b>"}, "running")
    page = page_of(searched)
    assert "tried 1 of 3 points: 0 complete, 0 failed, 1 not ended. No point" in page
    assert [line[3] for line in lines(page, "The trials of")] == ["not ended"]
    assert "data:image/" not in page


def test_a_killed_search_has_its_numbers_and_says_when_its_pictures_follow(searched: Path) -> None:
    (searched / "studies/tiny.cells.json").write_text("[]")
    page = page_of(searched)
    assert "on demo (brick, coin)" in page
    assert "+0.100 [+0.100, +0.100] · 4:0:0" in page
    assert "its pictures follow" in page


def test_a_sweep_with_trials_compares_all_points_and_pictures_the_chosen_one(out: Path) -> None:
    redeclare(out, "tiny", vq_weight=[1.0, 0.3])
    tried(out, {"vq_weight": 1.0, "copies": 2, "iterations": 4}, "complete", Report(4, 0.5, BEST))
    tried(out, {"vq_weight": 0.3, "copies": 2, "iterations": 4}, "complete", Report(4, 0.4, OTHER))
    page = page_of(out)
    assert any("Heatmap: image AUROC, patchcore-lite0" in chart for chart in charts_of(page))
    assert "prefers λ = 1, copies = 2, L = 4 (similarity 0.500) among 2 points: image AUROC 0.805" in page
    assert "A grid (no scheduler: every point goes to its end) tried 2 points, which differ in vq_weight" in page
    assert "Generated image 2 of coin" in page
    assert "reported over L" not in page


def test_many_trials_make_no_large_page(searched: Path) -> None:
    before = len(page_of(searched))
    ledger = ledger_of(searched)
    for i in range(320):
        values = {"vq_weight": 1.0, "copies": 1 + i % 4, "generator.learning_rate": 0.001, "variance": "unit"}
        reports = (Report(2, 0.3, ()), Report(4, 0.4 + i / 1000, ()))
        ledger.write(replace(ledger.begin(values), state="complete", reports=reports))
    assert len(page_of(searched)) < before + 200_000
