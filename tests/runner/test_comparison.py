"""From rows to what is said of them: who is compared with whom, and the table a run prints at its end."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from goodshot.components.metrics import declared
from goodshot.components.metrics.declared import Metric
from goodshot.runner.console.terminal import print_study
from goodshot.runner.results.comparison import compare
from tests.runner.report_pages import row

GAINS = {"original": 0.0, "augmented": 0.02, "external:web": -0.06, "generated": 0.05, "vqgan_clip": 0.0}


def rows(seeds: int, **columns: Any) -> list[dict[str, Any]]:
    """A study of five arms whose generated images are worth .05, less so for every other support."""
    found = []
    for seed in range(seeds):
        for arm, gain in GAINS.items():
            plain = {"pixel_auroc": 0.9, "aupro": 0.6, "similarity": None, "vq_weight": None, "iterations": None}
            plain |= dict.fromkeys(("prompt_kind", "select", "variance", "detail", "post_augment", "augmentation"))
            shown = {**plain, "dev": False, "oracle": False, **row("coin", seed, arm), **columns}
            wobble = 0.0 if arm == "original" else 0.005 * (-1) ** seed
            found.append({**shown, "image_auroc": 0.7 + seed / 1000 + gain + wobble})
    return found


def printed(found: list[dict[str, Any]], width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_study(console, "title", found)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_arm_meets_both_baselines_and_a_baseline_never_itself() -> None:
    against = {c.variant["arm"]: set(c.against) for c in compare(rows(3))}
    both = {"original", "augmented"}
    assert against == {"original": set(), "augmented": {"original"}} | dict.fromkeys(
        ("external:web", "generated", "vqgan_clip"), both
    )


def test_the_augmented_baseline_is_the_one_with_as_many_images() -> None:
    found = [r for r in rows(3) if r["arm"] != "augmented"]
    more = [{**r, "copies": 9} for r in rows(3) if r["arm"] == "augmented"]
    assert {c.variant["arm"] for c in compare(found + more) if "augmented" in c.against} == set()


def line(table: str, arm: str) -> str:
    (found,) = (text for text in table.splitlines() if f" {arm} " in text and "│" not in text)
    return found


def test_the_table_shows_differences_wins_and_verdicts_for_both_baselines() -> None:
    table = printed(rows(14))
    assert "+0.050 [+0.047, +0.053]" in line(table, "generated")
    assert line(table, "generated").split().count("14:0") == 2
    assert line(table, "generated").split().count("gain") == 2
    assert line(table, "external:web").split().count("0:14") == 2
    assert line(table, "external:web").split().count("harm") == 2
    assert "7:7" in line(table, "vqgan_clip")
    assert "no harm" in line(table, "vqgan_clip")
    assert "no harm, above −0.01" in table.replace("-", "−")
    assert "a report, not a claim" not in table


def test_few_supports_leave_the_verdict_open_and_say_how_few() -> None:
    table = printed(rows(3))
    assert line(table, "generated").count("open (n=3)") == 2
    assert "gain," in table
    assert "verdict" not in printed(rows(1))


@pytest.mark.parametrize("width", [80, 120, 160])
def test_a_terminal_of_120_columns_still_shows_the_verdicts(width: int) -> None:
    table = printed(rows(14), width)
    assert "image AUROC" in table
    assert ("verdict" in table) == (width >= 120)
    assert "…" not in table or width < 120


def test_tags_stand_behind_the_category_and_are_explained() -> None:
    assert "coin (dev)" in printed(rows(3, dev=True))
    assert "a development category" in printed(rows(3, dev=True))
    both = printed(rows(3, dev=True, oracle=True))
    assert "coin (dev, oracle)" in both
    assert "no fair result" in both
    assert "(dev" not in printed(rows(3))


def test_a_metric_of_a_test_is_a_column_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [{**each, "gloss": 0.125} for each in rows(3)]
    assert "toy gloss" not in printed(found)
    monkeypatch.setattr(declared, "METRICS", (*declared.METRICS, Metric("gloss", "toy gloss", shown=("results",))))
    assert "toy gloss" in printed(found)
    assert "0.125 ± 0.000" in line(printed(found), "generated")
    assert "toy gloss" not in printed(rows(3))


def test_differences_are_of_the_first_metric_that_all_rows_have(monkeypatch: pytest.MonkeyPatch) -> None:
    gloss = Metric("gloss", "toy gloss", shown=("results",))
    monkeypatch.setattr(declared, "METRICS", (*declared.METRICS, gloss))
    other = {"detector": None, "image_size": None, "image_auroc": None, "pixel_auroc": None, "aupro": None}
    own = [{**each, **other, "cell": "polish", "gloss": 0.5 + 0.1 * (each["arm"] == "generated")} for each in rows(3)]
    found = compare([*rows(3), *own])
    assert {(c.subject, c.compared.title) for c in found if c.compared} == {
        ("patchcore-lite0", "image AUROC"),
        ("polish", "toy gloss"),
    }
    (generated,) = (c for c in found if (c.subject, c.variant["arm"]) == ("polish", "generated"))
    assert generated.against["original"].mean == pytest.approx(0.1)
    table = printed([*rows(3), *own])
    assert "polish" in table
    assert "paired difference of image AUROC with" in table
    assert "paired difference of toy gloss with" in table


def test_rows_without_a_value_are_compared_with_nothing() -> None:
    blank = dict.fromkeys(("image_auroc", "pixel_auroc", "aupro", "similarity", "detector", "image_size"))
    found = [{**each, **blank} for each in rows(3)]
    assert all(not c.against for c in compare(found))
    assert "AUROC" not in printed(found)


def test_labels_leave_out_what_is_usual_for_an_arm() -> None:
    own = [{**each, "prompt_kind": "worst", "variance": "estimated"} for each in rows(1) if each["arm"] == "generated"]
    assert [c.label for c in compare(own)] == ["generated +2 prompt_kind=worst"]
