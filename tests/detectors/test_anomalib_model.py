"""Any model of anomalib by its name: nothing of the test in what is fitted, explicit steps, and errors of one line."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from goodshot.components.detectors import Detector, DetectorConfig, build_detector, building
from goodshot.components.detectors.anomalib_model import AnomalibDetector
from goodshot.components.detectors.models import find_model, models
from goodshot.components.detectors.patchcore import PatchCore
from goodshot.components.detectors.training_data import batches
from goodshot.components.errors import BadInput, GoodshotError, MissingWeights
from tests.detectors.photographs import texture_crops

# The presets' backbone, layers and arguments; a few steps instead of the budget.
CONFIGS: dict[str, dict[str, Any]] = {
    "patchcore": {"coreset_ratio": 0.2},
    "padim": {"args": {"n_features": 20}},
    "cflow": {"args": {"coupling_blocks": 2, "fiber_batch_size": 32}, "steps": 2, "batch_size": 2},
    "reverse_distillation": {"steps": 2, "batch_size": 2},
    # Its autoencoder has a kernel that smaller images do not fill.
    "efficient_ad": {"steps": 2, "image_size": 256},
}


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    # Larger than the detectors' input, so that the resize takes part.
    return texture_crops("gravel", 7, 128)


def config_of(name: str) -> DetectorConfig:
    return DetectorConfig(name=name, **{"image_size": 96, **CONFIGS[name]})


def state(detector: Detector) -> dict[str, torch.Tensor]:
    assert isinstance(detector, AnomalibDetector | PatchCore)
    module = detector.module if isinstance(detector, AnomalibDetector) else detector._model
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "efficient_ad" else name for name in CONFIGS]
)
def test_no_test_image_changes_what_was_fitted(name: str, crops: NDArray[np.uint8]) -> None:
    first, second = (build_detector(config_of(name), seed=1) for _ in range(2))
    first.fit(crops[:3])
    second.fit(crops[:3])
    second.score(crops[5:6])
    first.score(255 - crops[3:5])
    after, other = state(first), state(second)
    assert after.keys() == other.keys()
    assert sum(value.numel() for value in after.values()) > 10_000
    for key, value in after.items():
        assert torch.equal(value, other[key]), key
    np.testing.assert_array_equal(first.score(crops[5:6]).maps, second.score(crops[5:6]).maps)


def test_fitting_again_forgets_the_first_images(crops: NDArray[np.uint8]) -> None:
    config = config_of("cflow")
    again, once = build_detector(config, seed=0), build_detector(config, seed=0)
    again.fit(crops[3:6])
    again.fit(crops[:3])
    once.fit(crops[:3])
    np.testing.assert_array_equal(again.score(crops[6:]).maps, once.score(crops[6:]).maps)


def test_steps_are_shuffled_passes_of_full_batches() -> None:
    config = DetectorConfig(name="cflow", steps=5, batch_size=3)
    found = batches(4, config, seed=0)
    assert [len(batch) for batch in found] == [3] * 5
    flat = [i for batch in found for i in batch]
    assert all(sorted(flat[i : i + 4]) == [0, 1, 2, 3] for i in (0, 4, 8))
    assert batches(4, DetectorConfig(name="padim", batch_size=3), seed=0) == [[0, 1, 2], [3]]


def test_epochs_are_shuffled_passes_with_a_smaller_last_batch() -> None:
    found = batches(5, DetectorConfig(name="cflow", epochs=3, batch_size=2), seed=0)
    assert [len(batch) for batch in found] == [2, 2, 1] * 3
    passes = [[*itertools.chain(*found[i : i + 3])] for i in (0, 3, 6)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    # One image is one step an epoch, not a batch of copies.
    assert batches(1, DetectorConfig(name="cflow", preset="paper"), seed=0) == [[0]] * 50


@pytest.mark.parametrize("name", ["cflow", "reverse_distillation"])
def test_an_epoch_of_so_many_images_makes_equal_steps_in_every_arm(name: str) -> None:
    config = DetectorConfig(name=name, preset="paper", epoch_images=101, epochs=7)
    found = {count: batches(count, config, seed=0) for count in (1, 21, 101, 300)}
    sizes = {count: [len(batch) for batch in each] for count, each in found.items()}
    assert len({str(each) for each in sizes.values()}) == 1
    assert len(sizes[1]) == config.steps_on(1) == config.steps_on(300)
    # The arm of that size is trained as without it, and every arm in shuffled passes over all its images.
    plain = config.model_copy(update={"epoch_images": None})
    assert found[101] == batches(101, plain, seed=0)
    assert [plain.steps_on(count) for count in (1, 21, 101)] == [len(batches(n, plain, 0)) for n in (1, 21, 101)]
    order = [*itertools.chain(*found[21])]
    assert all(sorted(order[i : i + 21]) == [*range(21)] for i in range(0, 707 - 21, 21))
    for budget in ({"steps": 5}, {}):
        given = DetectorConfig(name="cflow" if budget else "padim", batch_size=4, **budget)
        assert given.steps_on(9) == len(batches(9, given, seed=0))


def test_an_epoch_of_so_many_images_is_part_of_what_identifies_a_detector() -> None:
    plain, equal = (DetectorConfig(name="cflow", epochs=7, epoch_images=count) for count in (None, 21))
    assert "epoch_images" not in plain.identity()
    assert equal.identity() == {**plain.identity(), "epoch_images": 21}
    paper = {"name": "cflow", "preset": "paper", "weights": "random"}
    assert DetectorConfig(**paper).label == "cflow-paper-random"
    assert DetectorConfig(**paper, epoch_images=21).label == "cflow-wide_resnet50_2-random"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        # A photograph's fibres of this layer fill a batch of them.
        ("cflow", {"args": {"coupling_blocks": 2, "fiber_batch_size": 32}, "layers": ["blocks.4"], "image_size": 96}),
        ("reverse_distillation", {"image_size": 64}),
    ],
)
def test_arms_of_1_and_21_images_get_equally_many_updates(
    name: str, fields: dict[str, Any], crops: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at the optimiser: CFlow makes several updates of a batch, by the number of its images."""
    updates: list[int] = []

    class Counting(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            updates[-1] += 1
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Counting)
    arms = (crops[:1], np.concatenate([crops] * 3))
    assert [len(arm) for arm in arms] == [1, 21]
    for epoch_images in (None, 21):
        config = DetectorConfig(name=name, epochs=1, batch_size=8, epoch_images=epoch_images, **fields)
        for arm in arms:
            updates.append(0)
            build_detector(config, seed=0).fit(arm)
    plain, equal = updates[:2], updates[2:]
    assert 0 < plain[0] < plain[1]
    assert equal[0] == equal[1] == plain[1]


def test_anomalibs_models_are_found_by_name() -> None:
    assert {"patchcore", "cflow", "reverse_distillation", "efficient_ad", "winclip", "anomaly_dino"} <= models().keys()
    assert find_model("EfficientAd").name == "efficient_ad"
    for name, model in models().items():
        assert hasattr(importlib.import_module(model.module), model.cls), name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "cflw"}, "anomalib has no such model; did you mean cflow"),
        (
            {"name": "cflow", "args": {"coupling_block": 4}},
            "no argument 'coupling_block'; did you mean coupling_blocks",
        ),
        ({"name": "cflow", "args": {"backbone": "resnet18"}}, "backbone is a field of the detector"),
        ({"name": "cflow", "coreset_ratio": 0.1}, "coreset_ratio is not for it"),
        ({"name": "patchcore", "steps": 10}, "steps is not for it"),
        ({"name": "efficient_ad", "batch_size": 4}, "set batch_size: 1"),
        ({"name": "efficient_ad", "image_size": 300, "crop": 224}, "not 224; set image_size: 256"),
        ({"name": "cflow", "steps": 3, "epochs": 2}, "cflow: give steps or epochs, not both"),
        ({"name": "patchcore", "epochs": 3}, "epochs is not for it"),
        ({"name": "padim", "preset": "paper"}, "padim: has no preset paper; those that do: patchcore, cflow"),
        ({"name": "winclip", "image_size": 256}, "winclip: its network reads images of 240 px and no others"),
        ({"name": "winclip", "backbone": "resnet18"}, "has its own network; backbone 'resnet18' is not for it"),
        ({"name": "winclip", "args": {"few_shot_source": "x"}}, "its references are the good images"),
        ({"name": "winclip", "args": {"k_shot": -1}}, "k_shot is a number of good images"),
        ({"name": "efficient_ad", "backbone": "resnet18"}, "its teacher is its own"),
        ({"name": "reverse_distillation", "layers": ["blocks.2", "blocks.4"]}, "reads blocks.1, blocks.2 and blocks.4"),
        ({"crop": 300}, "crop 300 is larger than the image_size 256"),
    ],
)
def test_wrong_configurations_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectorConfig(**fields)


def test_what_a_model_refuses_is_one_line(crops: NDArray[np.uint8]) -> None:
    with pytest.raises(BadInput, match="padim-lite0: refuses its arguments"):
        build_detector(DetectorConfig(name="padim", args={"n_features": 10**6}), seed=0)
    with pytest.raises(BadInput, match="stfpm-lite0: fetches its backbone itself"):
        build_detector(DetectorConfig(name="stfpm", backbone="efficientnet_lite0", layers=["blocks.2"]), seed=0)
    with pytest.raises(BadInput, match="efficient_ad-lite0: padding belongs to its own teacher"):
        build_detector(DetectorConfig(name="efficient_ad", args={"padding": True}), seed=0)
    with pytest.raises(BadInput, match="no folder /nowhere of natural images"):
        build_detector(DetectorConfig(name="efficient_ad", args={"imagenet_dir": "/nowhere"}), seed=0)
    detector = build_detector(DetectorConfig(name="padim", image_size=32, args={"n_features": 5}), seed=0)
    with pytest.raises(GoodshotError, match="not fitted"):
        detector.score(crops[:1])
    with pytest.raises(BadInput, match="no image"):
        detector.fit([])


def test_weights_that_a_library_cannot_find_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a model asks for files in a way of its own; those that are known are looked for before (see pretrained)."""
    import timm

    def offline(*arguments: Any, **options: Any) -> None:
        raise OSError("cannot find resnet18 in the local cache")

    monkeypatch.setattr(building, "check_weights", lambda config: None)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(MissingWeights, match=r"fastflow-resnet18: its pretrained weights are not .* \(cannot find"):
        build_detector(DetectorConfig(name="fastflow", backbone="resnet18"), seed=0)
