"""Outputs that are empty, foreign, of another version, half-written or odd: a page, or a line with what is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import pearsonr, spearmanr
from typer.testing import CliRunner

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.metrics.detection import IMAGE_SET
from goodshot.runner.cli import app
from goodshot.runner.report import write_report
from goodshot.runner.report.watching import watch_report
from goodshot.runner.results.compaction import forget
from goodshot.runner.results.prices import Prices
from goodshot.runner.results.record import CellRecord
from goodshot.runner.results.results import Results
from goodshot.runner.run.options import Options
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.stages.training import TrainingStage
from tests.runner.report_pages import charts_of, page_of, redeclare, tables_of, without_scripts, write_small_study

LONG = "a" * 200
ODD = ("<script>alert('x')</script>", "quo\"ted' & co", LONG)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_small_study(tmp_path)


def rewrite(out: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    results = Results(str(out))
    for fingerprint, own in results.rows().items():
        results.append(fingerprint, change(own), [], [])


def answers(page: str) -> list[str]:
    return re.findall(r'<p class="answer">(.*?)</p>', page)


def problem(out: Path) -> str:
    with pytest.raises(GoodshotError) as error:
        write_report(Options(str(out)))
    text = str(error.value)
    assert "\n" not in text
    return text


def test_an_empty_and_a_foreign_folder_are_one_line(tmp_path: Path) -> None:
    assert "holds no study" in problem(tmp_path)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/notes.yaml").write_text("- just\n- a list\n")
    (tmp_path / "studies/notes.cells.json").write_text("[]")
    assert "holds no study" in problem(tmp_path)
    (tmp_path / "studies/notes.cells.json").write_text('{"a": 1}')
    assert "no record of a study" in problem(tmp_path)
    (tmp_path / "studies/notes.yaml").write_text("a: [")
    assert "no record of a study" in problem(tmp_path)


def test_rows_of_something_else_are_counted_and_left_out(out: Path) -> None:
    (out / "results").mkdir()
    pq.write_table(pa.table({"fingerprint": ["1", "2"], "price": [3, 4]}), out / "results/part-0-0123456789ab.parquet")
    page = page_of(out)
    assert "2 rows of arm &#39;None&#39;, which this version of goodshot does not have" in page
    assert "0.805 ± 0.007" in page


@pytest.mark.parametrize("name", ["failures/f.parquet", "results/part-0-0123456789ab.parquet", "trials/t.parquet"])
def test_a_damaged_table_is_one_line(out: Path, name: str) -> None:
    redeclare(out, "tiny", vq_weight=[0.3, 1.0])
    (out / name).parent.mkdir()
    (out / name).write_bytes(b"PAR1 and no more")
    assert f"{name}: is damaged" in problem(out)


def test_what_a_newer_version_wrote_is_named_and_the_rest_shown(out: Path) -> None:
    redeclare(out, "newer")
    declared = (out / "studies/newer.yaml").read_text()
    (out / "studies/newer.yaml").write_text(declared + "arms_of_tomorrow: [dreamed]\n")
    records = json.loads((out / "studies/tiny.cells.json").read_text())
    (out / "studies/tiny.cells.json").write_text(json.dumps([{**record, "colour": "red"} for record in records]))
    results = Results(str(out))
    own = results.row("coin-0-generated")
    results.append("dreamed", {**own, "fingerprint": "dreamed", "arm": "dreamed"}, [], [])
    (out / "experiments").mkdir()
    unknown = {"name": "of_tomorrow", "title": "x", "studies": ["tiny"], "references": [], "sections": ["toy"]}
    (out / "experiments/of_tomorrow.json").write_text(json.dumps(unknown))
    (out / "runs").mkdir()
    (out / "runs/1.json").write_text("[]")
    (out / "runs/2.json").write_text('{"seconds": 1.0, "moon_phase": "full"}')
    page = page_of(out)
    assert "Left out" in page
    assert "study studies/newer.yaml: arms_of_tomorrow" in page
    assert "1 row of arm &#39;dreamed&#39;" in page
    assert "runs/1.json: is no record of a run" in page
    assert "0.805 ± 0.007" in page


def test_a_cell_of_an_unknown_kind_has_lines_of_its_own(out: Path) -> None:
    cells = json.loads((out / "studies/tiny.cells.json").read_text())
    results = Results(str(out))
    for cell in [cell for cell in cells if cell["arm"] == "generated"]:
        name = f"{cell['fingerprint']}-smell"
        results.append(name, {**results.row(cell["fingerprint"]), "fingerprint": name, "cell": "smell"}, [], [])
        cells.append({**cell, "fingerprint": name, "kind": "smell", "has_maps": False})
    (out / "studies/tiny.cells.json").write_text(json.dumps(cells))
    arms = tables_of(page_of(out))["Results of each category: smell"].column("trained on")
    assert len(arms) == 2


def test_half_written_files_are_named(out: Path) -> None:
    redeclare(out, "half")
    (out / "studies/half.cells.json").unlink()
    page = page_of(out)
    assert "studies/half.cells.json: is missing" in page
    assert "0.805 ± 0.007" in page
    (out / "studies/tiny.yaml").unlink()
    assert "half.cells.json: is missing" in problem(out)


def test_without_the_store_the_numbers_are_shown_and_what_is_missing_is_named(out: Path) -> None:
    shutil.rmtree(out / "store")
    page = page_of(out)
    assert "generated beats plain augmentation on 2 of 2 categories" in page
    for missing in ("gallery of coin", "anomaly maps of brick, original", "similarity of coin", "prompts of brick"):
        assert missing in page
    assert "<img" not in without_scripts(page)


def test_odd_names_are_shown_as_they_are(out: Path) -> None:
    cells = json.loads((out / "studies/tiny.cells.json").read_text())
    results = Results(str(out))
    for i, odd in enumerate(ODD):
        for cell in [cell for cell in cells if cell["category"] == "coin"]:
            name = f"odd-{i}-{cell['fingerprint']}"
            results.append(name, {**results.row(cell["fingerprint"]), "fingerprint": name, "category": odd}, [], [])
            cells.append({**cell, "fingerprint": name, "category": odd})
    (out / "studies/tiny.cells.json").write_text(json.dumps(cells))
    page = page_of(out)
    assert "<script>alert" not in page
    assert {*ODD} <= {*tables_of(page)["Results of each category"].column("category")}
    assert "of 5 categories" in answers(page)[0]
    for script in re.findall(r'<script type="application/json".*?>(.*?)</script>', page, flags=re.DOTALL):
        json.loads(script)


def test_undefined_numbers_everywhere_leave_a_page(out: Path) -> None:
    nothing = {"image_auroc": float("nan"), "pixel_auroc": None, "aupro": float("nan"), "similarity": float("nan")}
    rewrite(out, lambda row: {**row, **nothing, "versions": None, "commit": None, "device": None})
    page = page_of(out)
    assert "12 of 12 cells finished" in page
    assert "nothing can be compared" in page
    assert not any("Dot plot" in chart for chart in charts_of(page))
    assert "NaN" not in "".join(re.findall(r'<script type="application/json".*?</script>', page, flags=re.DOTALL))


@pytest.mark.parametrize(
    ("kept", "answer"),
    [
        (("original",), "The mean image AUROC is 0.705 with original; only one arm was measured, so no gain"),
        (("generated",), "The mean image AUROC is 0.805 with generated; only one arm was measured"),
        (("original", "augmented"), "augmented beats the originals alone on 2 of 2 categories in image AUROC"),
        (
            ("augmented", "generated"),
            "generated beats plain augmentation on 2 of 2 categories in image AUROC: mean +5.0",
        ),
    ],
)
def test_the_answer_fits_the_arms(out: Path, kept: tuple[str, ...], answer: str) -> None:
    results = Results(str(out))
    forget(results, [f for f, row in results.rows().items() if row["arm"] not in kept])
    page = page_of(out)
    assert answers(page)[0].startswith(answer)
    assert f"{12 - 4 * len(kept)} of 12 cells are not finished" in page


def test_the_answer_starts_with_the_strictest_baseline(out: Path) -> None:
    strict, plain = answers(page_of(out))
    assert strict == (
        "generated beats plain augmentation on 2 of 2 categories in image AUROC: mean +5.0 points [+5.0, +5.0], an "
        "interval that excludes zero."
    )
    assert plain.startswith(
        "generated beats the originals alone on 2 of 2 categories in image AUROC: mean +10.0 points"
    )


def test_one_support_of_one_category_has_no_interval(out: Path) -> None:
    results = Results(str(out))
    forget(results, [f for f in results.rows() if not f.startswith("coin-0")])
    assert "on 1 of 1 support of coin in image AUROC: mean +5.0 points, from one pair" in answers(page_of(out))[0]


def test_unfinished_cells_have_a_reason(out: Path) -> None:
    results = Results(str(out))
    forget(results, ["coin-0-original", "coin-1-original", "coin-1-generated"])
    results.append_failure("coin-1-generated", "tiny", "coin seed=1 generated", "BadInput: no space\nmore", "log")
    table = tables_of(page_of(out))["3 of 12 cells are not finished"]
    assert table.lines == [
        ["coin seed=1 generated", "1", "failed: BadInput: no space (logs/coin-1-generated.log)"],
        ["coin original", "2", "not run yet; the same command continues"],
    ]


def test_two_folders_of_different_studies_share_a_page(out: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = write_small_study(tmp_path_factory.mktemp("other"))
    redeclare(other, "tiny", title="Another study")
    rewrite(other, lambda row: {**row, "image_auroc": 0.5})
    file = tmp_path_factory.mktemp("page") / "both.html"
    with pytest.raises(BadInput, match="add --html FILE"):
        write_report(Options(str(out)), Options(str(other)))
    assert write_report(Options(str(out)), Options(str(other)), file=str(file)) == str(file)
    page = file.read_text()
    assert f"Another study ({other})" in page
    assert f"Provenance of {out}" in page
    assert f"Provenance of {other}" in page
    assert len(answers(page)) == 4
    assert not (out / "report.html").exists()
    data = json.loads(re.findall(r'id="rows">(.*?)</script>', page, flags=re.DOTALL)[0])
    assert data["outputs"] == [str(out), str(other)]
    assert {*data["output"]} == {0, 1}


def test_numbers_name_the_rows_that_they_rest_on(out: Path) -> None:
    page = page_of(out)
    data = json.loads(re.findall(r'id="rows">(.*?)</script>', page, flags=re.DOTALL)[0])
    cell, *_ = re.findall(r'<button type="button" data-s="(\d+)" data-m="(\d+)">0.705 ± 0.007<', page)
    first, last = data["sets"][int(cell[0])].split("-")
    rows = range(int(first), int(last) + 1)
    assert data["metrics"][int(cell[1])] == "image_auroc"
    assert [data["values"][int(cell[1])][row] for row in rows] == [0.7, 0.71]
    assert [data["texts"][data["arm"][row]] for row in rows] == ["original", "original"]


def test_the_gain_is_correlated_with_properties_of_the_image_set(out: Path) -> None:
    results = Results(str(out))
    similarity = {"brick-0": 0.2, "brick-1": 0.4, "coin-0": 0.4, "coin-1": 0.5}
    gains = {"brick-0": 0.0, "brick-1": 0.05, "coin-0": 0.01, "coin-1": 0.03}
    variance = {"brick-0": 0.3, "brick-1": 0.2, "coin-0": 0.1, "coin-1": float("nan")}
    for unit, value in similarity.items():
        name, base = f"{unit}-generated", results.row(f"{unit}-original")["image_auroc"]
        own = {**results.row(name), "similarity": value, "image_auroc": base + gains[unit]}
        long = {"subset": IMAGE_SET, "metric": "pixel_variance", "value": variance[unit], "low": None, "high": None}
        results.append(name, own, [], [{"fingerprint": name, **long}])
    page = page_of(out)
    pearson = pearsonr([*similarity.values()], [*gains.values()]).statistic
    spearman = spearmanr([*similarity.values()], [*gains.values()]).statistic
    table = tables_of(page)["Correlation of the gain with properties of the image set"]
    assert table.lines == [
        ["similarity to the prompt", f"{pearson:+.2f}", f"{spearman:+.2f}", "4"],
        ["variance of the pixels", "−0.19", "−0.50", "3"],
    ]
    assert sum("Scatter plot: gain in image AUROC" in chart for chart in charts_of(page)) == 2


def test_the_cost_is_stated_in_hours_and_in_money(out: Path) -> None:
    (out / "runs").mkdir()
    costs = {"step|net|cuda": {"seconds": 7200.0, "units": 1}, "fit|patchcore|cpu": {"seconds": 3600.0, "units": 1}}
    (out / "runs/1.json").write_text(json.dumps({"costs": costs, "seconds": 1.0, "generator_steps": {}}))
    rewrite(out, lambda row: {**row, "seconds_fit": 1800.0, "seconds_generator": 360.0})
    assert "price" not in tables_of(page_of(out))["Cost"].head
    write_report(Options(str(out)), prices=Prices(gpu_hour=2.5, cpu_hour=0.05))
    table = tables_of((out / "report.html").read_text())["Cost"]
    assert table.head == ["of", "CPU hours", "GPU hours", "price"]
    assert table.lines[0][1:] == ["3.00", "2.00", "5.15"]
    # Twelve fits of half an hour, and four trainings of six minutes.
    assert table.lines[1][1:] == ["6.40", "0.00", "0.32"]


def test_a_watched_page_follows_the_rows_until_the_study_is_complete(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(str(out))
    row = results.row("coin-1-generated")
    forget(results, ["coin-1-generated"])
    seen = []

    def finish_the_last_cell(seconds: float) -> None:
        seen.append((out / "report.html").read_text())
        if len(seen) == 3:
            results.append("coin-1-generated", row, [], [])

    monkeypatch.setattr("goodshot.runner.report.watching.time.sleep", finish_the_last_cell)
    told: list[str] = []
    watch_report(Options(str(out)), file=None, prices=Prices(), tell=told.append)
    assert told == [str(out / "report.html")]
    assert len(seen) == 3
    assert "11 of 12 cells finished" in seen[0]
    assert "RELOAD_SECONDS" in seen[0]
    page = (out / "report.html").read_text()
    assert "12 of 12 cells finished" in page
    assert "RELOAD_SECONDS" not in page


def test_a_watch_that_is_interrupted_leaves_a_page_that_rests(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(Results(str(out)), ["coin-1-generated"])

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("goodshot.runner.report.watching.time.sleep", interrupt)
    done = CliRunner().invoke(app, ["report", str(out), "--watch"])
    assert (done.exit_code, done.output) == (0, f"{out}/report.html\n")
    assert "RELOAD_SECONDS" not in (out / "report.html").read_text()


def test_the_command_writes_the_page_where_it_is_told(out: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("page") / "page.html"
    done = CliRunner().invoke(app, ["report", str(out), "--html", str(file), "--price-cpu-hour", "0.05"])
    assert (done.exit_code, done.output) == (0, f"{file}\n")
    assert "Price: 0.05 for an hour of a CPU." in file.read_text()


def test_records_of_earlier_versions_name_the_same_artifacts(out: Path) -> None:
    """They had a field for each of two kinds of stages, and later a list of keys besides."""
    written = json.loads((out / "studies/tiny.cells.json").read_text())
    expected = [CellRecord.read(record) for record in written]
    for with_keys in (False, True):
        earlier = []
        for record in written:
            keys, trainings = record.pop("stages"), record.pop("trainings")
            old = {"prompt": None, "generator": None}
            old |= {kind: key for key, kind in (keys | trainings).items() if kind in old}
            earlier.append({**record, **old, **({"stages": [*keys]} if with_keys else {})})
            record |= {"stages": keys, "trainings": trainings}
        assert [CellRecord.read(record) for record in earlier] == expected
    assert {cell.key_of(PromptStage) for cell in expected} == {None, "prompt/coin", "prompt/brick"}
    assert {cell.key_of(TrainingStage) for cell in expected if cell.arm == "original"} == {None}
