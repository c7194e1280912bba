"""``results.read``, and the Parquet files as pandas, DuckDB and Polars read them, on a small study that was run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from goodshot.components.errors import BadInput
from goodshot.runner import results
from goodshot.runner.results.compaction import MANY_PARTS, compact, tidy
from goodshot.runner.results.results import Results
from goodshot.runner.results.tables import CELL_TABLES
from goodshot.runner.run.execute import run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.store.files import absolute
from goodshot.runner.study.settings import validate
from tests.conftest import TINY

DOCUMENT = Path(__file__).parents[2] / "docs/results.md"


@pytest.fixture(scope="module")
def finished(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "oneshot"
    fields = {"dataset": {"name": "demo", "root": str(photographs)}, "support_seeds": [0, 1]}
    study = validate({**TINY, **fields, "arms": ["original", "augmented"], "name": "oneshot_lite0"}, "tiny")
    run_studies([study], Options(str(out), local=True), Console(quiet=True))
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the output, without its store."""
    return Path(shutil.copytree(finished, tmp_path / "oneshot", ignore=shutil.ignore_patterns("store")))


def test_a_frame_has_a_row_for_each_cell_with_typed_columns(out: Path) -> None:
    frame = results.read(out)
    rows = Results(str(out)).rows()
    assert set(frame["fingerprint"]) == set(rows)
    assert [*frame["arm"]] == ["augmented", "original"] * 2
    assert [*frame["support_seed"]] == [0, 0, 1, 1]
    kinds = {"copies": "Int64", "oracle": "boolean", "image_auroc": "float64", "vq_weight": "float64"}
    assert {column: str(frame[column].dtype) for column in kinds} == kinds
    assert all(
        rows[f]["image_auroc"] == value for f, value in zip(frame["fingerprint"], frame["image_auroc"], strict=True)
    )
    assert frame["similarity"].isna().all()
    assert [*frame["copies"]] == [2, 0, 2, 0]


def test_metrics_are_a_long_frame_or_columns(out: Path) -> None:
    long = results.read(out, table="metrics")
    assert [*long.columns] == ["fingerprint", "subset", "metric", "value", "low", "high"]
    wide = results.read(out, metrics=True)
    assert len(wide) == 4
    (line,) = wide[(wide["arm"] == "original") & (wide["seed"] == 1)].to_dict("records")
    own = long[(long["fingerprint"] == line["fingerprint"]) & (long["subset"] == "all")]
    assert line["all/image_ap"] == own.set_index("metric")["value"]["image_ap"]
    assert line["all/image_auroc"] == line["image_auroc"]
    with pytest.raises(BadInput, match="leave it out for 'scores'"):
        results.read(out, table="scores", metrics=True)


def test_scores_failures_and_trials(out: Path) -> None:
    scores = results.read(out, table="scores")
    assert len(scores) == results.read(out)["n_test"].sum()
    assert results.read(out, table="failures").empty
    Results(str(out)).append_failure("f", "tiny", "coin", "BadInput: no space", "log")
    assert results.read(out, table="failures")["error"].to_list() == ["BadInput: no space"]
    assert "objective" in results.read(out, table="trials")
    with pytest.raises(BadInput, match="no table 'shots'; there are results"):
        results.read(out, table="shots")  # type: ignore[arg-type]


def test_cells_that_are_not_in_parquet_files_yet(out: Path) -> None:
    own = results.read(out).iloc[0]["fingerprint"]
    store = Results(str(out))
    row = {**store.row(own), "fingerprint": "new", "seed": 7}
    metrics = [{"fingerprint": "new", "subset": "all", "metric": "toy", "value": 0.5}]
    store.append("new", row, [], metrics)
    frame = results.read(out, metrics=True)
    assert len(frame) == 5
    assert frame.set_index("fingerprint").loc["new", ["seed", "all/toy"]].to_list() == [7, 0.5]


def test_several_outputs_and_uris(out: Path, finished: Path) -> None:
    both = results.read(out, finished)
    assert both.columns[0] == "out"
    assert both.groupby("out").size().to_dict() == {str(out): 4, str(finished): 4}
    pd.testing.assert_frame_equal(results.read(absolute(str(out))), results.read(out))


def test_a_study_without_a_finished_cell_is_an_empty_frame(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/tiny.yaml").write_text("name: tiny")
    frame = results.read(tmp_path, metrics=True)
    assert frame.empty
    assert "image_auroc" in frame


def test_columns_of_another_version_are_kept(out: Path) -> None:
    (part,) = (out / "results").iterdir()
    table = pq.read_table(part)
    pq.write_table(table.append_column("toy", pa.array(range(4))).drop_columns(["planted"]), part)
    frame = results.read(out)
    assert sorted(frame["toy"]) == [*range(4)]
    assert frame["planted"].isna().all()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing", "missing: does not exist; give the folder"),
        ("empty", "empty: holds no results of goodshot; give the folder"),
        ("foreign", "holds no results of goodshot"),
        ("tables", "results/a.parquet: has no column 'fingerprint', so goodshot did not write it"),
        ("nosuch://uri", "nosuch://uri: not a folder or URI"),
    ],
)
def test_a_folder_without_results_is_bad_input(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/report.html").write_text("of another program")
    (tmp_path / "tables/results").mkdir(parents=True)
    pq.write_table(pa.table({"seed": ["a"]}), tmp_path / "tables/results/a.parquet")
    with pytest.raises(BadInput, match=problem) as raised:
        results.read(name if "://" in name else tmp_path / name)
    assert len(str(raised.value).splitlines()) == 1


def test_reading_starts_neither_ray_nor_torch(out: Path) -> None:
    code = (
        f"from goodshot.runner import results; results.read({str(out)!r}, metrics=True); "
        "import sys; sys.exit(bool({'ray', 'torch'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_documents_examples_run(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(out, out.parent / "runs/oneshot")
    shutil.copytree(out, out.parent / "runs/again")
    monkeypatch.chdir(out.parent)
    names: dict[str, pd.DataFrame | pl.DataFrame] = {}
    for example in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL):
        exec(example, names)  # noqa: S102 - the code of our own document
    assert len(names["frame"]) == len(names["by_pandas"]) == len(names["of_study"]) == 4
    assert len(names["by_duckdb"]) == len(names["by_polars"]) == 2
    assert {len(names[f"once_{library}"]) for library in ("pandas", "duckdb", "polars")} == {4}
    means = dict(names["frame"].groupby("arm")["image_auroc"].mean())
    assert dict(zip(names["by_duckdb"]["arm"], names["by_duckdb"].iloc[:, 2], strict=True)) == pytest.approx(means)
    by_polars = dict(zip(names["by_polars"]["arm"], names["by_polars"]["image_auroc"], strict=True))
    assert by_polars == pytest.approx(means)


def counts(out: Path, table: str) -> dict[str, int]:
    """How many rows each library reads by the glob."""
    pattern = f"{out}/{table}/*.parquet"
    return {
        "pandas": len(pd.read_parquet([*map(str, (out / table).glob("*.parquet"))])),
        "duckdb": len(duckdb.sql(f"SELECT * FROM '{pattern}'")),  # noqa: S608 - a path of ours
        "polars": pl.scan_parquet(pattern).select(pl.len()).collect().item(),
    }


def test_cells_that_a_killed_merge_left_twice_are_tidied_by_the_next_run(out: Path) -> None:
    right = {table: counts(out, table) for table in CELL_TABLES}
    store = Results(str(out))
    (part,) = store.parts.names("results")
    whole = store.parts.read(part)
    (out / part).unlink()
    for i in range(whole.num_rows):
        store.parts.write("results", 0, [whole.slice(i, 1)])
    kept = {path: path.read_bytes() for path in (out / "results").iterdir()}
    store.parts.write("results", 1, store.parts.unique([*store.parts.names("results")]))
    # Killed before the last two of the merged files were deleted; and another driver, which took the lease for that of
    # a dead one, merged the scores at the same time.
    for path in [*kept][2:]:
        path.unlink()
    (scores,) = (out / "scores").iterdir()
    shutil.copy(scores, out / "scores/part-1-0123456789ab.parquet")
    assert counts(out, "results") == dict.fromkeys(("pandas", "duckdb", "polars"), 6)
    assert len(results.read(out)) == 4
    assert len(results.read(out, table="scores")) == right["scores"]["pandas"]
    assert tidy(Results(str(out))) == ""
    assert {table: counts(out, table) for table in CELL_TABLES} == right
    assert [name[:14] for name in Results(str(out)).parts.names("results")] == ["results/part-1"]


def test_a_glob_reads_each_cell_once_after_many_merges(tmp_path: Path) -> None:
    store = Results(str(tmp_path))
    for i in range(MANY_PARTS + 3):
        store.append(f"f{i}", {"fingerprint": f"f{i}", "image_auroc": i / 9}, [], [])
        compact(store)
    assert len(store.parts.names("results")) == 4
    assert counts(tmp_path, "results") == dict.fromkeys(("pandas", "duckdb", "polars"), MANY_PARTS + 3)
