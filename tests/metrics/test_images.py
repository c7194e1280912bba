"""Image metrics, their intervals, and what `evaluate` says of every subset."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from goodshot.components.detectors import Scores
from goodshot.components.errors import BadInput
from goodshot.components.metrics.detection import SPRO_LIMITS, DetectionMetrics, evaluate
from goodshot.components.metrics.images import image_values

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)


@settings(deadline=None)
@given(PAIRS)
def test_values_are_scikit_learns(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([30.0 + s for s, _ in pairs]), np.array([bad for _, bad in pairs])
    found = {name: v.value for name, v in image_values(scores, labels, resamples=0).items()}
    if labels.all() or not labels.any():
        assert np.isnan([*found.values()]).all()
        return
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert found["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found["image_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()
    assert found["image_f1_max"] == pytest.approx(f1, abs=1e-12)
    flagged = scores >= found["image_f1_threshold"]
    assert 2 * (flagged & labels).sum() / (flagged.sum() + labels.sum()) == pytest.approx(f1)


def test_intervals_are_those_of_resampling_each_class() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(60) >= 20
    scores = np.round(rng.normal(size=60) + labels, 1)
    found = image_values(scores, labels)
    good, bad = np.flatnonzero(~labels), np.flatnonzero(labels)
    samples: dict[str, list[float]] = {"image_auroc": [], "image_ap": []}
    for _ in range(600):
        drawn = np.concatenate([rng.choice(good, len(good)), rng.choice(bad, len(bad))])
        samples["image_auroc"].append(roc_auc_score(labels[drawn], scores[drawn]))
        samples["image_ap"].append(average_precision_score(labels[drawn], scores[drawn]))
    for name, sample in samples.items():
        assert (found[name].low, found[name].high) == pytest.approx(np.quantile(sample, [0.025, 0.975]), abs=0.03)
        assert found[name].low < found[name].value < found[name].high
    assert np.isnan(found["image_f1_threshold"].low)
    again = image_values(scores, labels)
    assert [(v.low, v.high) for v in again.values()][:3] == [(v.low, v.high) for v in found.values()][:3]
    assert image_values(scores, labels, seed=1)["image_auroc"].low != found["image_auroc"].low


def by_name(metrics: DetectionMetrics) -> dict[tuple[str, str], float]:
    return {(v.subset, v.metric): v.value for v in metrics.values}


def loco() -> tuple[Scores, list[int], np.ndarray, list[str], list]:
    """Two good images, one logical and two structural ones of 16 × 16 pixels."""
    rng = np.random.default_rng(0)
    masks = np.zeros((5, 16, 16), bool)
    masks[2, :4] = masks[3, 4:6, 4:6] = masks[4, 8:12, 8:12] = True
    maps = (rng.random((5, 16, 16)) + masks * rng.random((5, 16, 16))).astype(np.float32)
    types = ["good", "good", "logical_anomalies", "structural_anomalies", "structural_anomalies"]
    defects: list = [[] for _ in masks]
    for i, saturation in ((2, 0.2), (3, 1.0), (4, 0.5)):
        defects[i] = [(masks[i], saturation)]
    return Scores(maps.max((1, 2)), maps), [0, 0, 1, 1, 1], masks, types, defects


def test_every_subset_is_its_images_against_all_good_ones() -> None:
    scores, labels, masks, types, defects = loco()
    found = evaluate(scores, labels, masks, types, defects)
    values = by_name(found)
    assert {subset for subset, _ in values} == {"all", "mean", "logical_anomalies", "structural_anomalies"}
    for subset, members in {"logical_anomalies": [0, 1, 2], "structural_anomalies": [0, 1, 3, 4]}.items():
        part = Scores(scores.image[members], scores.maps[members])
        alone = evaluate(part, np.take(labels, members), masks[members], defects=[defects[i] for i in members])
        expected = {metric: value for (_, metric), value in by_name(alone).items()}
        assert {metric: v for (s, metric), v in values.items() if s == subset} == pytest.approx(expected, abs=1e-12)
    for metric in ("image_auroc", "aupro", *(f"au_spro_{limit:g}" for limit in SPRO_LIMITS)):
        two = [values[subset, metric] for subset in ("logical_anomalies", "structural_anomalies")]
        assert values["mean", metric] == pytest.approx(np.mean(two))
    assert (found.image_auroc, found.pixel_auroc, found.aupro) == tuple(
        values["all", name] for name in ("image_auroc", "pixel_auroc", "aupro")
    )


def test_what_is_undefined_is_nan_in_every_subset() -> None:
    scores, _, masks, types, _ = loco()
    good_only = evaluate(scores, [0] * 5, np.zeros_like(masks), types)
    assert len(good_only.values) == 9
    assert np.isnan([v.value for v in good_only.values]).all()
    # A kind whose images have no masks has no pixel values, and the others keep theirs.
    masks[2] = False
    values = by_name(evaluate(scores, [0, 0, 1, 1, 1], masks, types))
    assert np.isnan([v for (s, m), v in values.items() if s == "logical_anomalies" and "image" not in m]).all()
    assert np.isfinite([v for (s, _), v in values.items() if s != "logical_anomalies"]).all()
    none = by_name(evaluate(scores, [0, 0, 1, 1, 1], None, types))
    assert all(np.isnan(v) == ("image" not in metric) for (_, metric), v in none.items())


def test_wrong_labels_and_regions_are_named() -> None:
    scores, labels, masks, types, defects = loco()
    with pytest.raises(BadInput, match="image 2 is labelled good, but its mask marks 64 pixels"):
        evaluate(scores, [0, 0, 0, 1, 1], masks, types)
    defects[3] = [(~masks[3], 1.0)]
    with pytest.raises(BadInput, match="outside of its image's mask"):
        evaluate(scores, labels, masks, types, defects)
    defects[3] = [(masks[3], 60.0)]
    with pytest.raises(BadInput, match=r"share of its area, in \(0, 1\]; got 60"):
        evaluate(scores, labels, masks, types, defects)
