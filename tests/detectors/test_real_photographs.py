import numpy as np
import pytest

from goodshot.components.detectors import DetectorConfig, build_detector
from goodshot.components.metrics.detection import DetectionMetrics, evaluate
from tests.detectors.photographs import folder, mask, photograph


def one_shot(category: tuple[str, ...], support: int, per_type: int | None, size: int) -> DetectionMetrics:
    """PatchCore fitted on one train image and judged on (the first `per_type` of) each test folder."""
    root = folder(*category)
    detector = build_detector(DetectorConfig(image_size=size), seed=support)
    detector.fit(photograph(sorted((root / "train" / "good").iterdir())[support]))
    paths = [p for kind in sorted((root / "test").iterdir()) for p in sorted(kind.iterdir())[:per_type]]
    labels = [path.parent.name != "good" for path in paths]
    masks = np.zeros((len(paths), size, size), bool)
    for index, path in enumerate(paths):
        if labels[index]:
            (found,) = (root / "ground_truth" / path.parent.name).glob(f"{path.stem}*")
            masks[index] = mask(found, size)
    return evaluate(detector.score([photograph(path) for path in paths]), labels, masks)


@pytest.mark.real
def test_one_hazelnut_finds_the_painted_ones() -> None:
    metrics = one_shot(("hazelnut_toy",), support=0, per_type=6, size=128)
    assert metrics.image_auroc > 0.8
    assert metrics.pixel_auroc > 0.8
    assert metrics.aupro > 0.5


@pytest.mark.real
@pytest.mark.slow
def test_one_shot_pill_reaches_what_was_measured() -> None:
    """Eight supports of 80, four seconds each: single supports range from 0.69 to 0.86."""
    metrics = [one_shot(("mvtec_ad_256", "pill"), support=s, per_type=None, size=256) for s in range(0, 80, 10)]
    assert np.mean([m.image_auroc for m in metrics]) == pytest.approx(0.764, abs=0.01)
    assert all(m.pixel_auroc > 0.92 for m in metrics)
    assert all(m.aupro > 0.8 for m in metrics)
