"""``goodshot generate`` on real photographs: images out, continued, extended, and refusals that lose nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from goodshot.components.errors import BadInput
from goodshot.runner.cli import main
from goodshot.runner.photographs.generate import Photographs, generate, preview
from goodshot.runner.study.study import Study
from tests.conftest import TINY

TINY_GENERATOR = TINY["generator"]


@pytest.fixture
def photographs(tmp_path: Path) -> Photographs:
    folder = tmp_path / "photographs"
    folder.mkdir()
    coins = np.asarray(skimage.data.coins())
    Image.fromarray(coins[:200, :200]).save(folder / "a.png")
    Image.fromarray(coins[20:210, 120:300]).save(folder / "b.jpg")
    return Photographs(folder=folder, object_name="coin")


def study(**fields: object) -> Study:
    values = {
        "name": "generate",
        "arms": ["generated"],
        "support_seeds": 0,
        "copies": 3,
        "iterations": 4,
        "score_every": 2,
        "generator": TINY_GENERATOR,
    }
    return Study.model_validate({**values, **fields})


def pixels(paths: tuple[Path, ...]) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in paths]


def test_photographs_in_images_out(photographs: Photographs, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    made = generate(photographs, study(), tmp_path / "out", on_step=lambda *at: steps.append(at))
    images = pixels(made.images)
    assert [path.name for path in made.images] == ["000.png", "001.png", "002.png"]
    assert {image.shape for image in images} == {(TINY_GENERATOR["resolution"], TINY_GENERATOR["resolution"], 3)}
    assert steps[-1] == (3, 3)
    assert made.prompt.startswith("a coin with ")
    assert set(made.quality) == {
        *("ssim", "psnr", "lpips_lite0", "is_lite0", "diversity_lpips_lite0"),
        *("original_similarity_lite0", "pixel_variance"),
    }
    assert Image.open(made.sheet).size[0] > 6 * 128
    record = json.loads((tmp_path / "out" / "generated.json").read_text())
    assert set(record["photographs"]) == {"a.png", "b.jpg"}
    assert record["prompt"] == made.prompt
    assert record["study"]["copies"] == [3]


def test_the_same_call_again_trains_nothing_and_a_larger_one_extends_it(
    photographs: Photographs, tmp_path: Path
) -> None:
    steps: list[int] = []
    first = pixels(generate(photographs, study(select="last"), tmp_path / "out").images)
    again = generate(photographs, study(select="last"), tmp_path / "out", on_step=lambda done, _: steps.append(done))
    assert not steps
    assert all(np.array_equal(a, b) for a, b in zip(first, pixels(again.images), strict=True))
    larger = study(select="last", iterations=6, copies=3)
    generate(photographs, larger, tmp_path / "out", on_step=lambda done, _: steps.append(done))
    # Of six iterations' five updates three are there.
    assert steps == [5]
    more = pixels(generate(photographs, study(select="last", copies=5), tmp_path / "out").images)
    assert len(more) == 5
    assert all(np.array_equal(a, b) for a, b in zip(first, more[:3], strict=True))


def test_post_augment_is_in_the_images(photographs: Photographs, tmp_path: Path) -> None:
    plain = pixels(generate(photographs, study(), tmp_path / "out").images)
    turned = pixels(generate(photographs, study(post_augment="strong"), tmp_path / "out").images)
    assert all(np.abs(a.astype(int) - b).mean() > 5 for a, b in zip(plain, turned, strict=True))


def test_a_folder_named_good_inside_is_found(photographs: Photographs, tmp_path: Path) -> None:
    (tmp_path / "cup").mkdir()
    photographs.folder.rename(tmp_path / "cup" / "good")
    inside = Photographs(folder=tmp_path / "cup", object_name="coin")
    assert len(inside.read()) == 2


def test_foreign_files_among_the_images_are_not_thrown_away(photographs: Photographs, tmp_path: Path) -> None:
    generate(photographs, study(), tmp_path / "out")
    (tmp_path / "out" / "images" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="which this command did not write"):
        generate(photographs, study(copies=2), tmp_path / "out")
    (tmp_path / "out" / "images" / "notes.txt").unlink()
    Image.new("RGB", (8, 8)).save(tmp_path / "out" / "images" / "001.png")
    with pytest.raises(BadInput, match=r"001\.png, which this command did not write"):
        generate(photographs, study(copies=2), tmp_path / "out")
    assert len(list((tmp_path / "out" / "images").glob("*.png"))) == 3


def test_photographs_are_neither_overwritten_nor_joined(photographs: Photographs, tmp_path: Path) -> None:
    """A sheet among the photographs would be learned from next time; images in their place would replace them."""
    inside = tmp_path / "out" / "images"
    inside.parent.mkdir()
    photographs.folder.rename(inside)
    for folder, out in ((inside, inside.parent), (inside, inside)):
        with pytest.raises(BadInput, match="the photographs are there"):
            generate(Photographs(folder=folder, object_name="coin"), study(), out)
        with pytest.raises(BadInput, match="the photographs are there"):
            preview(Photographs(folder=folder, object_name="coin"), out, "mild", 0)
    assert sorted(path.name for path in inside.iterdir()) == ["a.png", "b.jpg"]


def test_detectors_take_no_part(photographs: Photographs, tmp_path: Path) -> None:
    """Neither their weights nor their number: there are none on this machine for the paper's."""
    detectors = [{"name": "patchcore", "preset": "paper"}, {"name": "patchcore"}]
    assert len(generate(photographs, study(detectors=detectors), tmp_path / "out").images) == 3


def test_several_points_are_refused(photographs: Photographs, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="asks for 2"):
        generate(photographs, study(copies=[1, 2]), tmp_path / "out")


class TestCommand:
    def call(self, photographs: Photographs, tmp_path: Path, *more: str) -> int:
        folder, out = str(photographs.folder), str(tmp_path / "out")
        return main(["generate", "--images", folder, "--object", "coin", "--out", out, *more])

    def test_preview_trains_nothing(
        self, photographs: Photographs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.call(photographs, tmp_path, "--preview") == 0
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["preview.png"]
        assert "preview.png" in capsys.readouterr().out

    def test_it_says_what_it_made(
        self, photographs: Photographs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tiny = [f"--set=generator.{key}={json.dumps(value)}" for key, value in TINY_GENERATOR.items()]
        few = ["--copies=2", "--iterations=2", "--set=score_every=2", "--device=cpu"]
        assert self.call(photographs, tmp_path, *few, *tiny) == 0
        shown = capsys.readouterr().out
        assert "2 images" in shown
        assert "the most similar to “a coin with " in shown
        assert "contact_sheet.png" in shown

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--images", "nowhere"], "no such folder"),
            (["--object", "hazlnut"], "nearest: hazelnut"),
            (["--device", "tpu"], "choose cpu or cuda"),
            (["--set", "generator.resolutoin=3"], "did you mean 'resolution'"),
            (["--set", "shots=5"], "it takes no shots"),
            (["--iterations", "7"], "score_every = 10 must divide iterations = 7"),
        ],
    )
    def test_bad_input_is_one_line_and_writes_nothing(
        self,
        photographs: Photographs,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        more: list[str],
        message: str,
    ) -> None:
        assert self.call(photographs, tmp_path, *more) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / "out").exists()

    def test_files_that_cannot_be_read_are_mentioned(
        self, photographs: Photographs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (photographs.folder / "c.heic").write_bytes(b"x")
        assert self.call(photographs, tmp_path, "--preview") == 0
        assert "c.heic" in capsys.readouterr().err

    def test_an_empty_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        empty = Photographs(folder=tmp_path, object_name="coin")
        assert self.call(empty, tmp_path) == 2
        assert "holds no images" in capsys.readouterr().err
