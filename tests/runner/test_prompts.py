"""``goodshot prompts``: words, prompts and their ranking against a real photograph, and one line for every mistake."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import skimage.data
from PIL import Image

from goodshot.components.prompts import Ranking, open_wordnet
from goodshot.runner.cli import main
from goodshot.runner.photographs.prompts import prompt_config
from goodshot.runner.stages.base import Context, Support
from goodshot.runner.stages.prompt import PromptStage
from goodshot.runner.store.artifacts import Store

ROOT = Path(__file__).parents[2]
EMBEDDED = ["--wordnet", "embedded"]


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """Coins, cut from scikit-image's photograph of them."""
    path = tmp_path / "photographs" / "coins.png"
    path.parent.mkdir()
    Image.fromarray(skimage.data.coins()[:200, :200]).save(path)
    return path


def test_without_photographs_words_by_relation_and_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "hazelnut", *EMBEDDED]) == 0
    shown = capsys.readouterr().out
    assert "15 words of WordNet (embedded 3.0)" in shown
    assert re.search(r"synonyms +5 +cob, cobnut, filbert, hazel, hazelnut tree", shown)
    assert re.search(r"member holonyms +2 +corylus, genus corylus", shown)
    assert shown.count("a hazelnut with ") == 15
    assert main(["prompts", "wood", *EMBEDDED, "--top", "7", "--hops", "2", "--relation", "hyponyms"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("a wood with ") == 7
    assert "(--top 0 shows all)" in shown
    assert "synonyms" not in shown


def loaded_by(*arguments: str) -> set[str]:
    """Which of the slow packages a call of the command imports."""
    heavy = ["torch", "transformers", "timm", "torchvision", "nltk", "pandas", "ray", "matplotlib"]
    call = f"from goodshot.runner.cli import main; assert main({list(arguments)!r}) == 0"
    code = f"import sys; {call}; print(*[m for m in {heavy!r} if m in sys.modules])"
    # More threads than free cores take longer to wait for each other than one to compute.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_words_that_were_asked_before_are_answered_without_loading_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOODSHOT_CACHE", str(tmp_path / "cache"))
    words = ("prompts", "coin", *EMBEDDED)
    assert "nltk" in loaded_by(*words)
    assert loaded_by(*words) == set()


@pytest.mark.slow
def test_what_was_ranked_before_is_answered_without_loading_a_network(
    photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOODSHOT_CACHE", str(tmp_path / "cache"))
    ranked = ("prompts", "coin", *EMBEDDED, "--images", str(photograph))
    assert {"timm", "transformers"} <= loaded_by(*ranked)
    assert loaded_by(*ranked) == {"torch"}
    # Another photograph is embedded, but no text.
    Image.fromarray(skimage.data.coins()[50:250, 50:250]).save(photograph)
    assert loaded_by(*ranked) & {"timm", "transformers"}


@pytest.mark.slow
def test_a_damaged_memory_costs_only_the_time(
    photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOODSHOT_CACHE", str(tmp_path / "cache"))
    command = ["prompts", "coin", *EMBEDDED, "--images", str(photograph)]
    assert main(command) == 0
    first = capsys.readouterr().out
    kept = [p for folder in ("wordnet", "embeddings") for p in (tmp_path / "cache" / folder).rglob("*.*")]
    assert {p.suffix for p in kept} == {".json", ".npy"}
    for i, path in enumerate(kept):
        path.write_bytes(path.read_bytes()[: [0, 7, 60, 200][i % 4]])
    assert main(command) == 0
    assert capsys.readouterr().out == first
    # And where nothing can be kept.
    monkeypatch.setenv("GOODSHOT_CACHE", str(photograph))
    assert main(command) == 0
    assert capsys.readouterr().out == first


def test_senses_are_listed_and_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "nut", *EMBEDDED, "--senses"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"nut\.n\.02 +Egyptian goddess of the sky", listed)
    assert len(re.findall(r"nut\.n\.\d\d", listed)) == 7
    assert main(["prompts", "nut", *EMBEDDED, "--sense", "nut.n.03", "--top", "0"]) == 0
    shown = capsys.readouterr().out
    assert "a nut with wing nut" in shown
    assert "hazelnut" not in shown


def test_a_compound_has_the_words_of_its_head_noun(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "magnetic tile", "--wordnet", "extract", "--sense", "tile.n.01", "--top", "0"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("magnetic tile: not in WordNet, so its words are those of tile; ")
    assert re.search(r"magnetic tile: \d+ words\s+of\s+WordNet\s+\(embedded\s+3\.0\)", shown)
    assert "a magnetic tile with tessera" in shown
    assert main(["prompts", "tile", *EMBEDDED]) == 0
    assert "not in WordNet" not in capsys.readouterr().out


def test_a_ranking_names_what_matters(photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "made" / "ranking.json"
    arguments = ["prompts", "coin", *EMBEDDED, "--images", str(photograph), "--json", str(written), "--top", "5"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    ranking = Ranking.from_json(written.read_text())
    assert ranking.to_json() == written.read_text()
    assert len(re.findall(r" best +$", shown, re.MULTILINE)) == 1
    best = ranking.best
    assert re.search(rf"1 +{best.prompt} +{best.cosine:.3f} +{best.distance:.3f} +yes +best", shown)
    assert re.search(rf"{len(ranking.rows)} +{ranking.worst.prompt} .* worst", shown)
    assert re.search(rf"– +a coin +{ranking.only_word.cosine:.3f} .* only word", shown)
    assert re.search(rf"– +a photo of a coin +{ranking.naive.cosine:.3f} .* naive", shown)
    assert "…" in shown
    assert "WordNet embedded 3.0 · encoder conse-lite0-minilm · 1 photograph · " in shown
    low, high = (f(row.distance for row in ranking.rows) for f in (min, max))
    assert f"distances {low:.3f} to {high:.3f}; stage 1 keeps what is farther than 0.5" in shown
    assert all(row.text_cosine is not None and row.kept for row in ranking.rows)
    assert (ranking.threshold, ranking.keep) == (0.5, "farther")
    assert f"written: {written}" in shown


def test_it_ranks_as_a_study_does(photograph: Path, tmp_path: Path) -> None:
    second = photograph.with_name("more.png")
    Image.fromarray(skimage.data.coins()[100:300, 100:300]).save(second)
    written = tmp_path / "r.json"
    assert main(["prompts", "coin", *EMBEDDED, "--images", str(photograph.parent), "--json", str(written)]) == 0
    own = Ranking.from_json(written.read_text())
    words, config = open_wordnet("embedded").words("coin"), prompt_config(wordnet="embedded")
    stage = PromptStage(
        key="prompt/x",
        support=Support("", (), ()),
        object_name="coin",
        words=words,
        config=config,
        encoder="conse-lite0-minilm",
    )
    originals = [np.asarray(Image.open(path).convert("RGB")) for path in (photograph, second)]
    store = Store(str(tmp_path / "store"))
    stage.run(Context(store, read=lambda value: originals), [stage])
    stored = Ranking.from_json(store.get("prompt/x").read("ranking.json"))
    assert [row.prompt for row in own.rows] == [row.prompt for row in stored.rows]
    assert [row.cosine for row in own.rows] == pytest.approx([row.cosine for row in stored.rows], abs=1e-5)


def test_outliers_are_shown_as_dropped(photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranked = ["prompts", "coin", *EMBEDDED, "--images", str(photograph), "--json", str(tmp_path / "r.json")]
    assert main(ranked) == 0
    rows = Ranking.from_json((tmp_path / "r.json").read_text()).rows
    middle = sorted(row.distance for row in rows)[len(rows) // 2]
    capsys.readouterr()
    assert main([*ranked, "--threshold", str(middle), "--keep", "nearer", "--top", "0"]) == 0
    shown = capsys.readouterr().out
    again = Ranking.from_json((tmp_path / "r.json").read_text())
    assert shown.count("dropped") == sum(not row.kept for row in again.rows) == len(rows) - len(rows) // 2
    assert main([*ranked, "--threshold", "2"]) == 2
    assert "change prompt.threshold or prompt.keep" in capsys.readouterr().err


def test_the_chart_is_figure_8_in_two_panels(photograph: Path, tmp_path: Path) -> None:
    charts = [tmp_path / name for name in ("a.svg", "b.svg")]
    for chart in charts:
        assert main(["prompts", "coin", *EMBEDDED, "--images", str(photograph), "--chart", str(chart)]) == 0
    text = charts[0].read_text()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314
    # Text is drawn as outlines, each after a comment that says it.
    for said in ("Input text, each prompt", "Input image, each prompt", "(best)", "(worst)", "(only word)", "(naive)"):
        assert said in text
    assert "nearer than 0.5, dropped by stage 1" in text
    assert charts[0].read_bytes() == charts[1].read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.svg", "b.svg", "photographs"}


def test_an_unknown_word_is_one_line_that_says_what_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "hazlnut", *EMBEDDED]) == 2
    line = capsys.readouterr().err
    assert re.match(
        r"goodshot: 'hazlnut' is no noun in WordNet \(embedded 3\.0\); nearest: hazelnut, \w+.*; "
        r"run: goodshot prompts hazelnut\n$",
        line,
    )
    assert line.count("\n") == 1


@pytest.mark.parametrize(("typed", "named"), [(b"1\n", "hazelnut"), (b"9\n2\n", "walnut"), (b"\n", "hazelnut")])
def test_on_a_terminal_it_asks(typed: bytes, named: str) -> None:
    """A real terminal: the nearest numbered, another number asked for again, the first by default."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "goodshot.runner.cli", "prompts", "hazlnut", *EMBEDDED]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, close_fds=True) as process:
        os.close(slave)
        shown, answered = b"", False
        while True:
            try:
                read = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            shown += read
            if not read:
                break
            if b"Which one?" in shown and not answered:
                os.write(master, typed)
                answered = True
    os.close(master)
    text = shown.decode()
    assert process.returncode == 0, text
    assert re.search(r"the nearest:\s+1  hazelnut\s+2  walnut\s", text)
    assert f"a {named} with " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sense", "hazelnut.n.09"], r"hazelnut\.n\.09 is no sense of .* choose of hazelnut\.n\.01 any of"),
        (["--sense", "second"], r"--sense: sense 'second' must read <noun>\.n\.<number>"),
        (["--relation", "antonyms"], r"--relation: must be 'synonyms', .* \(given: 'antonyms'\)"),
        (["--relation", "part_meronyms", "--sense", "hazelnut.n.02"], r"hazelnut\.n\.02: WordNet has no words for it"),
        (["--relation", "substance_holonyms"], "has no words by these relations; choose more of them"),
        (["--template", "a {object}"], r"--template: template .* must hold"),
        (["--wordnet", "princeton"], r"--wordnet: must be 'auto', "),
        (["--keep", "some"], r"--keep: must be 'farther' or 'nearer' \(given: 'some'\)"),
        (["--hops", "4"], "hops"),
        (["--json", "r.json"], "--json: holds a ranking, and a ranking needs photographs; add --images"),
        (["--chart", "r.svg"], "--chart: holds a ranking"),
        (["--images", "nowhere"], "nowhere: no such folder"),
        (["--images", "{folder}", "--chart", "r.png"], r"--chart r\.png: is drawn as SVG; name it r\.svg"),
        (["--images", "{folder}", "--json", "{folder}"], "is a folder; give a file's name"),
        (["--images", "{folder}", "--encoder", "clip"], "unknown encoder 'clip'"),
        (["--images", "{broken}"], r"broken\.png: not a readable image"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    photograph: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = photograph.with_name("broken.png")
    broken.write_text("no image")
    empty = photograph.parent / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    given = [a.format(folder=photograph.parent, broken=broken) if a[0] == "{" else a for a in arguments]
    source = [] if "--wordnet" in given else EMBEDDED
    assert main(["prompts", "hazelnut", *source, *given]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert not list(empty.iterdir())
