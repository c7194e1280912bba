"""Objects that WordNet lacks, through the commands: the words of a head noun, or one prompt without words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import skimage.data
import yaml
from PIL import Image

from goodshot.runner.cli import main
from tests.conftest import TINY
from tests.runner.report_pages import tables_of

HEAD = "magnetic tile: not in WordNet, so its words are those of tile; for other words name another noun"
NAIVE = "fryum: not in WordNet, so its only prompt is “a photo of a fryum”"


@pytest.fixture
def study(photographs: Path, tmp_path: Path) -> str:
    """The file of a tiny study of coins."""
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**TINY, "dataset": {"name": "demo", "root": str(photographs)}}))
    return str(path)


def test_a_plan_says_whose_words_an_object_has(study: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", study, "--set", "objects={coin: magnetic tile}", "--set", "prompt.senses=[tile.n.01]"]) == 0
    assert capsys.readouterr().out.count(HEAD) == 1
    # A study without prompts has no words.
    assert main(["plan", study, "--set", "objects={coin: magnetic tile}", "--set", "arms=[original]"]) == 0
    assert HEAD not in capsys.readouterr().out


def test_an_unknown_object_is_planned_only_without_words(study: str, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = ["plan", study, "--set", "objects={coin: fryum}"]
    assert main(unknown) == 2
    error = capsys.readouterr().err
    assert error.startswith("goodshot: 'fryum' is no noun in WordNet (")
    assert "name the object by another noun (the study's objects: " in error
    assert error.endswith("or do without words: --no-words\n")
    assert error.count("\n") == 1
    assert main([*unknown, "--no-words"]) == 0
    assert capsys.readouterr().out.count(NAIVE) == 1


def test_a_study_without_words_runs_and_its_page_shows_the_only_prompt(
    study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    out = tmp_path / "out"
    # Stage 1 would drop the prompt.
    settings = ["--set", "objects={coin: fryum}", "--set", "prompt.threshold=2", "--set", "prompt_kind=[best, worst]"]
    assert main(["sweep", study, "--local", "--no-words", "--out", str(out), *settings]) == 0
    assert capsys.readouterr().out.count(NAIVE) == 1
    page = (out / "report.html").read_text()
    assert "The only prompt of coin" in page
    assert "best is a photo of a fryum" in page
    prompts = tables_of(page)["The only prompt of coin, support 0"]
    assert prompts.column("prompt") == ["a photo of a fryum", "a fryum"]
    assert prompts.column("word")[1] == "(comparator)"


@pytest.mark.parametrize(
    ("name", "line", "prompt"), [("fryum", NAIVE, "a photo of a fryum"), ("magnetic tile", HEAD, "")]
)
def test_images_are_generated_of_an_object_that_wordnet_lacks(
    name: str, line: str, prompt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(skimage.data.coins()[:200, :200]).save(tmp_path / "a.png")
    tiny = [f"--set=generator.{key}={json.dumps(value)}" for key, value in TINY["generator"].items()]
    few = ["--copies=2", "--iterations=2", "--set=score_every=2", "--device=cpu"]
    command = ["generate", "--images", str(tmp_path / "a.png"), "--object", name, "--out", str(tmp_path / "out")]
    assert main([*command, *few, *tiny, "--no-words"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count(line) == 1
    record = json.loads((tmp_path / "out" / "generated.json").read_text())
    assert record["prompt"] == prompt or (not prompt and record["prompt"].startswith("a magnetic tile with "))
    assert f"the most similar to “{record['prompt']}”" in captured.out
