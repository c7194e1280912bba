"""The command line's contract: bad input is one line, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from goodshot.runner.cli import main

SUITABLE = ["--set", "categories=[coin]", "--set", "support_seeds=[0]"]


@pytest.fixture
def data(photographs: Path, tmp_path: Path) -> Path:
    """A copy of one category that a test may damage."""
    shutil.copytree(photographs / "coin", tmp_path / "data" / "coin")
    return tmp_path / "data"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """The one line of a refused command."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 1
    assert "Traceback" not in captured.err
    return captured.err


def sweep(data: Path, out: Path) -> list[str]:
    return ["sweep", "oneshot_lite0", "--set", f"dataset.root={data}", *SUITABLE, "--out", str(out)]


def first(data: Path, pattern: str) -> Path:
    return sorted((data / "coin").glob(pattern))[0]


def no_root(data: Path) -> None:
    shutil.rmtree(data)


def empty_root(data: Path) -> None:
    shutil.rmtree(data / "coin")


def empty_train(data: Path) -> None:
    for path in (data / "coin/train/good").iterdir():
        path.unlink()


def zero_bytes(data: Path) -> None:
    first(data, "test/good/*").write_bytes(b"")


def not_an_image(data: Path) -> None:
    first(data, "train/good/*").write_text("not an image")


def truncated(data: Path) -> None:
    path = first(data, "test/stain/*")
    path.write_bytes(path.read_bytes()[:200])


def mask_of_another_size(data: Path) -> None:
    Image.new("L", (64, 64)).save(first(data, "ground_truth/stain/*"))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (no_root, "data"),
        (empty_root, "holds no category"),
        (empty_train, "train/good"),
        (zero_bytes, "test/good/000.png"),
        (not_an_image, "train/good/000.png"),
        (truncated, "test/stain/000.png"),
        (mask_of_another_size, "ground_truth/stain/000_mask.png"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_data(
    damage: Callable[[Path], None], named: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(data)
    out = tmp_path / "out"
    assert named in refused(sweep(data, out), capsys)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sweep", "oneshot"], "oneshot_lite0"),
        (["sweep", "demo", "--set", "categories=[cion]"], "coin"),
        (["sweep", "demo", "--set", "copys=3"], "did you mean 'copies'"),
        (["sweep", "demo", "--set", "copies=-3"], "copies"),
        (["sweep", "demo", "--set", "iterations=0"], "iterations"),
        (["sweep", "demo", "--set", "vq_weight=.nan"], "vq_weight"),
        (["sweep", "demo", "--set", "shots=99"], "99"),
        (["sweep", "demo", "--outt", "x"], "--outt"),
        (["sweeep"], "sweeep"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments(
    arguments: list[str], named: str, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    located = ["--set", f"dataset.root={photographs}", "--out", str(out)] if arguments[0] == "sweep" else []
    assert named in refused([*arguments, *located], capsys)
    assert not out.exists()


def test_an_output_that_cannot_be_written(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    line = refused(sweep(data, tmp_path / "file" / "out"), capsys)
    assert "cannot be written" in line
    assert "--out" in line


def test_a_read_only_output(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever runs the tests may be root, to whom no folder is read-only; so the system call refuses instead.
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "touch", refuse)
    assert "Permission denied" in refused(sweep(data, tmp_path / "out"), capsys)
    assert not list((tmp_path / "out").iterdir())


def test_a_report_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no study" in refused(["report", str(tmp_path)], capsys)


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = "import sys; from goodshot.runner.cli import main; main(['--help']); print(HEAVY & sys.modules.keys() or [])"
    heavy = "HEAVY = {'torch', 'ray', 'anomalib', 'wandb', 'transformers', 'nltk', 'pyarrow', 'numpy', 'requests'}\n"
    done = subprocess.run([sys.executable, "-c", heavy + code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    for command in ("demo", "fetch", "shard", "sweep", "studies", "report"):
        assert command in done.stdout


def test_studies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studies"]) == 0
    listed = capsys.readouterr().out
    assert "demo_sweep" in listed
    assert "oneshot_lite0" in listed
