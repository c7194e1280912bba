"""``goodshot verify`` and ``goodshot gc`` on what a real study left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from goodshot.runner.cli import main
from goodshot.runner.results.results import Results
from goodshot.runner.results.tables import Tables
from goodshot.runner.store.artifacts import Store
from tests.conftest import TINY


@pytest.fixture(scope="module")
def finished(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upkeep")
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump({**TINY, "dataset": {"name": "demo", "root": str(photographs)}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        assert main(["sweep", str(study), "--out", str(folder / "out"), "--local"]) == 0
    return folder / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def rewrite(out: Path, table: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Change a table that a run has left, as no run does."""
    for part in (out / table).glob("*.parquet"):
        rows = pq.read_table(part, schema=Tables.known()[table]).to_pylist()
        pq.write_table(pa.Table.from_pylist(change(rows), schema=Tables.known()[table]), part)


def test_a_sound_study_is_sound(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(out)]) == 0
    assert "3 rows agree with their scores" in said(capsys)
    assert not list((out / "finished").iterdir())


def test_a_changed_row_and_lost_scores_are_named_and_made_again(
    out: Path, finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Results(str(out)).rows()
    first, second, third = sorted(before)
    rewrite(out, "results", lambda rows: [r | {"image_auroc": 0.999} if r["fingerprint"] == first else r for r in rows])
    rewrite(out, "scores", lambda rows: [r for r in rows if r["fingerprint"] != second])
    assert main(["verify", str(out)]) == 1
    text = said(capsys)
    assert f"row {first[:12]} (coin, {before[first]['arm']}): says image AUROC 0.999000, and its scores give" in text
    assert f"row {second[:12]}" in text
    assert "has 0 scores of 28 test images; forget it (--forget) and run the study again" in text
    assert "2 problems in 3 rows" in text
    assert main(["verify", str(out), "--forget"]) == 0
    assert "2 rows are deleted; the study's own command computes them again" in said(capsys)
    assert Results(str(out)).finished() == {third}
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(["sweep", str(finished.parent / "study.yaml"), "--out", str(out), "--local"]) == 0
    assert "1 finished, 2 to run" in said(capsys)
    assert main(["verify", str(out)]) == 0
    assert {f: row["image_auroc"] for f, row in Results(str(out)).rows().items()} == {
        f: row["image_auroc"] for f, row in before.items()
    }


def test_rows_of_an_unknown_kind_are_no_agreement_and_are_kept(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(out, "results", lambda rows: [row | {"cell": "unheard_of"} for row in rows])
    assert main(["verify", str(out), "--forget"]) == 1
    assert "cell kind unheard_of: 3 rows cannot be checked" in said(capsys)
    assert len(Results(str(out)).finished()) == 3


def test_a_damaged_table_is_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part, *_ = (out / "metrics").iterdir()
    part.write_bytes(part.read_bytes()[:-9])
    assert main(["verify", str(out)]) == 1
    assert f"metrics/{part.name}: is damaged (" in said(capsys)


def test_a_damaged_and_a_lost_artifact_are_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images,) = (out / "store" / "image_set").rglob("images.safetensors")
    images.write_bytes(images.read_bytes()[:-1] + b"?")
    shutil.rmtree(out / "store" / "prompt")
    assert main(["verify", str(out)]) == 1
    text = said(capsys)
    assert "/images.safetensors: bytes differ from those committed; delete that folder" in text
    assert "prompt/" in text
    assert "is not in the store" in text


def test_a_store_of_something_else_is_one_line(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(out), "--store", str(tmp_path / "elsewhere")]) == 1
    text = said(capsys)
    assert "elsewhere: holds none of the" in text
    assert "give the --store of the study" in text
    assert "is not in the store" not in text


def test_an_empty_folder_is_no_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert "holds no finished cell" in said(capsys)


def test_what_killed_processes_left_may_go_and_nothing_else(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = out / "store"
    before = sorted(store.rglob("*"))
    assert main(["gc", str(store), "--hours", "0"]) == 0
    assert "nothing can be deleted" in said(capsys)
    attempt = next(p for p in (store / "image_set").iterdir()) / "0123456789ab"
    attempt.mkdir()
    (attempt / "images.safetensors").write_bytes(bytes(1000))
    orphan = store / "generator" / "abc" / "checkpoint-000001" / "fedcba987654"
    orphan.mkdir(parents=True)
    (orphan / "checkpoint.safetensors.tmp-77").write_bytes(bytes(2000))
    assert main(["gc", str(store)]) == 0
    assert "no such file is older than" in said(capsys)
    assert main(["gc", str(store), "--hours", "0"]) == 0
    assert "3 kB in all; --yes deletes it" in said(capsys)
    assert attempt.exists()
    assert main(["gc", str(store), "--hours", "0", "--yes"]) == 0
    assert sorted(store.rglob("*")) == before
    assert main(["verify", str(out)]) == 0


def test_checkpoints_go_when_asked_and_the_study_stays_finished(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = out / "store"
    (generator,) = (store / "generator").iterdir()
    assert list(generator.glob("checkpoint-*"))
    assert main(["gc", str(store), "--checkpoints", "--yes", "--hours", "0"]) == 0
    assert "states of trainings are deleted" in said(capsys)
    assert not list(generator.glob("checkpoint-*"))
    assert list(generator.glob("trace-*"))
    assert Store(str(store)).parts(f"generator/{generator.name}")
    assert main(["verify", str(out)]) == 0
    assert main(["report", str(out)]) == 0
