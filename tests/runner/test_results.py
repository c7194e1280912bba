"""Finished cells: appended one by one, moved into Parquet tables, and the same whatever way they are kept."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from goodshot.components.errors import GoodshotError
from goodshot.runner.results.compaction import LARGEST, LEASE, MANY_PARTS, compact, forget, tidy
from goodshot.runner.results.parts import Parts
from goodshot.runner.results.results import Results
from goodshot.runner.results.tables import CELL_TABLES, Tables
from goodshot.runner.store.files import Files
from goodshot.runner.store.leases import Leases

TABLES = Tables.known()
ROW = TABLES.row


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
        for table in CELL_TABLES
    }


def keep_some(path: Path, columns: Sequence[str]) -> None:
    """Make a finished cell's file one of an earlier version, which had fewer columns."""
    cells = pa.ipc.open_stream(path.read_bytes()).read_all().select(columns)
    with pa.ipc.new_stream(str(path), cells.schema) as stream:
        stream.write_table(cells)


def test_some_columns_are_those_of_the_whole_rows(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(3))
    compact(results)
    append(results, range(2, 5))
    whole = results.rows()
    assert len(whole) == 5
    some = results.rows(["image_auroc", "arm"])
    assert some == {f: {"fingerprint": f, "image_auroc": r["image_auroc"], "arm": None} for f, r in whole.items()}
    assert results.read("scores", ["score"]).column_names == ["score"]
    assert results.read("scores", ["score"])["score"].to_pylist() == results.read("scores")["score"].to_pylist()


def test_a_row_of_an_earlier_version_lacks_columns(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(3))
    keep_some(tmp_path / "finished/f0001.arrows", ["copies", "fingerprint", "scores", "metrics"])
    lacking = {**dict.fromkeys(ROW.names), "fingerprint": "f0001", "copies": 1}
    assert results.row("f0001") == results.rows()["f0001"] == lacking
    assert results.rows(["planted"])["f0001"] == {"fingerprint": "f0001", "planted": None}
    assert results.read("scores").num_rows == 6
    compact(results)
    (part,) = (tmp_path / "results").iterdir()
    pq.write_table(pq.read_table(part).select(["copies", "fingerprint"]), part)
    assert results.read("results").schema == ROW
    assert results.row("f0001") == results.rows()["f0001"] == lacking


def test_tables_of_an_earlier_version_had_a_file_a_cell(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(10))
    before = everything(results)
    compact(results)
    for table in CELL_TABLES:
        (part,) = (tmp_path / table).iterdir()
        rows = pq.read_table(part)
        for i in range(10):
            own = rows.filter(pa.compute.equal(rows["fingerprint"], f"f{i:04d}"))
            pq.write_table(own, tmp_path / table / f"f{i:04d}.parquet")
        part.unlink()
    results = Results(str(tmp_path))
    assert everything(results) == before
    assert results.has("f0003")
    compact(results)
    assert len(files(tmp_path)) == 1
    assert everything(results) == before


def test_cells_that_were_moved_are_the_same_cells(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(12))
    before, finished = everything(results), results.finished()
    assert not (tmp_path / "results").exists()
    compact(results)
    for table in CELL_TABLES:
        assert len(files(tmp_path, table)) == 1
    assert not files(tmp_path, "finished")
    again = Results(str(tmp_path))
    assert everything(again) == before
    assert again.finished() == finished == set(again.rows())
    assert again.has("f0003")
    assert again.row("f0003") == before["results"][3]
    assert not again.has("f9999")
    with pytest.raises(KeyError):
        again.row("f9999")
    assert again.row("f0003", ["copies"]) == {"copies": 3}
    append(again, [12, 13])
    assert len(again.finished()) == 14
    assert again.has("f0013")
    assert again.row("f0013", ["copies"]) == {"copies": 13}
    assert again.read("results").schema == ROW


def test_whoever_looks_in_between_knows_of_what_was_just_moved(tmp_path: Path) -> None:
    results, other = Results(str(tmp_path)), Results(str(tmp_path))
    append(results, [1])
    assert other.has("f0001")
    assert not other.has("f0002")
    append(results, [2])
    compact(results)
    assert other.has("f0002")


def test_files_have_the_tables_columns_and_types(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    results.append("nothing", {"fingerprint": "nothing", "of no column": 1}, [], [])
    append(results, [1])
    for path in (tmp_path / "finished").iterdir():
        assert all(field == TABLES.cell.field(field.name) for field in pa.ipc.open_stream(path.read_bytes()).schema)
    compact(results)
    results.append_failure("failed", "s", "c", "e", "l")
    results.write_trial("trial", [{"trial": "trial", "of no column": 1}])
    for table in (*CELL_TABLES, "failures", "trials"):
        for path in (tmp_path / table).iterdir():
            assert pq.read_schema(path) == TABLES[table]
        assert results.read(table).schema == TABLES[table]
    assert results.row("nothing") == {**dict.fromkeys(ROW.names), "fingerprint": "nothing"}


def test_a_value_of_another_type_fails_where_it_was_made(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        results.append("f", {"fingerprint": "f", "copies": "many"}, [], [])
    assert not results.finished()


def test_many_parquet_files_become_one_of_the_next_size(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    rounds = MANY_PARTS**2
    for start in range(rounds):
        append(results, [start])
        compact(results)
    assert [name[:6] for name in files(tmp_path)] == ["part-2"]
    append(results, [rounds])
    compact(results)
    assert [name[:6] for name in files(tmp_path)] == ["part-0", "part-2"]
    found = everything(Results(str(tmp_path)))
    assert [row["copies"] for row in found["results"]] == list(range(rounds + 1))
    assert len(found["scores"]) == 2 * (rounds + 1)


def test_the_largest_files_are_not_written_again(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, [1])
    compact(results)
    (part,) = (tmp_path / "results").iterdir()
    for i in range(MANY_PARTS):
        part.with_name(f"part-{LARGEST}-{i:012x}.parquet").write_bytes(part.read_bytes())
    part.unlink()
    compact(results)
    assert len(files(tmp_path)) == MANY_PARTS
    assert len(results.rows()) == 1


def test_what_a_killed_compaction_left_twice_counts_once(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(4))
    before = everything(results)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.arrows")}
    compact(results)
    for path, content in kept.items():
        path.write_bytes(content)
    # Killed after the scores were moved, before the rows were.
    (part,) = (tmp_path / "results").iterdir()
    part.unlink()
    assert everything(Results(str(tmp_path))) == before
    compact(Results(str(tmp_path)))
    assert not files(tmp_path, "finished")
    for table in CELL_TABLES:
        (part,) = (tmp_path / table).iterdir()
        assert pq.read_table(part).num_rows == len(before[table])
        # And two drivers, one of which lost its lease, may leave every row in two files.
        part.with_name("part-0-0123456789ab.parquet").write_bytes(part.read_bytes())
    assert everything(Results(str(tmp_path))) == before


def test_forgotten_cells_are_in_no_table(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(4))
    compact(results)
    append(results, range(4, 6))
    forget(results, {"f0001", "f0004", "f0099"})
    for looked in (results, Results(str(tmp_path))):
        assert looked.finished() == {"f0000", "f0002", "f0003", "f0005"}
        assert not looked.has("f0001")
        for table in CELL_TABLES:
            assert set(looked.read(table)["fingerprint"].to_pylist()) == looked.finished()
    forget(results, results.finished())
    assert not results.rows()
    assert not files(tmp_path)
    append(results, [1])
    assert results.rows()["f0001"]["copies"] == 1


def test_scores_without_a_row_are_not_those_of_a_later_one(tmp_path: Path) -> None:
    """A killed run of an earlier version left scores; or a damaged file of rows was deleted."""
    results = Results(str(tmp_path))
    append(results, [1, 2])
    compact(results)
    (part,) = (tmp_path / "results").iterdir()
    part.unlink()
    scores = [{"fingerprint": "f0001", "image_id": "other", "label": 1, "defect_type": "good", "score": 0.5}]
    results.append("f0001", {"fingerprint": "f0001"}, scores, [])
    for _ in range(2):
        found = Results(str(tmp_path))
        assert found.finished() == {"f0001"}
        assert [row for row in found.read("scores").to_pylist() if row["fingerprint"] == "f0001"] == scores
        assert "f0001" not in found.read("metrics")["fingerprint"].to_pylist()
        compact(results)
    # But where the row is, what ran again does not count.
    results.append("f0001", {"fingerprint": "f0001", "copies": 9}, [], [])
    assert results.rows()["f0001"]["copies"] is None
    assert len([row for row in results.read("scores").to_pylist() if row["fingerprint"] == "f0001"]) == 1


def test_one_driver_compacts_at_a_time(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(3))
    other = Leases(str(tmp_path))
    assert other.take(LEASE)
    assert tidy(results, patience=0.2) == "another driver is moving cells"
    assert len(results.finished()) == len(files(tmp_path, "finished")) == 3
    other.close()
    assert tidy(results) == ""
    assert len(results.finished()) == 3
    assert not files(tmp_path, "finished")
    assert not files(tmp_path, "leases")


def test_a_driver_that_died_on_another_machine_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goodshot.runner.results.compaction.Leases", partial(Leases, stale_seconds=0.5))
    results = Results(str(tmp_path))
    append(results, [1])
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "elsewhere")
        assert Leases(str(tmp_path)).take(LEASE)
    assert tidy(results) == "another driver is moving cells"
    assert tidy(results, patience=20) == ""
    assert not files(tmp_path, "finished")


def test_what_cannot_be_compacted_is_said_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(str(tmp_path))
    append(results, [1])

    def refuse(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("no memory for that")

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "write", refuse)
        assert tidy(results) == "no memory for that"
    assert results.rows().keys() == {"f0001"}
    assert tidy(results, seconds=-1) == ""  # no time: nothing is moved
    assert files(tmp_path, "finished") == ["f0001.arrows"]


def test_a_damaged_cell_is_set_aside_and_counts_as_not_run(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, range(3))
    (tmp_path / "finished/f0001.arrows").write_bytes(b"")
    line = r"finished/f0001\.arrows: is damaged \(.*\); run the study again, which sets it aside"
    with pytest.raises(GoodshotError, match=line):
        results.rows()
    assert tidy(results) == ""
    assert results.finished() == {"f0000", "f0002"} == set(results.rows())
    assert files(tmp_path, "damaged") == ["f0001.arrows"]


def test_a_damaged_table_is_named_with_its_remedy(tmp_path: Path) -> None:
    results = Results(str(tmp_path))
    append(results, [1])
    compact(results)
    for table, remedy in (
        ("scores", r"delete it, forget the rows .*--forget\)"),
        ("results", "delete it, run the study"),
    ):
        (part,) = (tmp_path / table).iterdir()
        part.write_bytes(part.read_bytes()[:100])
        with pytest.raises(GoodshotError, match=rf"{table}/part-0-.*\.parquet: is damaged \(.*{remedy}"):
            Results(str(tmp_path)).read(table)
    results.append_failure("f", "s", "c", "e", "l")
    (tmp_path / "failures/f.parquet").write_bytes(b"PAR1")
    with pytest.raises(GoodshotError, match=r"failures/f\.parquet: is damaged \(.*\); delete it"):
        results.tries()


def test_a_folder_that_changes_while_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What replaces a file may be missing in a listing that misses that file too."""
    results = Results(str(tmp_path))
    append(results, range(4))
    compact(results)
    complete, calls = Files.names, []

    def torn(self: Files, folder: str, suffix: str = "", recursive: bool = False) -> list[str]:
        calls.append(folder)
        return [] if calls.count("results") == 2 and folder == "results" else complete(self, folder, suffix, recursive)

    monkeypatch.setattr(Files, "names", torn)
    assert len(Results(str(tmp_path)).finished()) == 4


def test_cells_are_read_while_they_are_moved(tmp_path: Path) -> None:
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
        compact(results)
        for table in CELL_TABLES:
            # Seven more of the same, so that the next round makes one of them.
            (part,) = (tmp_path / table).glob("*.parquet")
            for i in range(MANY_PARTS - 1):
                # Whole at once, as the program itself writes.
                fresh = part.with_name(f"{i}.new")
                fresh.write_bytes(part.read_bytes())
                fresh.rename(part.with_name(f"{part.name[:7]}{uuid.uuid4().hex[:12]}.parquet"))
        seen = len(looks)
        while len(looks) == seen and reader.is_alive():
            time.sleep(0.01)
    stop.set()
    reader.join()
    assert not wrong
