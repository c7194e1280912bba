"""``goodshot synthesize`` on real photographs: images with masks out, continued, extended, and refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import save as save_tensors

from goodshot.runner.cli import main
from goodshot.runner.stages.defect_set import DefectSetStage
from goodshot.runner.stages.fusion import DiffusionBaseStage, FusionSetStage, FusionStage
from tests.data.conftest import shared

__all__ = ["shared"]

TINY = {
    "side": 48,
    "fusion.resolution": 32,
    "fusion.steps": 3,
    "fusion.batch": 2,
    "fusion.masks.steps": 2,
    "fusion.small.steps": 3,
    "fusion.small.batch": 2,
    "fusion.small.channels": [16, 32],
    "fusion.small.attention_levels": 1,
    "fusion.sampling.steps": 2,
}
SETTINGS = [f"--set=synthesis.{name}={value}" for name, value in TINY.items()]


def copied(photographs: Path, target: Path) -> Path:
    """A folder with good/, defects/<type>/ and masks/<type>/ of three stained coins and two scratched ones."""
    for kind, count in (("stain", 3), ("scratch", 2)):
        for i in range(count):
            for part, folder, name in (("test", "defects", f"{i:03d}"), ("ground_truth", "masks", f"{i:03d}_mask")):
                (target / folder / kind).mkdir(parents=True, exist_ok=True)
                shutil.copy(photographs / "coin" / part / kind / f"{name}.png", target / folder / kind)
    shutil.copytree(photographs / "coin" / "train" / "good", target / "good")
    return target


def call(product: Path, out: Path, *more: str, folders: tuple[str, ...] = ("good", "defects", "masks")) -> int:
    given = [word for name in folders for word in (f"--{name}", str(product / name))]
    named = [] if any(word.startswith("--object") for word in more) else ["--object", "old coin"]
    learns = not any(word.startswith("--method") for word in more)
    settings = SETTINGS if learns else [word for word in SETTINGS if "fusion" not in word]
    return main(["synthesize", *given, *named, "--out", str(out), "--device", "cpu", *settings, *more])


def pixels(folder: Path) -> dict[str, np.ndarray]:
    return {p.relative_to(folder).as_posix(): np.asarray(Image.open(p)) for p in sorted(folder.rglob("*.png"))}


def never(*_: Any) -> None:
    raise AssertionError("this stage is in the store")


@pytest.fixture
def product(photographs: Path, tmp_path: Path) -> Path:
    return copied(photographs, tmp_path / "product")


@pytest.fixture(scope="module")
def finished(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product with the output of one call in out/."""
    folder = copied(photographs, Path(tmp_path_factory.mktemp("finished")) / "product")
    assert call(folder, folder.parent / "out", "--copies=2") == 0
    return folder


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same product, and a copy of its output."""
    shutil.copytree(finished.parent / "out", tmp_path / "out")
    return finished, tmp_path / "out"


def test_images_masks_and_captions_lie_in_the_layout(finished: Path) -> None:
    out = finished.parent / "out"
    files = pixels(out / "dataset" / "old_coin")
    made = [f"test/{kind}/{i:04d}.png" for kind in ("scratch", "stain") for i in range(2)]
    assert [name for name in files if name.startswith("test/")] == made
    goods = [image for name, image in files.items() if name.startswith("train/good/")]
    assert len(goods) == 16
    for name in made:
        mask = files[name.replace("test", "ground_truth").replace(".png", "_mask.png")] > 0
        assert mask.any()
        # Outside the mask, a made image is one of the good ones.
        assert files[name].shape == (48, 48, 3)
        assert any(np.array_equal(files[name][~mask], good[~mask]) for good in goods)
    sentence = (out / "dataset" / "old_coin" / "prompt" / "stain" / "0000.txt").read_text()
    assert sentence == "old coin with stain\n"
    assert Image.open(out / "contact_sheet.png").size[0] > 4 * 160


def test_the_record_has_every_photograph_and_all_settings(finished: Path) -> None:
    record = json.loads((finished.parent / "out" / "synthesized.json").read_text())
    assert (len(record["good"]), len(record["defects"])) == (16, 5)
    assert record["images"] == {"scratch": 2, "stain": 2}
    assert (record["object"], record["method"], record["layout"]) == ("old coin", "fusion", "folder")
    assert record["study"]["synthesis"]["fusion"]["steps"] == 3
    assert {"mask autoencoder", "diffusion base", "fusion"} <= set(record["stages"].values())
    assert str(finished) not in json.dumps(record)


def test_all_defective_photographs_are_learned_from(finished: Path) -> None:
    record = json.loads((finished.parent / "out" / "synthesized.json").read_text())
    assert set(record["captions"]) == set(record["defects"])


def test_more_copies_train_nothing_and_keep_the_first_images(
    again: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    product, out = again
    first = pixels(out / "dataset" / "old_coin" / "test")
    for stage in (FusionStage, DiffusionBaseStage):
        monkeypatch.setattr(stage, "run", never)
    assert call(product, out, "--copies=3") == 0
    more = pixels(out / "dataset" / "old_coin" / "test")
    assert (len(first), len(more)) == (4, 6)
    assert all(np.array_equal(image, more[name]) for name, image in first.items())
    monkeypatch.setattr(DefectSetStage, "run", never)
    assert call(product, out, "--copies=3") == 0
    assert call(product, out, "--copies=2", "--layout=coco") == 0
    assert sorted(p.name for p in (out / "dataset").iterdir()) == ["annotations.json", "images", "manifest.json"]


def test_an_interrupted_call_continues_and_ends_as_an_undisturbed_one(
    finished: Path, product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(FusionSetStage, "make", stopped)
        assert call(product, out, "--copies=2") == 130
    assert "the same command continues" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == ["store"]
    monkeypatch.setattr(FusionStage, "run", never)
    assert call(product, out, "--copies=2") == 0
    whole, continued = pixels(finished.parent / "out" / "dataset"), pixels(out / "dataset")
    assert whole.keys() == continued.keys()
    assert all(np.array_equal(whole[name], continued[name]) for name in whole)


def test_it_says_what_it_learned_and_how_modest_that_is(
    again: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*again, "--copies=2") == 0
    shown = capsys.readouterr().out
    for words in (
        "learned from 16 good and 5 defective photographs: diffusion base 3 steps, fusion 3 steps",
        "4 images of old coin: 2 scratch, 2 stain",
        "from scratch on your photographs alone, at 32 pixels",
        "start from a published model, as docs/defects.md says",
        "contact_sheet.png",
    ):
        assert words in shown


def test_the_named_base_needs_no_other_setting(
    again: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The settings that docs/defects.md advises are allowed, and the missing files are named with their remedy."""
    monkeypatch.setenv("GOODSHOT_WEIGHTS", str(tmp_path / "none"))
    advised = ("base=ldm_text2im", "trains=embeddings", "resolution=256")
    assert call(*again, *(f"--set=synthesis.fusion.{setting}" for setting in advised)) == 2
    assert "goodshot fetch ldm_text2im" in capsys.readouterr().err


def test_other_peoples_files_among_the_images_are_not_thrown_away(
    again: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    product, out = again
    (out / "dataset" / "old_coin" / "test" / "notes.txt").write_text("mine")
    assert call(product, out, "--copies=3") == 2
    assert "notes.txt, which this command did not write" in capsys.readouterr().err
    assert (out / "dataset" / "old_coin" / "test" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("method", "layout", "file"), [("cutpaste", "coco", "annotations.json"), ("draem_skimage", "yolo", "data.yaml")]
)
def test_good_photographs_alone_are_enough_for_some_methods(
    product: Path, tmp_path: Path, method: str, layout: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (f"--method={method}", f"--layout={layout}", "--copies=3")
    assert call(product, tmp_path / "out", *options, folders=("good",)) == 0
    content = yaml.safe_load((tmp_path / "out" / "dataset" / file).read_text())
    names = {each["name"] for each in content["categories"]} if layout == "coco" else {*content["names"].values()}
    assert names == {method}
    shown = capsys.readouterr().out
    assert "nothing is learned: pasted on 16 good photographs" in shown
    assert "from scratch" not in shown


def test_a_method_that_needs_no_defect_reads_none_and_says_so(
    product: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (product / "defects").rglob("*.png"):
        path.unlink()
    assert call(product, tmp_path / "out", "--method=cutpaste", "--copies=1") == 0
    assert "defects is not read" in (told := capsys.readouterr().err)
    assert "masks is not read" in told
    prompts = tmp_path / "out" / "dataset"
    assert call(product, tmp_path / "out", "--method=cutpaste", "--copies=1", "--caption", "a worn coin") == 0
    assert {path.read_text() for path in prompts.rglob("prompt/*/*.txt")} == {"a worn coin\n"}


def test_one_sentence_for_all_and_sentences_of_a_folder(product: Path, tmp_path: Path) -> None:
    options = ("--method=crop_paste", "--copies=1")
    assert call(product, tmp_path / "out", *options, "--caption", 'A coin: "worn", with\nrust.') == 0
    prompts = tmp_path / "out" / "dataset" / "old_coin" / "prompt"
    assert {p.read_text() for p in prompts.rglob("*.txt")} == {'A coin: "worn", with rust.\n'}
    own = tmp_path / "sentences" / "old_coin" / "prompt" / "stain"
    own.mkdir(parents=True)
    for i in range(3):
        (own / f"{i:03d}.txt").write_text("a coin with a brown stain")
    assert call(product, tmp_path / "out", *options, f"--set=synthesis.captions={tmp_path / 'sentences'}") == 0
    assert (prompts / "stain" / "0000.txt").read_text() == "a coin with a brown stain\n"
    assert (prompts / "scratch" / "0000.txt").read_text() == "old coin with scratch\n"


def save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def sentence(product: Path, data: bytes, name: str = "000.txt") -> None:
    folder = product / "sentences" / "old_coin" / "prompt" / "stain"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(data)


Spoil = Callable[[Path], object]
BAD: dict[str, tuple[Spoil, tuple[str, ...], str]] = {
    "mask of another size": (
        lambda p: save(p / "masks" / "stain" / "000_mask.png", np.full((10, 12), 255, np.uint8)),
        (),
        "the mask is 12x10, its image 000.png is 128x128",
    ),
    "empty mask": (
        lambda p: save(p / "masks" / "stain" / "000_mask.png", np.zeros((128, 128), np.uint8)),
        (),
        "nothing is marked in the mask",
    ),
    "mask without image": (
        lambda p: (p / "defects" / "stain" / "000.png").unlink(),
        (),
        "mask without a photograph of its name",
    ),
    "image without mask": (lambda p: (p / "masks" / "stain" / "000_mask.png").unlink(), (), "has no mask"),
    "one defective image": (
        lambda p: [path.unlink() for path in sorted((p / "defects").rglob("*.png"))[1:]],
        (),
        "a single defective photograph, and 3 are needed to learn from; add some, or use cutpaste",
    ),
    "a damaged photograph": (lambda p: (p / "good" / "000.png").write_bytes(b"\x89PNG"), (), "not a readable image"),
    "empty caption file": (
        lambda p: sentence(p, b"\n"),
        ("--set=synthesis.captions={product}/sentences",),
        "the caption is empty",
    ),
    "caption file that is not UTF-8": (
        lambda p: sentence(p, b"r\xf6t"),
        ("--set=synthesis.captions={product}/sentences",),
        "is not UTF-8",
    ),
    "caption of a missing image": (
        lambda p: sentence(p, b"a stain", "099.txt"),
        ("--set=synthesis.captions={product}/sentences",),
        "caption of a missing image",
    ),
    "empty caption": (str, ("--caption", " "), "--caption: is empty"),
    "empty object": (str, ("--object", " "), "--object: is empty"),
    "no copies": (str, ("--copies", "0"), "'--copies': "),
    "unknown layout": (str, ("--layout", "voc"), "no layout voc; there are: folder, coco, yolo"),
    "unknown method": (str, ("--method", "gan"), "choose one of crop_paste, cutpaste, draem, draem_skimage, fusion"),
    "real defects": (str, ("--method", "real_defects"), "choose one of crop_paste"),
    "unknown part": (str, ("--method", "fusion:mif"), "choose one of crop_paste"),
    "misspelt field": (str, ("--set", "synthesis.fusion.stepps=3"), "did you mean 'steps'"),
    "a field without effect": (str, ("--set", "generator.resolution=64"), "synthesize does not use generator"),
    "a field of another method": (
        str,
        ("--method", "cutpaste", "--set", "synthesis.fusion.steps=7"),
        "does not use synthesis.fusion.steps; with --method cutpaste it takes synthesis.side",
    ),
    "a base of another architecture": (
        lambda p: (p / "base.safetensors").write_bytes(save_tensors({"a": np.zeros(1)})),
        ("--set=synthesis.fusion.base=path:{product}/base.safetensors", "--set=synthesis.fusion.trains=embeddings"),
        "base.safetensors: another architecture: its first tensor is a",
    ),
    "a number of images of its own": (str, ("--set", "copies=[1,2]"), "synthesize does not use copies"),
    "out is among the photographs": (str, ("--out", "{product}/good/out"), "where photographs are read"),
    "out is the photographs": (str, ("--out", "{product}/defects"), "where photographs are read"),
    "the photographs would be replaced": (
        lambda p: (p.parent / "o" / "dataset").mkdir(parents=True) or (p / "good").rename(p.parent / "o/dataset/good"),
        ("--good", "{product}/../o/dataset/good", "--out", "{product}/../o"),
        "is where images are written",
    ),
    "out cannot be written": (
        lambda p: (p / "file").write_text(""),
        ("--out", "{product}/file/out"),
        "cannot be written (Not a directory); choose another folder with --out",
    ),
    "a device that is not there": (str, ("--device", "tpu"), "choose cpu or cuda"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_writes_nothing(
    product: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, more, line = BAD[name]
    spoil(product)
    before = sorted(tmp_path.rglob("*"))
    assert call(product, tmp_path / "out", *(word.format(product=product) for word in more)) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_without_defective_photographs_fusion_offers_cutpaste(
    product: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(product, tmp_path / "out", folders=("good",)) == 2
    error = capsys.readouterr().err
    assert "or choose --method cutpaste, which needs none" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_study_is_read_without_the_libraries_that_make_images() -> None:
    heavy = ["torch", "scipy", "skimage", "diffusers"]
    code = f"import sys, goodshot.runner.study.study; print([m for m in {heavy} if m in sys.modules])"
    read = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert read.stdout.strip() == "[]"


@pytest.mark.real
def test_three_real_pills(shared: Path, tmp_path: Path) -> None:
    """MVTec's own folders as a user's: pills with a colour fault, at the published resolution of the images."""
    pill = shared / "mvtec_ad_256" / "pill"
    product = tmp_path / "product"
    for part, name in (("test", "defects"), ("ground_truth", "masks")):
        (product / name).mkdir(parents=True)
        for path in sorted((pill / part / "color").iterdir())[:3]:
            shutil.copy(path, product / name)
    shutil.copytree(pill / "train", product / "good")
    assert call(product, tmp_path / "out", "--object=pill", "--copies=2", "--set=synthesis.side=128") == 0
    files = pixels(tmp_path / "out" / "dataset" / "pill" / "test" / "defect")
    assert [image.shape for image in files.values()] == [(128, 128, 3)] * 2
