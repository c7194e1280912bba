"""`goodshot fetch` and `goodshot doctor` for weights and studies, from servers on loopback."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from goodshot.components import download as download_module
from goodshot.components.weights import registry, weight
from goodshot.components.weights.files import AtURL
from goodshot.runner.cli import main
from goodshot.runner.machine import doctor, fetching
from goodshot.runner.machine.needs import needs_of
from goodshot.runner.named import load_study
from tests.loopback import Hub, Served, closed_port, serving, serving_hub

CONTENT = b"weights of a network" * 999
WIDE = "timm/wide_resnet50_2.racm_in1k/model.safetensors"
CLIP = "timm/vit_base_patch32_clip_224.openai/open_clip_model.safetensors"


@pytest.fixture(autouse=True)
def _caches_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_HUB_OFFLINE", "HF_TOKEN", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GOODSHOT_CACHE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(download_module, "WAITS", (0.0,))
    # What other tests' imports have decided in this process.
    monkeypatch.setattr(doctor, "torch_cache", lambda: tmp_path / "torch")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub({WIDE: CONTENT, CLIP: CONTENT}) as serving_it:
        monkeypatch.setenv("HF_ENDPOINT", serving_it.url)
        yield serving_it


@pytest.fixture
def vqgan(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The published VQGAN from a server on loopback."""
    with serving(CONTENT, "last.ckpt") as served:
        known = weight("taming:imagenet_1024")
        (file,) = known.files
        assert isinstance(file, AtURL)
        here = replace(known, files=(replace(file, url=served.url),))
        monkeypatch.setitem(registry._FAMILIES, "taming:", lambda name: here)
        yield served


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_weight_is_fetched_once_with_size_and_licence_before(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "timm:wide_resnet50_2"]) == 0
    said = printed(capsys)
    assert re.search(r"licence apache-2\.0 .*SHA-256 " + hashlib.sha256(CONTENT).hexdigest(), said)
    assert said.index("licence") < said.index("100 % of 20 kB")
    assert main(["fetch", "timm:wide_resnet50_2"]) == 0
    assert f"is here already: {tmp_path / 'hub'}" in printed(capsys)


def test_a_studys_weights_are_fetched_together_and_doctor_agrees(
    hub: Hub, vqgan: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = ["oneshot_lite0", "--set", "preset=paper"]
    assert main(["doctor", *paper]) == 1
    before = printed(capsys)
    assert "timm:wide_resnet50_2 missing" in before
    assert "goodshot fetch taming:imagenet_1024" in before
    assert "torchvision:vgg16 optional" in before
    assert main(["fetch", *paper]) == 0
    said = printed(capsys)
    assert "study oneshot_lite0: every weight that it needs is here" in said
    assert "dataset mvtec_ad: not fetched, as no folder is given; name one with --root mvtec_ad=DIR" in said
    assert "torchvision:vgg16" not in said
    main(["doctor", *paper])
    after = printed(capsys)
    assert "timm:wide_resnet50_2 here" in after
    assert "taming:imagenet_1024 here" in after
    assert "open_clip:ViT-B-32:openai here" in after


def test_one_that_cannot_be_had_keeps_no_other_back(
    hub: Hub, vqgan: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    del hub.files[CLIP]
    assert main(["fetch", "oneshot_lite0", "--set", "preset=paper"]) == 1
    said = capsys.readouterr()
    assert "open_clip:ViT-B-32:openai: " in said.out
    assert "1 of 3 weights could not be fetched (open_clip:ViT-B-32:openai)" in said.err
    assert weight("timm:wide_resnet50_2").path is not None


def test_without_a_network_it_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert main(["fetch", "timm:wide_resnet50_2"]) == 1
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert "cannot be reached" in error


def test_a_damaged_file_is_replaced(vqgan: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = weight("taming:imagenet_1024")
    (file,) = known.files
    digest = hashlib.sha256(CONTENT).hexdigest()
    here = replace(known, files=(replace(file, sha256=digest),))  # type: ignore[type-var]
    registry._FAMILIES["taming:"] = lambda name: here
    target = Path(file.describe())
    target.parent.mkdir(parents=True)
    target.write_bytes(b"half of it")
    assert main(["fetch", "taming:imagenet_1024"]) == 0
    assert f"not the published {digest}" in printed(capsys)
    assert target.read_bytes() == CONTENT


def test_a_study_that_shares_a_datasets_name_is_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "demo"]) == 0
    assert "experiment demo: every weight that it needs is here" in printed(capsys)
    assert main(["fetch", "folder"]) == 2
    assert "a folder of your own" in capsys.readouterr().err


def test_a_wordnet_that_a_study_names_is_one_of_its_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk.data

    monkeypatch.setattr(nltk.data, "path", [])
    needs = {need.name: need for need in needs_of(load_study("demo", ["prompt.wordnet=nltk"]))}
    assert not needs["wordnet"].instead
    # The embedded one needs nothing, so neither does a study that takes any.
    for settings in ([], ["prompt.wordnet=embedded"], ["prompt.wordnet=nltk", "arms=[original]"]):
        assert "wordnet" not in {need.name for need in needs_of(load_study("demo", settings))}


def test_doctor_sees_what_a_sweep_would_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    for setting, shown in {
        "prompt.senses=[banana.n.01]": "sense of none of the study's objects",
        "objects={coin: zzzz}": "zzzz missing",
        "detectors=[{backbone: resnet1888}]": "did you mean",
    }.items():
        assert main(["doctor", "demo", "--set", setting]) == 1
        assert shown in printed(capsys)


def test_unknown_names_and_datasets_without_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    for what, hint in {
        "imagenete": "no dataset, weight, study or experiment of that name; did you mean imagenette",
        "oneshot_lit0": "did you mean oneshot_lite0",
        "mvtec_ad": "name the folder for its category folders with --root DIR",
        "timm:resnet188": "did you mean",
    }.items():
        assert main(["fetch", what]) == 2
        assert hint in capsys.readouterr().err


def test_a_study_fails_before_it_looks_at_its_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = ["oneshot_lite0", "--set", "detectors=[{name: winclip}]", "--set", f"dataset.root={tmp_path / 'nowhere'}"]
    assert main(["sweep", *study, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "remedy: goodshot fetch open_clip:ViT-B-16-plus-240:laion400m_e31" in error
    assert not (tmp_path / "out").exists()


def test_what_a_study_needs_is_named_once_and_says_who_asks() -> None:
    def named(*settings: str) -> list[str]:
        return [need.name for need in needs_of(load_study("oneshot_lite0", settings)) if not need.instead]

    assert named() == ["efficientnet_lite0", "all-minilm-l6-v2"]
    assert named("arms=[original]") == ["efficientnet_lite0"]
    assert named("preset=paper", "arms=[original]") == ["timm:wide_resnet50_2"]
    detectors = "detectors=[{name: efficient_ad, preset: paper}, {name: anomaly_dino}]"
    assert named("arms=[original]", detectors) == [
        *("efficient_ad_teacher_small", "imagenette", "timm:vit_small_patch14_dinov2"),
    ]


def test_doctor_shows_everything_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WANDB_API_KEY", "RAY_AUTH_TOKEN", "HF_TOKEN"):
        monkeypatch.setenv(name, "a-secret")
    monkeypatch.setenv("RAY_ADDRESS", "ray://somewhere:1")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert main(["doctor"]) == 0
    said = printed(capsys)
    for area in ("machine", "packages", "Ray", "caches", "weights", "WordNet", "photographs", "W&B"):
        assert area in said
    assert "a-secret" not in said
    assert "a key is set" in said
    assert "efficientnet_lite0 here" in said


def test_doctor_shows_everything_though_the_tracking_mode_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "foo")
    main(["doctor"])
    said = printed(capsys)
    assert "efficientnet_lite0 here" in said
    assert "WANDB_MODE=foo: use online, offline or disabled" in said


def test_doctor_names_a_missing_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "oneshot_lite0", "--set", f"dataset.root={tmp_path}"]) == 1
    assert "photographs mvtec_ad missing" in printed(capsys)
    assert main(["doctor", "demo"]) == 0


def test_doctor_names_an_object_that_wordnet_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    def settings(noun: str, *more: str) -> list[str]:
        pairs = ["categories=[coin]", f"objects={{coin: {noun}}}", "prompt.wordnet=embedded", *more]
        return [option for pair in pairs for option in ("--set", pair)]

    assert main(["doctor", "demo", *settings("fryum")]) == 1
    assert "fryum missing" in printed(capsys)
    assert main(["doctor", "demo", *settings("fryum", "prompt.naive_if_unknown=true")]) == 0
    assert "fryum note fryum: not in WordNet, so its only prompt is" in printed(capsys)
    assert main(["doctor", "demo", *settings("magnetic tile")]) == 0
    assert "its words are those of tile" in printed(capsys)


def test_a_users_own_files_are_looked_for_too(tmp_path: Path) -> None:
    study = load_study("oneshot_lite0", [f"encoder=open_clip:ViT-B-32:{tmp_path / 'absent.safetensors'}"])
    (own,) = [need for need in needs_of(study) if not need.registered]
    assert (own.of, own.present) == ("encoder", False)


def test_the_families_are_the_registrys() -> None:
    assert set(fetching.FAMILIES) == {"open_clip:", "timm:", "torchvision:", "taming:"}
