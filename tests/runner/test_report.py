"""The report from rows and artifacts made by hand: what it says, what it does without, and that it stands alone."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.data.images import encode_png
from components.data.sample import Sample
from components.data.shards import write_split
from components.errors import BadInput
from components.metrics.detection import IMAGE_SET
from components.prompts.ranking import Prompt, RankedPrompt, Ranking
from runner.record import CellRecord, read_records
from runner.report import readme_figure, write_readme_figure, write_report
from runner.report.charts import listed_prompts
from runner.report.page import PromptView
from runner.results import Results
from runner.run import Options
from runner.settings import to_yaml, validate
from runner.store import Store, arrays_bytes
from runner.trials import Ledger, Report, State
from tests.conftest import TINY

AUROC = {"original": 0.7, "augmented": 0.75, "generated": 0.8}
EVIL = "a <script>alert(1)</script> with coin"


def row(category: str, seed: int, arm: str) -> dict[str, object]:
    generated = {"vq_weight": 1.0, "iterations": 4, "chosen_iteration": 2, "similarity": 0.5, "prompt": EVIL}
    kinds = {"prompt_kind": "best", "select": "text", "variance": "estimated", "detail": "none", "post_augment": "none"}
    return {
        "study": "tiny",
        "dataset": "demo",
        "category": category,
        "shots": "1",
        "support_seed": seed,
        "seed": seed,
        "arm": arm,
        "copies": 0 if arm == "original" else 2,
        "image_auroc": AUROC.get(arm, 0.7) + seed / 100,
        "pixel_auroc": 0.9,
        "aupro": 0.6,
        "detector": "patchcore-lite0",
        "image_size": 64,
        "n_test": 4,
        "device": "cpu",
        "commit": "abc",
        "versions": json.dumps({"torch": "2"}),
        **(generated | kinds if arm == "generated" else {}),
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two categories, two seeds, three arms, with every artifact a report may show."""
    results, store = Results(str(tmp_path)), Store(str(tmp_path / "store"))
    rng = np.random.default_rng(0)
    cells = []
    for category in ("brick", "coin"):
        put_shared(store, category, rng, tmp_path)
        for seed in (0, 1):
            for arm in AUROC:
                fingerprint = f"{category}-{seed}-{arm}"
                results.append(fingerprint, {**row(category, seed, arm), "fingerprint": fingerprint}, [], [])
                masks = np.zeros((2, 16, 16), bool)
                masks[1, 4:8, 4:8] = True
                arrays = {"images": pixels(rng, 2), "masks": masks, "maps": rng.random((2, 16, 16)).astype(np.float16)}
                info = {"image_ids": ["test/good/0.png", "test/stain/0.png"]}
                store.put(f"maps/{fingerprint}", {"maps.safetensors": arrays_bytes(arrays)}, info)
                cells.append(asdict(record(fingerprint, category, arm, seed)))
    study = validate({**TINY, "dataset": {"name": "demo"}, "support_seeds": [0, 1]}, "tiny")
    results.files.write("studies/tiny.yaml", to_yaml(study).encode())
    results.files.write("studies/tiny.cells.json", json.dumps(cells).encode())
    return tmp_path


def pixels(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 255, (count, 16, 16, 3), dtype=np.uint8)


def record(fingerprint: str, category: str, arm: str, seed: int) -> CellRecord:
    own = arm == "generated"
    return CellRecord(
        fingerprint=fingerprint,
        category=category,
        arm=arm,
        seed=seed,
        shard=f"shard/{category}",
        support_ids=("train/good/0.png",),
        prompt=f"prompt/{category}" if own else None,
        generator=f"generator/{category}-{seed}" if own else None,
        image_set=f"image_set/{category}" if own else None,
        has_maps=seed == 0,
    )


def put_shared(store: Store, category: str, rng: np.random.Generator, tmp_path: Path) -> None:
    data = encode_png(pixels(rng, 1)[0])
    image_id = "train/good/0.png"
    file = tmp_path / image_id.replace("/", "-")
    file.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    sample = Sample(image_id, "demo", category, "train", "good", 0, file, 16, 16, sha256)
    store.put(f"shard/{category}", {"train.arrow": lambda sink: write_split([sample], "train", sink)}, {})
    ranked = RankedPrompt(prompt=EVIL, word="coin", distance=1.1, cosine=0.4, kept=True)
    plain = Prompt(prompt="a coin", distance=1.2, cosine=0.3)
    ranking = Ranking(object_name="coin", encoder="conse", rows=(ranked,), only_word=plain, naive=plain)
    text = arrays_bytes({"best": np.array([1.0, 0.0], np.float32)})
    store.put(f"prompt/{category}", {"ranking.json": ranking.to_json().encode(), "embeddings.safetensors": text}, {})
    losses = {f"loss_{name}": np.array([1.0, 0.5, 0.2]) for name in LOSSES}
    trace = {"iterations": np.array([2, 4]), "embeddings": rng.random((2, 2, 2)).astype(np.float32), **losses}
    store.put(f"generator/{category}/trace", {"trace.safetensors": arrays_bytes(trace)}, {})
    info = {"iteration": 2, "generator": f"generator/{category}", "trace": "trace", "copies": 2}
    store.put(f"image_set/{category}", {"images.safetensors": arrays_bytes({"images": pixels(rng, 2)})}, info)


LOSSES = ("iteration", "total", "mse", "reconstruction", "perceptual", "codebook")


def page_of(out: Path) -> str:
    assert write_report(Options(str(out))) == f"{out}/report.html"
    return (out / "report.html").read_text()


def redeclare(out: Path, name: str, **fields: object) -> None:
    """Write the study's record anew under that name with some fields replaced."""
    study = validate({**TINY, "dataset": {"name": "demo"}, "support_seeds": [0, 1], "name": name, **fields}, name)
    (out / f"studies/{name}.yaml").write_text(to_yaml(study))
    (out / f"studies/{name}.cells.json").write_bytes((out / "studies/tiny.cells.json").read_bytes())


def test_the_page_holds_the_numbers_and_the_pictures(out: Path) -> None:
    page = page_of(out)
    assert "0.705 ± 0.007" in page
    assert "0.805 ± 0.007" in page
    assert "generated vs original: +0.100 [+0.100, +0.100] over 4 pairs (4 better, 0 worse, 0 equal)" in page
    assert "excludes zero" in page
    assert "a report, not a claim" in page
    assert "iteration α = 2 of L = 4" in page
    assert re.search(r"difference from the maps of original: augmented 0\.\d+, generated 0\.\d+\.", page)
    spread, gallery, maps, curves, prompts = 1, 3, 1, 2, 1
    assert page.count("data:image/") == 2 * (spread + gallery + maps + curves + prompts)
    assert page.count("<img") == page.count(" alt=")


def test_it_stands_alone_and_escapes_what_it_is_given(out: Path) -> None:
    page = page_of(out)
    assert not re.search(r"https?://", page)
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


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
    assert "by augmented, generated" in page
    assert "0.805 ± 0.007" in page


def test_a_half_finished_study_compares_what_there_is(out: Path) -> None:
    (out / "results/coin-1-original.parquet").unlink()
    page = page_of(out)
    assert "11 of 12 cells finished" in page
    assert "over 2 categories, 3 cells per arm" in page
    assert "over 3 pairs" in page


def test_a_study_without_rows_says_so(out: Path) -> None:
    for path in (out / "results").iterdir():
        path.unlink()
    assert "No cell of this study has finished yet" in page_of(out)


def test_a_sweep_shows_heatmaps_its_choice_and_the_shared_steps(out: Path) -> None:
    redeclare(out, "tiny", vq_weight=[0.3, 1.0])
    (out / "runs").mkdir()
    run = {"generator_steps": {"generator/brick-0?encoder=conse": 2, "generator/elsewhere?": 9}, "seconds": 1.0}
    (out / "runs/1.json").write_text(json.dumps(run))
    page = page_of(out)
    assert "Heatmap: image AUROC, patchcore-lite0" in page
    assert "prefers λ = 1, copies = 2, L = 4" in page
    assert "<h3>Search</h3>" not in page  # as of an --out from before trials were kept
    assert "Generator steps: 2 executed" in page
    assert "its own takes 6 (3.0 times as many)" in page


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
    only_word, naive = (Prompt(prompt=text, distance=1.2, cosine=c) for text, c in (("a coin", 0.6), ("a photo", 0.0)))
    ranking = Ranking(object_name="coin", encoder="conse", rows=rows, only_word=only_word, naive=naive)
    listed = listed_prompts(PromptView("coin", "support 0", ranking))
    assert [kind for kind, _ in listed] == ["only word", "best", *[""] * 13, "worst", "naive"]
    assert [prompt.prompt for _, prompt in listed[1:-1]] == [f"a coin with {i}" for i in (*range(10), *range(35, 40))]


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
    assert (tmp_path / "demo.png").read_bytes() == readme_figure(Options(str(out)))
    with Image.open(tmp_path / "demo.png") as image:
        assert (image.format, image.width) == ("PNG", 1200)


def test_the_readme_picture_needs_maps(out: Path) -> None:
    for commit in (out / "store/maps").rglob("commit.json"):
        commit.unlink()
    with pytest.raises(BadInput, match="anomaly maps"):
        readme_figure(Options(str(out)))


def test_a_report_starts_neither_ray_nor_torch() -> None:
    code = "import runner.report, sys; sys.exit(bool({'ray', 'torch'} & sys.modules.keys()))"
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
    tables = re.findall(r"<caption>(.*?)</caption>.*?</table>", page, flags=re.DOTALL)
    assert tables == [
        f"{category}, patchcore-lite0: {title}"
        for category in ("brick", "coin")
        for title in ("image AUROC by kind of defect", "AU-sPRO (FPR ≤ 0.05) by kind of defect", "further metrics")
    ]
    heads = re.findall(r"<caption>.*?<thead>(.*?)</thead>", page, flags=re.DOTALL)
    assert re.findall(r'col">(.*?)</th>', heads[0]) == ["logical anomalies", "structural anomalies", "mean"]
    assert re.findall(r'col">(.*?)</th>', heads[2]) == ["image AP"]
    assert "0.665 ± 0.000" in page
    assert "0.234" not in page


def test_the_images_added_have_a_table_of_their_own(out: Path) -> None:
    values = {"ssim": 0.912, "psnr": 28.4, "lpips_lite0": 0.31, "is_lite0": 1.2, "diversity_lpips_lite0": float("nan")}
    add_metrics(out, {(IMAGE_SET, metric): value for metric, value in values.items()})
    page = page_of(out)
    assert re.findall(r"<caption>(.*?)</caption>", page) == [
        f"{category}, patchcore-lite0: the images added" for category in ("brick", "coin")
    ]
    head = re.findall(r"<caption>.*?<thead>(.*?)</thead>", page, flags=re.DOTALL)[0]
    # The substitutes keep their own names, and what nobody defines has no column.
    assert re.findall(r'col">(.*?)</th>', head) == ["SSIM", "PSNR, dB", "lpips_lite0", "is_lite0"]


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
    (study,) = (record.study for record in read_records(Results(str(out))) if record.study.name == name)
    ledger = Ledger(Results(str(out)), study)
    ledger.write(replace(ledger.begin(values), state=state, reports=reports))


@pytest.fixture
def searched(out: Path) -> Path:
    """Optuna and ASHA chose the second of three points; the first was stopped, and its rows differ in no column."""
    results = Results(str(out))
    cells = json.loads((out / "studies/tiny.cells.json").read_text())
    for cell in [cell for cell in cells if cell["arm"] == "generated"]:
        own, name = results.row(cell["fingerprint"]), cell["fingerprint"].replace("-generated", "-other")
        results.append(name, {**own, "fingerprint": name, "image_auroc": 0.111, "similarity": 0.3}, [], [])
        own_keys = {"generator": f"generator/{name}", "image_set": f"image_set/{name}"}
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
    """The texts of a table's cells."""
    (body,) = re.findall(rf'aria-label="{label}.*?<tbody>(.*?)</tbody>', page, flags=re.DOTALL)
    found = re.findall(r"<tr.*?>(.*?)</tr>", body, flags=re.DOTALL)
    return [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<td.*?</td>", line, flags=re.DOTALL)] for line in found]


def test_a_search_shows_the_rows_and_pictures_of_the_chosen_point_alone(searched: Path) -> None:
    page = page_of(searched)
    assert "0.805 ± 0.007" in page
    assert [line[1] for line in lines(page, "Results of")] == ["original", "augmented +2", "generated +2"] * 2
    assert "generated vs original: +0.100 [+0.100, +0.100] over 4 pairs" in page
    assert "prefers λ = 1, copies = 2, L = 4, generator.learning_rate = 0.0002, variance = estimated" in page
    assert "3 hyperparameter points, 16 of 16 cells finished" in page
    assert "Generated image 2 of coin" in page
    assert "by original, augmented, generated" in page
    assert "Line chart: similarity per iteration, coin" in page
    assert "the store does not hold it" not in page  # nothing was wanted of the other points
    assert "Heatmap" not in page


def test_a_search_lists_its_trials(searched: Path) -> None:
    page = page_of(searched)
    assert lines(page, "Table of the trials") == [
        ["2", "0.5000", "4", "complete, chosen", "2", "0.0002", "estimated"],
        ["1", "0.3000", "2", "stopped early", "2", "0.005", "unit"],
        ["3", "–", "–", "failed", "3", "0.005", "unit"],
    ]
    assert page.count('<tr class="chosen">') == 1
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
    assert "of every trial by copies, generator.learning_rate, variance" in page
    assert "in the order of their start, and the best so far" in page
    assert "Line chart: similarity that every trial reported over L" in page
    assert "Hollow" in page
    assert page.count("<img") == page.count(" alt=")


def test_a_long_search_shows_its_best_trials(searched: Path) -> None:
    for i in range(40):
        values = {"vq_weight": 1.0, "copies": 1 + i % 4, "generator.learning_rate": 0.001, "variance": "unit"}
        tried(searched, values, "complete", Report(4, 0.4 + i / 1000, ()))
    page = page_of(searched)
    assert [line[0] for line in lines(page, "Table of the trials")] == ["2", *(str(n) for n in range(43, 14, -1))]
    assert "The best 30 are shown, 13 more are not." in page


def test_a_search_without_a_value_names_its_trials_and_compares_nothing(searched: Path) -> None:
    for path in (searched / "trials").iterdir():
        path.unlink()
    assert "nothing to compare" in page_of(searched)
    tried(searched, {"vq_weight": 1.0, "copies": 3, "variance": "<b>"}, "running")
    page = page_of(searched)
    assert "tried 1 of 3 points: 0 complete, 0 failed, 1 not ended. No point" in page
    assert [line[3] for line in lines(page, "Table of the trials")] == ["not ended"]
    assert "data:image/" not in page


def test_a_killed_search_has_its_numbers_and_says_when_its_pictures_follow(searched: Path) -> None:
    (searched / "studies/tiny.cells.json").write_text("[]")
    page = page_of(searched)
    assert "on demo (brick, coin)" in page
    assert "generated vs original: +0.100" in page
    assert "its pictures follow" in page


def test_a_sweep_with_trials_compares_all_points_and_pictures_the_chosen_one(out: Path) -> None:
    redeclare(out, "tiny", vq_weight=[1.0, 0.3])
    tried(out, {"vq_weight": 1.0, "copies": 2, "iterations": 4}, "complete", Report(4, 0.5, BEST))
    tried(out, {"vq_weight": 0.3, "copies": 2, "iterations": 4}, "complete", Report(4, 0.4, OTHER))
    page = page_of(out)
    assert "Heatmap: image AUROC, patchcore-lite0" in page
    assert "prefers λ = 1, copies = 2, L = 4 (similarity 0.500) among 2 points: image AUROC 0.805" in page
    assert "A grid (no scheduler: every point goes to its end) tried 2 points, which differ in vq_weight" in page
    assert "Generated image 2 of coin" in page
    assert "reported over L" not in page


def test_many_trials_make_no_large_page(searched: Path) -> None:
    before = len(page_of(searched))
    for i in range(320):
        values = {"vq_weight": 1.0, "copies": 1 + i % 4, "generator.learning_rate": 0.001, "variance": "unit"}
        tried(searched, values, "complete", Report(2, 0.3, ()), Report(4, 0.4 + i / 1000, ()))
    assert len(page_of(searched)) < before + 200_000
