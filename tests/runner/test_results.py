"""Rows as Parquet: appended one by one, compacted, and the same whatever way they are kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from runner.results import COMPACTED, ROW, SCHEMAS, Results


def append(results: Results, numbers: Sequence[int]) -> None:
    for number in numbers:
        name = f"f{number:04d}"
        scores = [
            {"fingerprint": name, "image_id": str(i), "label": i, "defect_type": "good", "score": i / 7} for i in (0, 1)
        ]
        metrics = [{"fingerprint": name, "subset": "all", "metric": "ap", "value": number / 3}]
        row = {
            "fingerprint": name,
            "study": "s",
            "image_auroc": number / 9,
            "support_ids": ["a", "b"],
            "copies": number,
        }
        results.append(name, row, scores, metrics)


def files(folder: Path, table: str = "results") -> list[str]:
    return sorted(path.name for path in (folder / table).iterdir())


def everything(results: Results) -> dict[str, list[dict[str, object]]]:
    return {
        table: sorted(results.read(table).to_pylist(), key=lambda row: (row["fingerprint"], str(row.get("image_id"))))
        for table in ("results", "scores", "metrics")
    }


def test_some_columns_are_those_of_the_whole_rows(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(3))
    results.compact(many=1)
    append(results, range(2, 5))
    whole = results.rows()
    assert len(whole) == 5
    some = results.rows(["image_auroc", "arm"])
    assert some == {f: {"fingerprint": f, "image_auroc": r["image_auroc"], "arm": None} for f, r in whole.items()}
    assert results.read("scores", ["score"]).column_names == ["score"]
    assert results.read("scores", ["score"])["score"].to_pylist() == results.read("scores")["score"].to_pylist()


def test_a_row_of_an_earlier_version_has_no_value_in_the_new_columns(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, [1])
    path = tmp_path / "results/f0001.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["planted"]), path)
    assert results.rows(["planted"]) == {"f0001": {"fingerprint": "f0001", "planted": None}}
    assert results.rows()["f0001"]["planted"] is None


def test_compacted_rows_are_the_same_rows(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(12))
    before, finished = everything(results), results.finished()
    results.compact(many=13)
    assert len(files(tmp_path)) == 12
    results.compact(many=12)
    for table in ("results", "scores", "metrics"):
        (name,) = files(tmp_path, table)
        assert name.startswith(COMPACTED)
    again = Results(str(tmp_path))
    assert everything(again) == before
    assert again.finished() == finished == set(again.rows())
    assert again.has("f0003")
    assert again.row("f0003") == before["results"][3]
    assert not again.has("f9999")
    with pytest.raises(FileNotFoundError):
        again.row("f9999")
    append(again, [12, 13])
    assert len(again.finished()) == 14
    assert again.row("f0013")["copies"] == 13
    assert again.read("results").schema == ROW


def test_a_cells_files_have_the_tables_columns_and_types(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    results.append("nothing", {"fingerprint": "nothing", "of no column": 1}, [], [])
    append(results, [1])
    results.append_failure("failed", "s", "c", "e", "l")
    results.write_trial("trial", [{"trial": "trial", "of no column": 1}])
    for table, schema in SCHEMAS.items():
        for path in (tmp_path / table).iterdir():
            assert pq.read_schema(path) == schema
        assert results.read(table).schema == schema
    assert results.row("nothing") == {**dict.fromkeys(ROW.names), "fingerprint": "nothing"}


def test_a_row_of_an_earlier_version_lacks_columns(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(3))
    path = tmp_path / "results/f0001.parquet"
    pq.write_table(pq.read_table(path).select(["copies", "fingerprint"]), path)
    lacking = {**dict.fromkeys(ROW.names), "fingerprint": "f0001", "copies": 1}
    assert results.row("f0001") == results.rows()["f0001"] == lacking
    results.compact(many=1)
    assert results.read("results").schema == ROW
    assert results.row("f0001") == results.rows()["f0001"] == lacking


def test_many_compacted_files_become_one(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    for start in range(0, 24, 3):
        append(results, range(start, start + 3))
        results.compact(many=3)
    before = everything(results)
    assert len(files(tmp_path)) == 8
    results.compact(many=3)
    assert len(files(tmp_path)) == 1
    assert everything(results) == before
    assert len(before["scores"]) == 48


def test_what_a_killed_compaction_left_twice_counts_once(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(4))
    before = everything(results)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    results.compact(many=1)
    for path, content in kept.items():
        path.write_bytes(content)
    assert everything(Results(str(tmp_path))) == before
    # And two drivers that compact at once leave every row in two compacted files.
    results.compact(many=1)
    for folder in ("results", "scores", "metrics"):
        (part,) = (tmp_path / folder).iterdir()
        part.with_name(f"{COMPACTED}other.parquet").write_bytes(part.read_bytes())
    assert everything(Results(str(tmp_path))) == before


def test_rows_are_read_while_they_are_compacted(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(30))
    wrong: list[object] = []
    looks: list[int] = []
    stop = threading.Event()

    def read() -> None:
        own = Results(str(tmp_path))
        while not stop.is_set():
            try:
                found = own.finished(), own.read("scores").num_rows, own.has("f0007"), own.row("f0008")["copies"]
            except Exception as error:  # a thread's own end would go unseen
                wrong.append(error)
                return
            looks.append(1)
            if found != ({f"f{i:04d}" for i in range(30)}, 60, True, 8):
                wrong.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(3):
        results.compact(many=1)
        for folder in ("results", "scores", "metrics"):
            # Seven more of the same, so that the next round makes one of them.
            (part,) = (tmp_path / folder).glob("*.parquet")
            for i in range(7):
                # Whole at once, as the program itself writes.
                fresh = part.with_name(f"{i}.new")
                fresh.write_bytes(part.read_bytes())
                fresh.rename(part.with_name(f"{COMPACTED}{i}.parquet"))
        seen = len(looks)
        while len(looks) == seen and reader.is_alive():
            time.sleep(0.01)
    stop.set()
    reader.join()
    assert not wrong
