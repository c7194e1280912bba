"""``goodshot compare``: what it names of two outputs whose rows were made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from goodshot.runner.cli import main
from goodshot.runner.differences import Differences, differences_between
from goodshot.runner.results.record import CellRecord
from goodshot.runner.results.results import Results
from goodshot.runner.study.settings import to_yaml, validate
from tests.conftest import TINY

AUROC = {"original": 0.7, "augmented": 0.75, "generated": 0.8}
GENERATED = {"vq_weight": 1.0, "iterations": 4, "prompt_kind": "best", "select": "text", "variance": "estimated"}
COMPUTED = {"device": "cpu", "commit": "abc", "versions": json.dumps({"torch": "2.11"})}


def rows(**changes: Any) -> Iterator[dict[str, Any]]:
    """Two categories, three supports, three arms; ``changes`` are columns, or functions of a row."""
    for category in ("brick", "coin"):
        for seed in range(3):
            for arm, auroc in AUROC.items():
                row = {
                    **{"study": "tiny", "dataset": "demo", "category": category, "shots": "1", "arm": arm},
                    **{"support_seed": seed, "seed": seed, "copies": 0 if arm == "original" else 2},
                    **{
                        "image_auroc": auroc + seed / 100,
                        "aupro": 0.6,
                        "detector": "patchcore-lite0",
                        "image_size": 64,
                    },
                    **{
                        "support_ids": [f"train/good/{seed}.png"],
                        **COMPUTED,
                        **(GENERATED if arm == "generated" else {}),
                    },
                }
                row["fingerprint"] = f"{category}-{seed}-{arm}"
                yield row | {name: value(row) if callable(value) else value for name, value in changes.items()}


def write(out: Path, cells: Iterator[Mapping[str, Any]], name: str = "tiny", shard: str = "a", **fields: Any) -> str:
    """Write an output with these rows, each with two scores and a long metric, and the record of a study."""
    results, records = Results(str(out)), []
    for row in cells:
        own = {"fingerprint": row["fingerprint"]}
        scores = [{**own, "image_id": str(i), "label": i, "defect_type": "good", "score": i / 3} for i in (0, 1)]
        metric = {**own, "subset": "all", "metric": "image_ap", "value": row["image_auroc"], "low": 0.1, "high": 0.9}
        results.append(row["fingerprint"], row, scores, [metric])
        names = {"fingerprint": row["fingerprint"], "category": row["category"], "arm": row["arm"], "seed": row["seed"]}
        made = {"shard": f"shard/{shard}", "support_ids": (), "image_set": None}
        records.append(asdict(CellRecord(**names, **made, has_maps=False)))
    study = validate({**TINY, "dataset": {"name": "demo"}, "support_seeds": [0, 1, 2], **fields, "name": name}, name)
    results.files.write(f"studies/{name}.cells.json", json.dumps(records).encode())
    results.files.write(f"studies/{name}.yaml", to_yaml(study).encode())
    return str(out)


def other(row: Mapping[str, Any]) -> str:
    return f"{row['fingerprint']}-other"


def better(row: Mapping[str, Any]) -> float:
    """Generated images help by 2 to 4 points more, in each category alike."""
    return float(row["image_auroc"]) + (0.02 + row["seed"] / 100 if row["arm"] == "generated" else 0)


def settings(found: Differences) -> dict[str, tuple[str, str]]:
    return {f"{each.where}: {each.name}": (each.first, each.second) for each in found.settings}


@pytest.fixture
def first(tmp_path: Path) -> str:
    return write(tmp_path / "one", rows())


def test_equal_outputs_do_not_differ(first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = write(tmp_path / "two", rows())
    found = differences_between(first, second)
    assert (found.settings, found.contradictions, found.beyond, found.notes) == ([], [], [], [])
    assert (found.same, len(found.matching.pairs)) == (18, 18)
    assert main(["compare", first, second, "--strict"]) == 0
    shown = capsys.readouterr().out
    assert "configuration: no difference" in shown
    assert "cells: 18 in both, of which 18 are the same by fingerprint" in shown
    assert "0 of 27 results differ by more than their 95 % interval" in shown


def test_what_one_setting_does_is_compared_cell_by_cell(
    first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """λ differs: original and augmented are the same cells, generated is compared with itself at the other λ."""

    def weight(row: Mapping[str, Any]) -> float | None:
        return 3.0 if row["arm"] == "generated" else None

    def identity(row: Mapping[str, Any]) -> str:
        return other(row) if row["arm"] == "generated" else row["fingerprint"]

    changed = rows(image_auroc=better, vq_weight=weight, fingerprint=identity)
    second = write(tmp_path / "two", changed, vq_weight=[3.0])
    found = differences_between(first, second)
    assert settings(found) == {"study tiny: vq_weight": ("[1.0]", "[3.0]")}
    assert (found.same, len(found.matching.pairs)) == (12, 18)
    (pooled,) = [line for line in found.beyond if line.is_leading and line.variant.category is None]
    assert pooled.variant.label == "generated vq_weight=1.0|3.0".replace(".0", "")
    assert (pooled.first, pooled.second) == pytest.approx((0.81, 0.84))
    assert pooled.difference.mean == pytest.approx(0.03)
    assert pooled.difference.n == 6
    assert {line.metric.name for line in found.beyond} == {"image_auroc", "image_ap"}
    assert {line.variant.category for line in found.beyond} == {None, "brick", "coin"}
    assert main(["compare", first, second]) == 0
    shown = capsys.readouterr().out
    assert "generated vq_weight=1|3" in shown
    assert "beyond its interval" in shown
    assert "6 of 27 results differ by more than their 95 % interval" in shown
    assert main(["compare", first, second, "--strict"]) == 1
    assert "6 results differ beyond their interval" in capsys.readouterr().err


def test_several_values_of_a_setting_are_matched_value_by_value(tmp_path: Path) -> None:
    def swept(*weights: float) -> Iterator[dict[str, Any]]:
        for weight in weights:
            for row in rows():
                if row["arm"] == "generated":
                    yield {**row, "vq_weight": weight, "fingerprint": f"{row['fingerprint']}-{weight}"}

    first = write(tmp_path / "one", swept(0.3, 1.0), vq_weight=[0.3, 1.0])
    second = write(tmp_path / "two", swept(1.0, 3.0), vq_weight=[1.0, 3.0])
    matching = differences_between(first, second).matching
    assert {(a["vq_weight"], b["vq_weight"]) for a, b in matching.pairs} == {(1.0, 1.0)}
    assert {row["vq_weight"] for row in matching.only_first} == {0.3}
    assert {row["vq_weight"] for row in matching.only_second} == {3.0}


def test_cells_of_one_output_only_are_named(first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = write(tmp_path / "two", (row for row in rows() if row["category"] == "coin"))
    assert main(["compare", first, second, "--json", str(tmp_path / "found.json")]) == 0
    shown = capsys.readouterr().out
    assert f"only in {first}: 9 cells: brick augmented support 0 (brick-0-augm), " in shown
    assert "and 4 more" in shown
    cells = json.loads((tmp_path / "found.json").read_text())["cells"]
    assert [len(cells[name]) for name in ("only_first", "only_second", "ambiguous")] == [9, 0, 0]


def test_one_fingerprint_with_two_numbers_is_a_finding(
    first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shifted(row: Mapping[str, Any]) -> float:
        return float(row["image_auroc"]) + 1e-9 * (row["fingerprint"] == "coin-1-original")

    second = write(tmp_path / "two", rows(image_auroc=shifted, device="cuda"))
    found = differences_between(first, second)
    (contradiction,) = found.contradictions
    assert contradiction.first["fingerprint"] == "coin-1-original"
    assert (
        contradiction.numbers == 2
    )  # the row's column, and the long metric that the rows of these tests derive from it
    assert contradiction.largest == pytest.approx(1e-9)
    assert settings(found) == {"rows: device": ("cpu", "cuda")}
    assert main(["compare", first, second, "--strict"]) == 1
    captured = capsys.readouterr()
    assert (
        "1 of 18 cells with one fingerprint have different numbers, which must be equal: by up to 1e-09" in captured.out
    )
    assert "computed on cpu | cuda: coin original support 1 (coin-1-origi)" in captured.out
    assert "1 cells with one fingerprint" in captured.err


def test_a_changed_score_and_an_undefined_metric_are_findings(first: str, tmp_path: Path) -> None:
    second = Results(write(tmp_path / "two", rows()))
    scores = [{"fingerprint": "coin-0-original", "image_id": str(i), "score": i / 4} for i in (0, 1)]
    undefined = {"subset": "all", "metric": "image_ap", "value": float("nan"), "low": 0.1, "high": 0.9}
    second.append(
        "coin-0-original", second.row("coin-0-original"), scores, [{"fingerprint": "coin-0-original", **undefined}]
    )
    (found,) = differences_between(first, second.uri).contradictions
    assert (found.numbers, found.quantity) == (2, "metrics all/image_ap value")


def test_versions_commits_photographs_and_originals(first: str, tmp_path: Path) -> None:
    def ids(row: Mapping[str, Any]) -> list[str]:
        return [f"train/good/{row['seed'] + (row['category'] == 'coin')}.png"]

    changed = rows(commit="def", versions=json.dumps({"torch": "2.12"}), detector="patchcore", support_ids=ids)
    second = write(tmp_path / "two", changed, shard="b")
    found = settings(differences_between(first, second))
    assert found["rows: torch"] == ("2.11", "2.12")
    assert found["rows: commit"] == ("abc", "def")
    assert found["rows: detector"] == ("patchcore-lite0", "patchcore")
    assert found["photographs: demo/coin"] == ("shard/a", "shard/b")
    assert found["originals: demo/coin, shots 1, support 1"] == ("train/good/1.png", "train/good/2.png")
    assert "originals: demo/brick, shots 1, support 1" not in found


def test_studies_with_other_names(first: str, tmp_path: Path) -> None:
    second = write(tmp_path / "two", rows(), name="renamed", iterations=[8])
    found = settings(differences_between(first, second))
    assert found == {
        "study tiny | renamed: name": ('"tiny"', '"renamed"'),
        "study tiny | renamed: iterations": ("[4]", "[8]"),
    }
    write(tmp_path / "two", rows(), name="tiny")
    assert settings(differences_between(first, second)) == {"outputs: study renamed": ("–", "there")}


def test_outputs_of_different_studies_say_what_cannot_be_compared(
    first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = write(
        tmp_path / "two", rows(dataset="mvtec_ad", fingerprint=other), dataset={"name": "mvtec_ad", "root": "x"}
    )
    assert main(["compare", first, second, "--json", str(tmp_path / "found.json")]) == 0
    assert (
        "no result can be compared: the outputs have no dataset in common (demo | mvtec_ad)" in capsys.readouterr().out
    )
    assert json.loads((tmp_path / "found.json").read_text())["results"] == []


def test_several_cells_of_one_key_are_not_compared(first: str, tmp_path: Path) -> None:
    def twice() -> Iterator[dict[str, Any]]:
        yield from rows(fingerprint=lambda row: row["fingerprint"] + "-a")
        yield from rows(fingerprint=lambda row: row["fingerprint"] + "-b")

    (note,) = differences_between(first, write(tmp_path / "two", twice())).notes
    assert note.startswith("54 cells are not compared: one of the outputs has several cells of the same dataset, ")


def test_a_single_pair_has_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [
        write(tmp_path / name, iter([{**next(rows()), "image_auroc": auroc, "fingerprint": name}]))
        for name, auroc in (("one", 0.5), ("two", 0.75))
    ]
    assert main(["compare", *outputs, "--strict"]) == 0
    shown = capsys.readouterr().out
    assert "+0.250" in shown
    assert "image AUROC" in shown
    assert "no result has an interval" in shown


def test_bad_input_is_one_line(first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for second, problem in ((tmp_path / "empty", "holds no results"), (tmp_path / "missing", "does not exist")):
        assert main(["compare", first, str(second)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert problem in line
    assert main(["compare", first, first, "--json", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    study = Path(first, "studies/tiny.yaml")
    study.write_text(study.read_text() + "field_of_a_newer_version: 1\n")
    assert main(["compare", first, first]) == 2
    assert "field_of_a_newer_version" in capsys.readouterr().err


def test_an_output_without_a_finished_cell_says_so(
    first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = write(tmp_path / "two", iter(()))
    assert main(["compare", first, second]) == 0
    assert f"{second} has no finished cell yet" in capsys.readouterr().out
