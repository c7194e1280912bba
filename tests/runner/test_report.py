"""The report from rows and artifacts made by hand: what it says, what it does without, and that it stands alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from goodshot.components.errors import BadInput
from goodshot.components.metrics import declared
from goodshot.components.metrics.declared import Metric
from goodshot.components.metrics.detection import IMAGE_SET
from goodshot.components.prompts.ranking import Prompt, RankedPrompt, Ranking
from goodshot.runner.report import readme_figure, sections, write_readme_figure, write_report
from goodshot.runner.report.blocks import Block, Text
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections import Section
from goodshot.runner.report.sections.prompts import PromptView, listed_prompts, prompt_ranking
from goodshot.runner.results.compaction import forget
from goodshot.runner.results.results import Results
from goodshot.runner.run.options import Options
from tests.runner.report_pages import (
    AUROC,
    charts_of,
    page_of,
    redeclare,
    tables_of,
    without_scripts,
    write_small_study,
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_small_study(tmp_path)


def test_the_page_holds_the_numbers_and_the_pictures(out: Path) -> None:
    page = page_of(out)
    assert "0.705 ± 0.007" in page
    assert "0.805 ± 0.007" in page
    assert "+0.100 [+0.100, +0.100] · 4:0:0" in page
    assert "an interval that excludes zero" in page
    assert "a report, not a claim" in page
    assert "iteration α = 2 of L = 4" in page
    assert re.search(r"difference from the maps of original: augmented 0\.\d+, generated 0\.\d+\.", page)
    gallery, maps = 1 + 2, 2 * (1 + len(AUROC))
    html = without_scripts(page)
    assert html.count("data:image/") == html.count("<img") == html.count(" alt=") == 2 * (gallery + maps)
    spread, curves, prompts, scatter = 1, 2, 1, 1
    assert len(charts_of(page)) == 2 * (spread + curves + prompts) + scatter


def test_it_stands_alone_and_escapes_what_it_is_given(out: Path) -> None:
    page = page_of(out)
    assert not re.search(r"https?://", without_scripts(page))
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", without_scripts(page))
    assert "&lt;script&gt;" in page
    assert "\\u003cscript>" in page  # in the data of a chart
    assert "<script>alert" not in page


def test_substitutes_and_planted_defects_are_named(out: Path) -> None:
    page = page_of(out)
    assert "EfficientNet-Lite0" in page
    assert "planted" in page


def test_what_is_gone_from_the_store_is_named_and_the_rest_shown(out: Path) -> None:
    for commit in (out / "store/maps").glob("brick-*/commit.json"):
        commit.unlink()
    (out / "store/image_set/coin/commit.json").unlink()
    (out / "store/maps/coin-0-original/commit.json").unlink()
    page = page_of(out)
    assert "the store does not hold it" in page
    assert "anomaly maps of brick, original: no artifact maps/brick-0-original" in page
    assert "gallery of coin, support 0" in page
    assert "Anomaly maps by augmented, generated" in page
    assert "0.805 ± 0.007" in page


def test_a_half_finished_study_compares_what_there_is(out: Path) -> None:
    forget(Results(str(out)), ["coin-1-original"])
    page = page_of(out)
    assert "11 of 12 cells finished" in page
    assert "over 2 categories, 3 cells per arm" in page
    assert "· 3:0:0" in page


def test_a_study_without_rows_says_so(out: Path) -> None:
    results = Results(str(out))
    forget(results, results.finished())
    assert "No cell of this study has finished yet" in page_of(out)


def test_a_sweep_shows_heatmaps_its_choice_and_the_shared_steps(out: Path) -> None:
    redeclare(out, "tiny", vq_weight=[0.3, 1.0])
    (out / "runs").mkdir()
    # One training of three steps for both image sets; the first of them was executed by a run into another folder.
    cells = json.loads((out / "studies/tiny.cells.json").read_text())
    one = {"generator/brick-0": "generator"}
    shared = [{**cell, "trainings": one if cell["trainings"] else {}} for cell in cells]
    (out / "studies/tiny.cells.json").write_text(json.dumps(shared))
    run = {"generator_steps": {"generator/brick-0?encoder=conse": 2, "generator/elsewhere?": 9}, "seconds": 1.0}
    (out / "runs/1.json").write_text(json.dumps(run))
    page = page_of(out)
    assert any("Heatmap: image AUROC, patchcore-lite0" in chart for chart in charts_of(page))
    assert "prefers λ = 1, copies = 2, L = 4" in page
    assert ">Search</h3>" not in page  # as of an --out from before trials were kept
    assert "Generator steps: 3 executed" in page
    assert "its own takes 6 (2.0 times as many)" in page


def test_a_training_has_its_curve_whatever_the_detail(out: Path) -> None:
    results = Results(str(out))
    for fingerprint, own in results.rows().items():
        results.append(fingerprint, {**own, "detail": own["detail"] and "residual"}, [], [])
    assert "Line chart: similarity per iteration, coin" in page_of(out)


def test_a_picture_is_shown_once_on_a_page(out: Path) -> None:
    once = page_of(out)
    redeclare(out, "tiny_again")
    twice = page_of(out)
    assert "are not repeated" in twice
    assert "are not repeated" not in once
    assert twice.count("Generated image") == once.count("Generated image")


def test_a_long_ranking_keeps_its_ends_and_names_the_comparators() -> None:
    rows = tuple(
        RankedPrompt(prompt=f"a coin with {i}", word=str(i), distance=1.1, cosine=0.5 - i / 100, kept=True)
        for i in range(40)
    )
    texts = {"a coin": 0.6, "a photo": 0.0, "A description. " * 20: 0.55}
    only_word, naive, caption = (Prompt(prompt=text, distance=1.2, cosine=c) for text, c in texts.items())
    ranking = Ranking(object_name="coin", encoder="conse", rows=rows, only_word=only_word, naive=naive, caption=caption)
    view = PromptView("coin", "support 0", ranking)
    listed = listed_prompts(view)
    assert [kind for kind, _ in listed] == ["only word", "caption", "best", *[""] * 13, "worst", "naive"]
    assert "(caption)" in json.dumps(prompt_ranking(view).specification)
    assert [prompt.prompt for _, prompt in listed[2:-1]] == [f"a coin with {i}" for i in (*range(10), *range(35, 40))]


def test_failures_are_named_by_their_first_line(out: Path) -> None:
    Results(str(out)).append_failure("f", "tiny", "coin generated 2", "BadInput: no <b>space</b>\nsecond line", "log")
    page = page_of(out)
    assert "1 cell failed" in page
    assert "coin generated 2: BadInput: no &lt;b&gt;space&lt;/b&gt;" in page
    assert "second line" not in page


def test_an_empty_folder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no study"):
        write_report(Options(str(tmp_path)))


def test_the_readme_picture_is_a_small_png(out: Path, tmp_path: Path) -> None:
    write_readme_figure(Options(str(out)), tmp_path / "demo.png")
    with Image.open(tmp_path / "demo.png") as image:
        assert (image.format, image.width) == ("PNG", 1200)


def test_the_readme_picture_needs_maps(out: Path) -> None:
    for commit in (out / "store/maps").rglob("commit.json"):
        commit.unlink()
    with pytest.raises(BadInput, match="anomaly maps"):
        readme_figure(Options(str(out)))


def test_a_report_starts_neither_ray_nor_torch() -> None:
    code = "import goodshot.runner.report, sys; sys.exit(bool({'ray', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def add_metrics(out: Path, values: dict[tuple[str, str], float]) -> None:
    """Give every row the same long metrics, its subset × metric."""
    results = Results(str(out))
    for fingerprint, own in results.rows().items():
        rows = [
            {"fingerprint": fingerprint, "subset": subset, "metric": metric, "value": value, "low": 0.0, "high": 1.0}
            for (subset, metric), value in values.items()
        ]
        results.append(fingerprint, own, [], rows)


def test_kinds_of_defects_and_further_metrics_have_tables(out: Path) -> None:
    loco = {"logical_anomalies": 0.61, "structural_anomalies": 0.72, "mean": 0.665}
    kinds = {(kind, metric): value for kind, value in loco.items() for metric in ("image_auroc", "au_spro_0.05")}
    planted = {("planted", "image_auroc"): 0.123, ("planted/stain", "image_auroc"): 0.234}
    add_metrics(out, {**kinds, **planted, ("all", "image_ap"): 0.87, ("all", "pixel_ap"): float("nan")})
    page = page_of(out)
    tables = {title: table for title, table in tables_of(page).items() if "patchcore-lite0: " in title}
    assert list(tables) == [
        f"{category}, patchcore-lite0: {title}"
        for category in ("brick", "coin")
        for title in ("image AUROC by kind of defect", "AU-sPRO (FPR ≤ 0.05) by kind of defect", "further metrics")
    ]
    first, _, further, *_ = tables.values()
    assert first.head == ["trained on", "logical anomalies", "structural anomalies", "mean"]
    assert further.head == ["trained on", "image AP"]
    assert first.column("mean") == ["0.665 ± 0.000"] * 3
    assert "0.234" not in page


def test_the_images_added_have_a_table_of_their_own(out: Path) -> None:
    values = {"ssim": 0.912, "psnr": 28.4, "lpips_lite0": 0.31, "is_lite0": 1.2, "diversity_lpips_lite0": float("nan")}
    add_metrics(out, {(IMAGE_SET, metric): value for metric, value in values.items()})
    page = page_of(out)
    tables = {title: table for title, table in tables_of(page).items() if "patchcore-lite0: " in title}
    assert list(tables) == [f"{category}, patchcore-lite0: the images added" for category in ("brick", "coin")]
    for table in tables.values():
        # The substitutes keep their own names, and what nobody defines has no column.
        assert table.head == ["trained on", "SSIM", "PSNR, dB", "lpips_lite0", "is_lite0"]


def test_without_long_metrics_there_are_no_such_tables(out: Path) -> None:
    assert "By kind of defect" not in page_of(out)


def test_an_oracle_and_a_development_category_say_so(out: Path) -> None:
    assert "(dev" not in page_of(out)
    results = Results(str(out))
    for fingerprint, own in results.rows().items():
        results.append(fingerprint, {**own, "oracle": True, "dev": own["category"] == "coin"}, [], [])
    page = page_of(out)
    assert "coin (dev, oracle)" in page
    assert "brick (oracle)" in page
    assert "no number of those rows is a fair result" in page


class ToySection(Section):
    """Which detectors a study's rows are of, and an artifact that nobody made."""

    name = "toy"
    title = "Toy section"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        assert study.read("toy picture", lambda: study.output.store.get("toy/gone")) is None
        yield Text(", ".join(sorted({str(row["detector"]) for row in study.rows})))


def test_a_section_is_added_by_its_entry_alone(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Toy section" not in page_of(out)
    monkeypatch.setattr(sections, "SECTIONS", (ToySection(), *sections.SECTIONS))
    page = page_of(out)
    assert "<p>patchcore-lite0</p>" in page
    assert page.index(">Toy section</h3>") < page.index(">Results</h3>")
    assert "<li>toy picture: no artifact toy/gone" in page


def test_a_metric_is_added_by_its_entry_alone(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(str(out))
    for fingerprint, own in results.rows().items():
        results.append(fingerprint, {**own, "seconds_fit": 0.625}, [], [])
    assert "toy seconds" not in page_of(out)
    toy = Metric("seconds_fit", "toy seconds", better="lower", column=True, shown=("results",))
    monkeypatch.setattr(declared, "METRICS", (toy, *declared.METRICS))
    page = page_of(out)
    assert tables_of(page)["Results of each category"].column("toy seconds") == ["0.625 ± 0.000"] * 6
    # Of it less is better, so no difference is read from it.
    assert "paired difference of image AUROC" in page


def test_a_metric_that_no_row_has_is_no_column(out: Path) -> None:
    assert "AUPRO" in tables_of(page_of(out))["Results of each category"].head
    results = Results(str(out))
    for fingerprint, own in results.rows().items():
        results.append(fingerprint, {**own, "aupro": float("nan"), "pixel_auroc": None}, [], [])
    page = page_of(out)
    assert "AUPRO" not in page
    assert "pixel AUROC" not in page


BLANK = {"detector": None, "image_size": None, "n_test": None, "image_auroc": None, "pixel_auroc": None, "aupro": None}


def test_cells_without_a_detector_have_lines_of_their_own(out: Path) -> None:
    results = Results(str(out))
    cells = json.loads((out / "studies/tiny.cells.json").read_text())
    for cell in cells[:]:
        name = f"{cell['fingerprint']}-sharpness"
        own = results.row(cell["fingerprint"])
        results.append(name, {**own, **BLANK, "fingerprint": name, "cell": "sharpness", "planted": 0.25}, [], [])
        cells.append({**cell, "fingerprint": name, "kind": "sharpness", "has_maps": False})
    (out / "studies/tiny.cells.json").write_text(json.dumps(cells))
    page = page_of(out)
    tables = tables_of(page)
    assert tables["Results of each category: sharpness"].column("trained on") == tables[
        "Results of each category: detection"
    ].column("trained on")
    assert "+0.100 [+0.100, +0.100] · 4:0:0" in page
    assert "+0.000 [+0.000, +0.000] · 0:0:4" in page
    assert "Mean synthetic AUROC of sharpness over 2 categories" in page
    assert "paired difference of image AUROC with" in page
    assert "paired difference of synthetic AUROC with" in page
    assert "Dot plot: synthetic AUROC of every support by arm, coin, sharpness" in charts_of(page)


def test_rows_without_any_metric_are_shown_without_numbers(out: Path) -> None:
    results = Results(str(out))
    for fingerprint, own in results.rows().items():
        results.append(fingerprint, {**own, **BLANK, "similarity": None}, [], [])
    page = page_of(out)
    assert "12 of 12 cells finished" in page
    assert not any(title.startswith("Mean") for title in tables_of(page))
    assert not any("Dot plot" in chart for chart in charts_of(page))
    assert "mean ± std over 2 supports; fewer than" in page


def test_many_variants_have_one_answer_together(out: Path) -> None:
    results = Results(str(out))
    cells = json.loads((out / "studies/tiny.cells.json").read_text())
    for kind, auroc in (("worst", 0.74), ("naive", 0.76), ("only_word", 0.75)):
        for cell in [cell for cell in cells if cell["fingerprint"].endswith("-generated")]:
            own, name = results.row(cell["fingerprint"]), f"{cell['fingerprint']}-{kind}"
            results.append(name, {**own, "fingerprint": name, "prompt_kind": kind, "image_auroc": auroc}, [], [])
            cells.append({**cell, "fingerprint": name, "has_maps": False})
    (out / "studies/tiny.cells.json").write_text(json.dumps(cells))
    page = page_of(out)
    answers = re.findall(r'<p class="answer">(.*?)</p>', page, flags=re.DOTALL)
    assert [text.split(":")[0] for text in answers] == [
        "generated beats plain augmentation on 2 of 2 categories in image AUROC",
        "generated beats the originals alone on 2 of 2 categories in image AUROC",
        "2 of 4 variants beat plain augmentation in the mean; the best of them is generated",
    ]
