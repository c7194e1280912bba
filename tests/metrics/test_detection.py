from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from goodshot.components.detectors import Scores
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.metrics.detection import aupro, evaluate, image_auroc, pixel_auroc

SHAPE = (2, 5, 6)
# Few levels make ties, many make none; raw scores lie far outside [0, 1].
LEVELS = st.sampled_from([2, 5, 1000])
MASKS = arrays(np.bool_, SHAPE)
LIMITS = st.sampled_from([0.05, 0.3, 0.29, 1.0])


@st.composite
def score_maps(draw: st.DrawFn) -> NDArray[np.float32]:
    levels = draw(LEVELS)
    return draw(arrays(np.int64, SHAPE, elements=st.integers(0, levels))).astype(np.float32) + 30


def aupro_threshold_by_threshold(maps: NDArray[np.float32], masks: NDArray[np.bool_], max_fpr: float) -> float:
    """The definition, one threshold and one region at a time, integrated on a line through the points."""
    regions = []
    for index, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(index, labelled == label) for label in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        flagged = maps >= threshold
        overlaps = [flagged[index][region].mean() for index, region in regions]
        points.append((float(flagged[~masks].mean()), float(np.mean(overlaps))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= max_fpr or x1 == x0:
            continue
        end = min(x1, max_fpr)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + y_end) / 2
    return area / max_fpr


@settings(deadline=None)
@given(score_maps(), MASKS, LIMITS)
def test_aupro_equals_the_definition(maps: NDArray[np.float32], masks: NDArray[np.bool_], limit: float) -> None:
    if masks.all() or not masks.any():
        assert np.isnan(aupro(maps, masks, limit))
    else:
        assert aupro(maps, masks, limit) == pytest.approx(aupro_threshold_by_threshold(maps, masks, limit), abs=1e-9)


@settings(deadline=None)
@given(score_maps(), MASKS)
def test_both_aurocs_equal_scikit_learns(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> None:
    if masks.all() or not masks.any():
        assert np.isnan(pixel_auroc(maps, masks))
        return
    expected = roc_auc_score(masks.ravel(), maps.ravel())
    assert pixel_auroc(maps, masks) == pytest.approx(expected, abs=1e-12)
    assert image_auroc(maps.ravel(), masks.ravel().astype(int)) == pytest.approx(expected, abs=1e-12)


def test_a_perfect_map_is_one_and_a_constant_map_is_the_diagonal() -> None:
    masks = np.zeros((1, 10, 10), bool)
    masks[0, 2:4, 2:4] = masks[0, 6:9, 6:9] = True
    assert aupro(masks.astype(np.float32), masks) == pytest.approx(1)
    assert aupro(np.ones((1, 10, 10), np.float32), masks) == pytest.approx(0.15)  # half of 0.3, all tied
    assert pixel_auroc(np.ones((1, 10, 10), np.float32), masks) == 0.5


def test_regions_weigh_alike_whatever_their_area_and_touch_at_corners() -> None:
    masks = np.zeros((1, 8, 8), bool)
    masks[0, :4, :4] = True
    masks[0, 4, 4] = True  # touches the square by a corner: the same region
    masks[0, 7, 7] = True  # a region of its own
    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, 7, 7] = 1
    assert aupro(maps, masks, max_fpr=1.0) == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_one_class_only_is_nan(labels: list[int]) -> None:
    assert np.isnan(image_auroc([1.0, 2.0, 3.0], labels))


def test_evaluate_gives_nan_for_what_the_set_does_not_define() -> None:
    scores = Scores(np.float32([30, 40]), np.zeros((2, 4, 4), np.float32))
    without = evaluate(scores, [False, True], None)
    assert without.image_auroc == 1
    assert np.isnan([without.pixel_auroc, without.aupro]).all()
    no_defect = evaluate(scores, [0, 0], np.zeros((2, 4, 4), bool))
    assert np.isnan([no_defect.image_auroc, no_defect.pixel_auroc, no_defect.aupro]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_scores_are_an_error(bad: float) -> None:
    with pytest.raises(GoodshotError, match="1 non-finite"):
        image_auroc([1.0, bad], [0, 1])
    maps = np.zeros((1, 2, 2))
    maps[0, 0, 0] = bad
    with pytest.raises(GoodshotError, match="1 non-finite"):
        aupro(maps, np.eye(2, dtype=bool)[None])


def test_maps_and_masks_of_different_size_name_both() -> None:
    with pytest.raises(BadInput, match=r"\(1, 4, 4\).*\(1, 8, 8\)"):
        pixel_auroc(np.zeros((1, 4, 4)), np.zeros((1, 8, 8), bool))
    with pytest.raises(BadInput, match="alike"):
        image_auroc([1.0, 2.0], [0])
    with pytest.raises(BadInput, match="0 and 1"):
        image_auroc([1.0, 2.0], [0, 255])


def test_anomalibs_auroc_squashes_raw_scores_and_ours_does_not() -> None:
    """Raw PatchCore scores lie around 30, where a float32 sigmoid is 1 for all: every pair becomes a tie."""
    import torch
    from anomalib.data import ImageBatch
    from anomalib.metrics import AUROC

    raw, labels = np.float32([28, 29, 30, 31, 32, 33]), np.array([0, 0, 1, 0, 1, 1])
    metric = AUROC(fields=["pred_score", "gt_label"])
    images = torch.zeros(6, 3, 4, 4)
    metric.update(ImageBatch(image=images, pred_score=torch.from_numpy(raw), gt_label=torch.from_numpy(labels)))
    assert float(metric.compute()) == pytest.approx(0.5)
    assert image_auroc(raw, labels) == pytest.approx(roc_auc_score(labels, raw))
    assert image_auroc(raw, labels) == pytest.approx(8 / 9)


def test_anomalibs_pixel_auroc_squashes_raw_maps_too() -> None:
    """The same on maps, where one pixel outside of [0, 1] is enough for all of the batch."""
    import torch
    from anomalib.data import ImageBatch
    from anomalib.metrics import AUROC

    rng = np.random.default_rng(0)
    masks = rng.random((2, 8, 8)) > 0.8
    maps = (30 + rng.random((2, 8, 8)) + masks).astype(np.float32)

    def theirs(values: NDArray[np.float32]) -> float:
        metric = AUROC(fields=["anomaly_map", "gt_mask"])
        images = torch.zeros(2, 3, 8, 8)
        metric.update(
            ImageBatch(image=images, anomaly_map=torch.from_numpy(values), gt_mask=torch.from_numpy(masks.astype(int)))
        )
        return float(metric.compute())

    expected = roc_auc_score(masks.ravel(), maps.ravel())
    assert pixel_auroc(maps, masks) == pytest.approx(expected, abs=1e-12)
    assert theirs(maps) == pytest.approx(0.5)
    assert theirs((maps - maps.min()) / np.ptp(maps)) == pytest.approx(expected, abs=1e-5)
