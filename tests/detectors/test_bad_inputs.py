"""What a user can get wrong with a detector, or photographs can: one clear line each, or an honest NaN."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from goodshot.components.detectors import DetectorConfig, Scores, build_detector
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.metrics.detection import evaluate
from tests.detectors.photographs import texture_crops

SMALL: dict[str, dict[str, Any]] = {
    "patchcore": {"image_size": 64},
    "cflow": {"image_size": 64, "args": {"coupling_blocks": 2, "fiber_batch_size": 16}, "epochs": 1},
    "reverse_distillation": {"image_size": 64, "epochs": 1},
    "padim": {"image_size": 64, "args": {"n_features": 20}},
}


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    return texture_crops("gravel", 3, 64)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "patchcor"}, "anomalib has no such model; did you mean patchcore"),
        ({"name": "patchcore", "backbone": None}, "patchcore: needs a backbone"),
        ({"crop": 16}, "greater than or equal to 32"),
        ({"weights": "none"}, "'pretrained' or 'random'"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectorConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backbone": "wide_resnet50"}, "timm has no such network; did you mean wide_resnet50_2"),
        ({"backbone": "resnet18", "layers": ["layer5"]}, "of resnet18 must be some of .*'layer4'.*, in this order"),
        ({"backbone": "resnet18", "layers": ["layer3", "layer2"]}, "in this order"),
    ],
)
def test_a_backbone_or_layer_that_is_not_there_is_named_when_built(fields: dict[str, Any], message: str) -> None:
    config = DetectorConfig(weights="random", **fields)
    with pytest.raises(BadInput, match=message):
        build_detector(config, seed=0)


@pytest.mark.parametrize("name", SMALL)
def test_one_training_image_of_whatever_size_or_colour_gives_finite_scores_or_one_line(
    name: str, crops: NDArray[np.uint8]
) -> None:
    config = DetectorConfig(name=name, **SMALL[name])
    pixel, grey = np.full((1, 1, 1, 3), 9, np.uint8), np.full((1, 64, 64, 3), 128, np.uint8)
    for train in (crops[:1], pixel, grey):
        detector = build_detector(config, seed=0)
        try:
            detector.fit(train)
            scores = detector.score([crops[1:2], pixel, grey])
        except GoodshotError as error:
            # A Gaussian of one image has no covariance.
            assert name == "padim"
            assert "\n" not in str(error)  # noqa: PT017
            continue
        assert np.isfinite(scores.image).all()
        assert scores.maps.shape == (3, 64, 64)


def test_efficient_ad_says_that_one_step_is_too_few() -> None:
    grey = np.full((1, 256, 256, 3), 128, np.uint8)
    with pytest.raises(BadInput, match="efficient_ad-lite0: its schedule of the learning rate needs 2 steps"):
        build_detector(DetectorConfig(name="efficient_ad", epochs=1), seed=0).fit(grey)


@pytest.mark.slow
def test_efficient_ad_reads_images_of_one_pixel_or_one_colour() -> None:
    pixel, grey = np.full((1, 1, 1, 3), 9, np.uint8), np.full((1, 64, 64, 3), 128, np.uint8)
    detector = build_detector(DetectorConfig(name="efficient_ad", steps=2), seed=0)
    detector.fit([pixel, grey])
    scores = detector.score([pixel, grey])
    assert np.isfinite(scores.image).all()
    assert np.isfinite(scores.maps).all()


def test_a_test_set_of_one_class_has_nan_metrics(crops: NDArray[np.uint8]) -> None:
    detector = build_detector(DetectorConfig(image_size=64), seed=0)
    detector.fit(crops[:1])
    metrics = evaluate(detector.score(crops[1:]), [0, 0], np.zeros((2, 64, 64), bool), resamples=0)
    assert np.isnan([metrics.image_auroc, metrics.pixel_auroc, metrics.aupro]).all()


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_scores_that_are_not_finite_are_an_error(bad: float) -> None:
    image, maps = np.array([0.0, bad], np.float32), np.zeros((2, 4, 4), np.float32)
    with pytest.raises(GoodshotError, match="image scores hold 1 non-finite values"):
        evaluate(Scores(image, maps), [0, 1], None)
    maps[1, 0, 0] = bad
    masks = np.zeros((2, 4, 4), bool)
    masks[1, 1, 1] = True
    with pytest.raises(GoodshotError, match="anomaly maps hold 1 non-finite values"):
        evaluate(Scores(np.array([0.0, 1.0], np.float32), maps), [0, 1], masks)
