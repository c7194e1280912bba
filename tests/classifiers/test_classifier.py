"""A classifier learns defect types from made images, chooses its checkpoint by validation and continues exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from pydantic import ValidationError
from torch import nn

from goodshot.components.classifiers.classes import Classes
from goodshot.components.classifiers.networks import NETWORKS
from goodshot.components.classifiers.training import Classifier, ClassifierConfig, accuracy
from goodshot.components.defects import DefectImages
from goodshot.components.errors import BadInput, MissingWeights
from goodshot.components.metrics.declared import metric_of
from goodshot.components.weights import file_sha256, registry

SIDE = 64
TINY = ClassifierConfig(resolution=32, steps=4, batch=4, validate_every=2)
COLOURS = {"red": (150, 30, 30), "green": (30, 120, 40), "blue": (30, 40, 150)}


def stained(count: int, seed: int) -> DefectImages:
    """Coloured squares on crops of a photograph of gravel; their type is their colour."""
    gravel, rng = np.asarray(skimage.data.gravel()), np.random.default_rng(seed)
    images, masks = np.zeros((count, SIDE, SIDE, 3), np.uint8), np.zeros((count, SIDE, SIDE), bool)
    names = tuple(list(COLOURS)[i % 3] for i in range(count))
    for i, name in enumerate(names):
        y, x = rng.integers(0, 512 - SIDE, 2)
        images[i] = gravel[y : y + SIDE, x : x + SIDE, None]
        y, x = rng.integers(0, SIDE - 24, 2)
        masks[i, y : y + 24, x : x + 24] = True
        images[i][masks[i]] = COLOURS[name]
    return DefectImages(images, masks, names, names)


def config(**fields: Any) -> ClassifierConfig:
    return ClassifierConfig.model_validate({**TINY.model_dump(), **fields})


@pytest.fixture(scope="module")
def defects() -> DefectImages:
    return stained(24, 0)


def test_it_tells_types_apart_on_images_that_it_has_not_seen(defects: DefectImages) -> None:
    options = config(resolution=64, steps=30, learning_rate=3e-4, validate_every=15)
    classifier = Classifier(defects, options, 0, stained(6, 1))
    classifier.fitting.train()
    found = classifier.accuracy(stained(18, 5))
    assert found.overall > 0.7
    assert list(found.by_type) == ["blue", "green", "red"]


@pytest.mark.parametrize("fields", [{"horizontal_flips": True}, {"network": "resnet34_scratch"}])
def test_continuing_equals_a_straight_run_bit_for_bit(fields: dict[str, Any], defects: DefectImages) -> None:
    def make() -> Classifier:
        return Classifier(defects, config(**fields), 0, stained(6, 1))

    straight, half = make(), make()
    losses = straight.fitting.train()
    assert half.fitting.train(2) == losses[:2]
    continued = make()
    continued.fitting.load(half.fitting.state())
    assert continued.fitting.train() == losses[2:]
    assert continued.fitting.merits == straight.fitting.merits
    many = straight.classify(defects.images)
    np.testing.assert_allclose(many.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(continued.classify(defects.images[:3]), many[:3])


def test_a_checkpoint_of_other_types_is_refused(defects: DefectImages) -> None:
    state = Classifier(defects, TINY, 0).fitting.state()
    two = defects.of([i for i, name in enumerate(defects.types) if name != "red"])
    with pytest.raises(BadInput, match="saved by a classifier with other options"):
        Classifier(two, TINY, 0).fitting.load(state)


def test_the_merit_is_the_mean_probability_of_the_true_type(defects: DefectImages) -> None:
    validation = stained(9, 1)
    classifier = Classifier(defects, TINY, 0, validation)
    classifier.fitting.train()
    found = classifier.classify(validation.images)
    true = [found[i, classifier.types.index(name)] for i, name in enumerate(validation.types)]
    assert list(classifier.fitting.merits) == [2, 4]
    assert max(classifier.fitting.merits.values()) == pytest.approx(np.mean(true), rel=1e-5)


def test_accuracy_counts_images_and_its_macro_mean_types() -> None:
    probabilities = np.asarray([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3], [0.5, 0.5]], np.float32)
    found = accuracy(probabilities, ("crack", "scratch"), ("crack", "crack", "scratch", "scratch", "unheard"))
    assert found.overall == pytest.approx(3 / 5)
    assert found.by_type == {"crack": 1, "scratch": 0.5, "unheard": 0}
    assert found.macro == pytest.approx(0.5)
    with pytest.raises(BadInput, match="defect accuracy"):
        accuracy(probabilities, ("crack", "scratch"), ("crack",))


def test_pretrained_statistics_stay_while_the_weights_learn(defects: DefectImages) -> None:
    classifier = Classifier(defects, TINY, 0)
    before = {name: value.clone() for name, value in classifier.fitting.network.state_dict().items()}
    classifier.fitting.train()
    after = classifier.fitting.network.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert not any("running" in name for name in changed)
    assert {name for name, _ in classifier.fitting.network.named_parameters()} == changed


def test_the_published_network_says_what_is_missing(
    defects: DefectImages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingWeights, match=r"classifier resnet34: weight torchvision:resnet34 is missing: .*fetch"):
        Classifier(defects, config(network="resnet34"), 0)


def test_the_published_network_starts_from_its_file(
    defects: DefectImages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torchvision.models import resnet34

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    torch.manual_seed(5)
    weights = resnet34(weights=None).state_dict()
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "new.pth"
    torch.save(weights, path)
    name = path.rename(path.with_name(f"resnet34-{file_sha256(path)[:8]}.pth")).name
    monkeypatch.setattr(registry, "TORCHVISION_FILES", {"resnet34": (name, None, "")})
    classifier = Classifier(defects, config(network="resnet34"), 0)
    trunk: Any = classifier.fitting.network
    assert isinstance(trunk, Classes)
    torch.testing.assert_close(trunk.trunk.conv1.weight, weights["conv1.weight"])
    assert trunk.trunk.fc.out_features == 3


def test_each_network_has_a_metric_of_its_own_and_only_the_published_one_the_plain_name() -> None:
    metrics = {network.name: network.metric for network in NETWORKS}
    assert len(set(metrics.values())) == len(metrics)
    assert [name for name, metric in metrics.items() if metric == "defect_accuracy"] == ["resnet34"]
    assert {metric_of(metric).better for metric in metrics.values()} == {"higher"}
    with pytest.raises(ValidationError, match="one of the known names"):
        config(network="resnet35")


def test_images_of_one_type_and_unknown_validation_types_are_bad_input(defects: DefectImages) -> None:
    red = defects.of(range(0, 24, 3))
    with pytest.raises(BadInput, match="at least two types of defect; got red"):
        Classifier(red, TINY, 0)
    with pytest.raises(BadInput, match="have the type 'red', which no image to train on has; known: blue, green"):
        Classifier(defects.of([i for i in range(24) if i % 3]), TINY, 0, red)
    with pytest.raises(BadInput, match="no validation image"):
        Classifier(defects, TINY, 0, red.of([]))


def test_the_input_is_what_the_trunk_was_trained_on() -> None:
    network = Classes(nn.Identity(), (0.5, 0.4, 0.3), (0.1, 0.2, 0.5), keeps_statistics=False)
    white = network(torch.ones(1, 3, 2, 2))[0, :, 0, 0]
    torch.testing.assert_close(white, torch.tensor([5.0, 3.0, 1.4]))
