"""Presets fill what is left open, say so in the label, and never make an identity of their own."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from goodshot.components.detectors import DetectorConfig
from goodshot.components.detectors.families import FAMILIES
from goodshot.components.detectors.models import models
from goodshot.runner.named import load_study
from goodshot.runner.study.settings import to_yaml, validate
from tests.detectors.photographs import texture_crops

PAPER = {family.name: family.paper for family in FAMILIES if family.paper}
# As in anomalib's configurations of version 0.5, which named every field.
EARLY: dict[str, dict[str, Any]] = {
    "patchcore": {
        "backbone": "wide_resnet50_2",
        "layers": ("layer2", "layer3"),
        "coreset_ratio": 0.1,
        "num_neighbors": 9,
        "image_size": 256,
        "resolution": 224,
    },
    "cflow": {
        "backbone": "wide_resnet50_2",
        "layers": ("layer2", "layer3", "layer4"),
        "epochs": 50,
        "steps": None,
        "batch_size": 16,
        "learning_rate": 1e-4,
        "resolution": 256,
    },
    "reverse_distillation": {
        "backbone": "wide_resnet50_2",
        "layers": ("layer1", "layer2", "layer3"),
        "epochs": 200,
        "steps": None,
        "batch_size": 32,
        "learning_rate": 0.005,
        "resolution": 256,
    },
    "efficient_ad": {"backbone": None, "steps": 70_000, "batch_size": 1, "learning_rate": 1e-4, "resolution": 256},
}


@pytest.mark.parametrize("name", EARLY)
def test_paper_is_anomalibs_early_configuration(name: str) -> None:
    config = DetectorConfig(name=name, preset="paper")
    assert {field: getattr(config, field) for field in EARLY[name]} == EARLY[name]
    assert config.label == f"{name}-paper"
    assert DetectorConfig(name=name).label == f"{name}-lite0"


@pytest.mark.parametrize("name", PAPER)
def test_paper_arguments_are_ones_that_the_model_takes_at_values_it_knows(name: str) -> None:
    arguments = DetectorConfig(name=name, preset="paper").args
    assert arguments.keys() <= set(models()[name].arguments)


def test_what_is_given_wins_over_the_preset() -> None:
    config = DetectorConfig(name="cflow", preset="paper", steps=7, args={"coupling_blocks": 2})
    assert (config.steps, config.epochs) == (7, None)
    assert config.args == {**PAPER["cflow"]["args"], "coupling_blocks": 2}
    assert config.batch_size == 16
    assert config.label == "cflow-wide_resnet50_2"
    smaller = DetectorConfig(preset="paper", image_size=128)
    assert smaller.resolution == 128
    own = DetectorConfig(name="cflow", backbone="wide_resnet50_2")
    assert own.layers == ("layer2", "layer3", "layer4")
    embedded = DetectorConfig(preset="paper", backbone="efficientnet_lite0", layers=["blocks.2"])
    assert embedded.label == "patchcore-lite0"


def test_the_preset_is_no_part_of_the_identity() -> None:
    # The paper's natural images, ImageNette, are not on every machine.
    embedded = {"imagenet_dir": None}
    written = {**PAPER["efficient_ad"], "weights": "random", "name": "efficient_ad"}
    by_hand = DetectorConfig(**{**written, "args": {**written["args"], **embedded}})
    by_word = DetectorConfig(name="efficient_ad", preset="paper", weights="random", args=embedded)
    assert by_hand.identity() == by_word.identity()
    assert by_hand.label == by_word.label == "efficient_ad-paper-random"


def test_every_model_has_a_budget_that_is_written_down() -> None:
    for name, model in models().items():
        config = DetectorConfig(name=name)
        trained = name not in ("patchcore", "winclip") and not model.one_pass
        assert (config.steps is not None) is trained, name
        assert config.epochs is None


def test_a_study_keeps_its_presets_when_written_and_read_again(tmp_path: Any) -> None:
    detectors = [{"name": "cflow", "preset": "paper"}, {"name": "cflow"}, {"preset": "paper"}, {"name": "EfficientAd"}]
    study = validate({"name": "presets", "detectors": detectors}, "presets")
    path = tmp_path / "study.yaml"
    path.write_text(to_yaml(study))
    assert load_study(str(path)) == study
    labels = ["cflow-paper", "cflow-lite0", "patchcore-paper", "efficient_ad-lite0"]
    assert [detector.label for detector in load_study(str(path)).detectors] == labels


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValidationError, match="'default' or 'paper'"):
        DetectorConfig(preset="papers")


def test_natural_images_are_known_by_their_files_not_their_folder(tmp_path: Any) -> None:
    from PIL import Image

    for folder in ("a", "b"):
        (tmp_path / folder / "bricks").mkdir(parents=True)
        Image.fromarray(texture_crops("brick", 2, 64)[0]).save(tmp_path / folder / "bricks" / "0.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "b" / "bricks" / "1.png")

    def identity(folder: Any) -> dict[str, Any]:
        return DetectorConfig(name="efficient_ad", args={"imagenet_dir": str(folder)}).identity()

    (tmp_path / "moved").symlink_to(tmp_path / "a")
    assert identity(tmp_path / "a") == identity(tmp_path / "moved")
    assert identity(tmp_path / "a") != identity(tmp_path / "b")
    assert str(tmp_path) not in str(identity(tmp_path / "a"))
