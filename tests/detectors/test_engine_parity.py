"""The same maps and scores as anomalib's Engine, from the same images and seed: made-up crops, then real hazelnuts.

Weights that cannot be had here are random and seeded: enough to compare two ways of running one model, never a result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from goodshot.components.detectors import DetectorConfig, build_detector
from goodshot.components.metrics.detection import evaluate
from tests.detectors.by_the_engine import EFFICIENT_AD, by_the_engine
from tests.detectors.photographs import folder, natural_folder, texture_crops

RESNET = {"backbone": "resnet18", "layers": ["layer1", "layer2", "layer3"], "weights": "random"}
CONFIGS: dict[str, dict[str, Any]] = {
    "patchcore": {
        "backbone": "wide_resnet50_2",
        "layers": ["layer2", "layer3"],
        "weights": "random",
        "coreset_ratio": 0.1,
        "image_size": 112,
        "crop": 96,
    },
    "padim": {"args": {"n_features": 20}, "image_size": 96},
    "cflow": {
        "args": {"coupling_blocks": 2, "fiber_batch_size": 32},
        "epochs": 2,
        "batch_size": 3,
        "image_size": 96,
    },
    "reverse_distillation": {**RESNET, "steps": 3, "batch_size": 2, "image_size": 96},
    "stfpm": {**RESNET, "steps": 3, "batch_size": 2, "image_size": 96, "learning_rate": None},
    # Its autoencoder has a kernel that smaller images do not fill.
    "efficient_ad": {"backbone": None, "weights": "random", "steps": 2, "image_size": 256},
}
WITH_SLOW = [n if n != EFFICIENT_AD else pytest.param(n, marks=pytest.mark.slow) for n in CONFIGS]
FOUR = ("patchcore", "cflow", "reverse_distillation", "efficient_ad")


def config_of(name: str, natural: Path) -> DetectorConfig:
    fields = dict(CONFIGS[name])
    if name == EFFICIENT_AD:
        fields["args"] = {"imagenet_dir": str(natural), "teacher_out_channels": 16}
    return DetectorConfig(name=name, **fields)


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return natural_folder(tmp_path_factory.mktemp("natural"))


@pytest.mark.parametrize("name", WITH_SLOW)
def test_maps_and_scores_are_those_of_anomalibs_engine(name: str, natural: Path, tmp_path: Path) -> None:
    config = config_of(name, natural)
    # Larger than the detectors' input, so that the resize takes part; but anomalib crops EfficientAD's natural images
    # to the size that files have before its preprocessor, so there let them be equal.
    crops = texture_crops("gravel", 6, config.image_size if name == EFFICIENT_AD else 128)
    detector = build_detector(config, seed=5)
    detector.fit(crops[:4])
    scores = detector.score(crops[4:])
    theirs = by_the_engine(config, crops[:4], crops[4:], 5, tmp_path)
    np.testing.assert_allclose(scores.maps, theirs.maps, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(scores.image, theirs.image, atol=1e-4, rtol=1e-4)


def hazelnuts(kind: str, count: int, size: int = 256) -> NDArray[np.uint8]:
    paths = sorted(folder("hazelnut_toy").joinpath(kind).iterdir())[:count]
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize((size, size))) for path in paths])


@pytest.fixture(scope="module")
def toy() -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[int]]:
    """Three hazelnuts to train on; six good and six painted ones to test on, and their labels."""
    tests = np.concatenate([hazelnuts("test/good", 6), hazelnuts("test/colour", 6)])
    return hazelnuts("train/good", 3), tests, [0] * 6 + [1] * 6


@pytest.mark.real
@pytest.mark.parametrize("name", [n if n != EFFICIENT_AD else pytest.param(n, marks=pytest.mark.slow) for n in FOUR])
def test_hazelnuts_score_as_in_the_engine_and_the_auroc_is_scikit_learns(
    name: str, toy: tuple[NDArray[np.uint8], NDArray[np.uint8], list[int]], natural: Path, tmp_path: Path
) -> None:
    train, tests, labels = toy
    config = config_of(name, natural)
    detector = build_detector(config, seed=2)
    detector.fit(train)
    scores = detector.score(tests)
    theirs = by_the_engine(config, train, tests, 2, tmp_path)
    np.testing.assert_allclose(scores.maps, theirs.maps, atol=1e-4, rtol=1e-4)
    ours = evaluate(scores, labels, None, resamples=0)
    assert ours.image_auroc == pytest.approx(roc_auc_score(labels, theirs.image))


@pytest.mark.real
def test_what_anomalib_prints_is_another_auroc(toy: tuple[NDArray[np.uint8], NDArray[np.uint8], list[int]]) -> None:
    """Raw scores are passed through a sigmoid, normalised ones are clamped: both tie what the detector told apart."""
    from anomalib.data import ImageBatch
    from anomalib.metrics import AUROC
    from anomalib.post_processing import PostProcessor

    train, tests, labels = toy
    detector = build_detector(DetectorConfig(image_size=128), seed=0)
    detector.fit(train[:1])
    scores = detector.score(tests)
    truth = roc_auc_score(labels, scores.image)
    assert evaluate(scores, labels, None, resamples=0).image_auroc == pytest.approx(truth)

    def printed(values: torch.Tensor) -> float:
        metric = AUROC(fields=["pred_score", "gt_label"])
        image = torch.zeros(len(values), 3, 8, 8)
        metric.update(ImageBatch(image=image, pred_score=values, gt_label=torch.tensor(labels, dtype=torch.bool)))
        return float(metric.compute())

    raw = torch.from_numpy(scores.image)
    assert len(raw.sigmoid().unique()) < len(raw.unique())
    assert printed(raw) != pytest.approx(truth, abs=1e-3)

    # As where only good images are there to validate on.
    good = raw[:3]
    clamped = PostProcessor._normalize(raw, good.min(), good.max(), torch.tensor(float("nan")))
    assert len(clamped.unique()) < len(raw.unique())
    assert printed(clamped) == pytest.approx(roc_auc_score(labels, clamped))
    assert printed(clamped) != pytest.approx(truth, abs=1e-3)
