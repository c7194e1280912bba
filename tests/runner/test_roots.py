"""``--root``: one folder for each dataset, given once for all studies of an experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from goodshot import experiments
from goodshot.components.errors import BadInput
from goodshot.runner.cli import main
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.named import load_studies
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.roots import folders_of, rooted
from goodshot.runner.study.study import Study
from tests.data import miniatures

BOTH = ("mvtec_loco", "btad")


def study(name: str, **fields: object) -> Study:
    cheap = {"arms": ["original"], "support_seeds": [0], "detectors": [{"image_size": 64}]}
    return Study.model_validate({"name": f"of_{name}", "dataset": {"name": name}, **cheap, **fields})


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> str:
    """An experiment over two datasets."""
    both = tuple(map(study, BOTH))
    monkeypatch.setattr(experiments, "EXPERIMENTS", (Experiment("two", "Two datasets", lambda: both),))
    return "two"


def test_each_study_reads_the_folder_of_its_dataset(two: str) -> None:
    _, studies = load_studies(two, roots=["btad=/data/b", "mvtec_loco=~/l"])
    assert {one.dataset.name: one.dataset.root for one in studies} == {"btad": "/data/b", "mvtec_loco": "~/l"}
    assert [one.dataset.root for one in load_studies(two, roots=["btad=s3://b/c?region=x"])[1]] == [
        None,
        "s3://b/c?region=x",
    ]
    # The folder given by --root takes precedence over the field.
    _, studies = load_studies(two, ["dataset.root=/elsewhere"], roots=["btad=/data/b"])
    assert [one.dataset.root for one in studies] == ["/elsewhere", "/data/b"]


def test_the_only_dataset_needs_no_name(tmp_path: Path) -> None:
    (one,) = rooted([study("btad")], ["/data/b"])
    assert one.dataset == DatasetConfig(name="btad", root="/data/b")
    assert one.model_copy(update={"dataset": DatasetConfig(name="btad")}) == study("btad")
    strange = tmp_path / "a=b"
    strange.mkdir()
    assert folders_of(("btad",), [str(strange)]) == {"btad": str(strange)}
    assert folders_of(("btad",), [f"btad={strange}"]) == {"btad": str(strange)}


def test_sources_of_a_predicted_variance_are_datasets_too() -> None:
    variation = {
        "variance": ["predicted"],
        "arms": ["generated"],
        "generator": {"init": "embedded", "vqgan": "embedded"},
        "variation_sources": [{"name": "mvtec_ad"}, {"name": "btad"}],
    }
    (one,) = rooted([study("btad", **variation)], ["btad=/b", "mvtec_ad=/a"])
    assert [source.root for source in one.variation_sources] == ["/a", "/b"]
    assert one.dataset.root == "/b"


@pytest.mark.parametrize(
    ("roots", "message"),
    [
        (["/data"], "several datasets are read; name the folder of each: --root mvtec_loco=DIR --root btad=DIR"),
        (["mvtec_ad=/data"], "no dataset mvtec_ad is read; it can be mvtec_loco or btad"),
        (["btda=x"], "btda: no such dataset; did you mean btad"),
        (["btad="], "the folder is missing; write it as btad=DIR"),
        (["btad=/a", "btad=/b"], "btad has a folder already, /a; give one"),
    ],
)
def test_a_wrong_root_is_one_line(roots: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        folders_of(BOTH, roots)
    assert "\n" not in str(caught.value)


def test_plan_and_doctor_take_the_folders_of_an_experiment(
    two: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = [
        f"--root=mvtec_loco={miniatures.loco(tmp_path / 'loco')}",
        f"--root=btad={miniatures.btad(tmp_path / 'btad')}",
    ]
    assert main(["plan", two, *roots]) == 0
    assert "4 cells" in capsys.readouterr().out
    assert main(["doctor", two, *roots]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "btad here 3 categories, 21 images" in said
    assert "mvtec_loco here 1 categories, 10 images" in said
    assert main(["plan", two, roots[0]]) == 2
    assert "dataset.root: btad has to be somewhere on this machine; --root btad=DIR" in capsys.readouterr().err
    assert main(["doctor", two, roots[0]]) == 1
    assert "goodshot fetch btad --root DIR, then --root btad=DIR" in " ".join(capsys.readouterr().out.split())


def test_fetch_takes_the_folders_of_an_experiment(two: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = miniatures.btad(tmp_path / "btad")
    assert main(["fetch", two, "--root", f"btad={root}"]) == 0
    said = capsys.readouterr().out
    assert f"{root}: holds every category of btad already" in said
    assert "dataset mvtec_loco: not fetched, as no folder is given; name one with --root mvtec_loco=DIR" in said
    assert "experiment two: every weight that it needs is here" in said
