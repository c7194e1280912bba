"""What a report says across the studies of an experiment: means, published numbers, the most improved, shots."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from goodshot.runner.cli import main
from goodshot.runner.report.across import ACROSS
from goodshot.runner.report.blocks import Block, Chart, Table, Text, Value
from goodshot.runner.report.context import read_studies
from goodshot.runner.report.experiment import read_experiment_contexts
from goodshot.runner.results.record import read_records, write_experiment
from goodshot.runner.results.results import Results
from goodshot.runner.run.options import Options
from goodshot.runner.study.experiment import Experiment, Reference
from tests.runner.report_pages import page_of, redeclare, write_small_study

WHERE = {"dataset": "demo", "arm": "generated"}
REFERENCES = (
    Reference("Paper, Table 9", "image_auroc", 0.7, {**WHERE, "category": "coin"}, "one shot"),
    Reference("Paper, Fig. 9", "image_auroc", 0.25, WHERE, over="original", unit="unstated", mean_over=("category",)),
    Reference("Paper, Table 8", "image_auroc", 0.7, {**WHERE, "category": "nut"}),
    Reference(
        "Paper, Table 7", "prompt_cosine", 0.33, {**WHERE, "prompt_kind": "best"}, measured_with={"detector": "other"}
    ),
    Reference("Another <method>", "image_auroc", 0.99, {"dataset": "demo", "shots": "1"}, kind="field"),
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    out = write_small_study(tmp_path / "out")
    declare(out)
    return out


def declare(out: Path, references: Sequence[Reference] = REFERENCES) -> None:
    """Let every study of this folder belong to one experiment."""
    studies = [record.study for record in read_records(Results(str(out)))]
    experiment = Experiment("nine", "Nine & nine", lambda: studies, references=tuple(references))
    write_experiment(experiment, studies, Results(str(out)))


def blocks(out: Path) -> dict[str, list[Block]]:
    (experiment,) = read_experiment_contexts(read_studies(Options(str(out))))
    return {section.name: [*section.blocks(experiment)] for section in ACROSS}


def lines(table: Block) -> Iterator[Mapping[str, Any]]:
    assert isinstance(table, Table)
    for line in table.lines:
        texts = (cell.text if isinstance(cell, Value) else cell for cell in line)
        yield dict(zip((column.name for column in table.columns), texts, strict=True))


def test_means_over_categories_have_the_fields_best_below_them(out: Path) -> None:
    (*sentences, table) = blocks(out)["arms"]
    texts = [sentence.text for sentence in sentences if isinstance(sentence, Text)]
    assert "demo, 1 shot, patchcore-lite0: generated +2 − original is +0.100 [+0.100, +0.100]" in texts[0]
    shown = [*lines(table)]
    assert [line["arm"] for line in shown] == ["original", "augmented +2", "generated +2", "published"]
    assert shown[2]["categories"] == "2"
    assert shown[2]["mean"] == "0.805 ± 0.000"
    assert shown[2]["minus_augmented"] == "+0.050 [+0.050, +0.050], 4:0"
    assert (shown[3]["detector"], shown[3]["mean"]) == ("Another <method>", "0.990")


def test_published_numbers_are_compared_where_rows_measure_the_same(out: Path) -> None:
    first, table, missing = blocks(out)["published"]
    shown = [*lines(table)]
    assert [line["source"] for line in shown] == ["Paper, Table 9", *["Paper, Fig. 9"] * 2, "Paper, Table 7"]
    assert (shown[0]["published_value"], shown[0]["here"], shown[0]["points"]) == ("0.700", "0.805 ± 0.007", "+10.5")
    assert [line["here"] for line in shown[1:3]] == ["+10.0 ± 0.0 points", "+14.2 ± 0.1 %"]
    assert [line["points"] for line in shown[1:3]] == ["−15.0", "−10.8"]
    assert (shown[3]["published_value"], shown[3]["here"]) == ("0.330", "0.400 ± 0.000")
    assert shown[3]["setting"] == "here detector patchcore-lite0 instead of other"
    assert isinstance(first, Text)
    assert "No repetition of the paper's setting: detector patchcore-lite0 instead of other" in first.text
    assert isinstance(missing, Text)
    assert "1 of 4 published numbers have no row here" in missing.text
    assert "Paper, Table 8" in missing.text


def test_shots_are_drawn_once_there_are_two(out: Path) -> None:
    assert not blocks(out)["shots"]
    results = Results(str(out))
    cells = json.loads((out / "studies/tiny.cells.json").read_text())
    for cell in cells:
        name = f"{cell['fingerprint']}-5"
        results.append(name, {**results.row(cell["fingerprint"]), "shots": "5", "fingerprint": name}, [], [])
        cell["fingerprint"] = name
    redeclare(out, "tiny_five")
    (out / "studies/tiny_five.cells.json").write_text(json.dumps(cells))
    declare(out)
    (drawn,) = blocks(out)["shots"]
    assert isinstance(drawn, Chart)
    assert "over the number of photographs (1, 5), for patchcore-lite0" in drawn.description


def test_the_five_most_improved_need_more_than_five(out: Path) -> None:
    assert not blocks(out)["most_improved"]
    results = Results(str(out))
    cells = json.loads((out / "studies/tiny.cells.json").read_text())
    more = []
    for number in range(6):
        for cell in (cell for cell in cells if cell["category"] == "coin"):
            own, name = results.row(cell["fingerprint"]), f"{number}{cell['fingerprint']}"
            auroc = own["image_auroc"] + (number / 100 if own["arm"] == "generated" else 0)
            results.append(name, {**own, "category": f"c{number}", "image_auroc": auroc, "fingerprint": name}, [], [])
            more.append({**cell, "category": f"c{number}", "fingerprint": name})
    (out / "studies/tiny.cells.json").write_text(json.dumps([*cells, *more]))
    (table,) = blocks(out)["most_improved"]
    own = [line for line in lines(table) if line["arm"] == "generated +2"]
    assert [line["category"] for line in own] == ["c5", "c4", "c3", "c2", "c1"]
    assert own[0]["points"] == "+0.150 [+0.150, +0.150]"
    assert own[0]["relative"] == "+21.3 %"


def test_page_and_export_have_them(out: Path, tmp_path: Path) -> None:
    page = page_of(out)
    assert "Nine &amp; nine" in page
    assert "Another &lt;method&gt;" in page
    assert re.search(r"Comparison with published numbers.*Results of each category", page, flags=re.DOTALL)
    assert main(["export", str(out), "--to", str(tmp_path / "to"), "--formats", "csv"]) == 0
    header, *rest = (tmp_path / "to/experiment-nine/published.csv").read_text().splitlines()
    assert header.startswith("source,quantity")
    assert len(rest) == 4
    assert "experiment-nine/over_categories.csv" in (tmp_path / "to/index.md").read_text()


def test_a_table_of_methods_has_a_column_for_each_metric(out: Path) -> None:
    mean = {"kind": "field", "mean_over": ("category",)}
    printed = [
        Reference("Paper, Table 5, Ours", "image_auroc", 0.9, WHERE, mean_over=("category",)),
        Reference("Paper, Table 5, Other", "image_auroc", 0.8, {"dataset": "demo", "shots": "1"}, **mean),
        Reference("Paper, Table 5, Other", "aupro", 0.7, {"dataset": "demo", "shots": "1"}, **mean),
        Reference("Paper, Table 5, Other", "aupro", 0.6, {"dataset": "demo", "category": "coin"}),
    ]
    assert blocks(out)["methods"] == []
    declare(out, printed)
    (table,) = blocks(out)["methods"]
    names = ["method", "measured", "categories", "image_auroc", "aupro"]
    assert isinstance(table, Table)
    assert [column.name for column in table.columns] == names
    shown = {line["method"]: [line[name] for name in names[1:]] for line in lines(table)}
    assert shown["Paper, Table 5, Ours"] == ["published", None, "0.9", None]
    assert shown["Paper, Table 5, Other"] == ["published", None, "0.8", "0.7"]
    measured, categories, image_auroc, aupro = shown["generated"]
    assert (measured, categories, image_auroc) == ("here", "2", "0.805 ± 0.007")
    assert aupro is not None
    assert "Methods on demo, shots 1" in page_of(out)


def test_a_table_of_methods_says_which_points_of_a_sweep_it_leaves_out(out: Path) -> None:
    where = {"dataset": "demo", "shots": "1"}
    cited = [
        Reference("Paper, Table 5, Other", metric, 0.8, where, kind="field", mean_over=("category",))
        for metric in ("image_auroc", "aupro")
    ]
    declare(out, cited)
    (whole,) = blocks(out)["methods"]
    assert isinstance(whole, Table)
    assert not any("several points" in note for note in whole.notes)
    results = Results(str(out))
    cells = json.loads((out / "studies/tiny.cells.json").read_text())
    more = []
    for cell in (cell for cell in cells if cell["arm"] == "generated"):
        own, name = results.row(cell["fingerprint"]), f"{cell['fingerprint']}-l"
        point = {"vq_weight": 9.0, "image_auroc": 0.1, "fingerprint": name}
        results.append(name, {**own, **point}, [], [])
        more.append({**cell, "fingerprint": name})
    (out / "studies/tiny.cells.json").write_text(json.dumps([*cells, *more]))
    (table,) = blocks(out)["methods"]
    assert isinstance(table, Table)
    assert [*lines(table)] == [*lines(whole)]
    assert table.notes[-1] == "Measured at several points of a sweep, of which the first is shown: generated."
