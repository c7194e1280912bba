"""Fusing two systems' scores: what is chosen follows from which of them is right, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from goodshot.components.detectors.base import Scores
from goodshot.components.errors import BadInput
from goodshot.components.metrics.detection import evaluate
from goodshot.components.metrics.fusing import Fusion, choose_fusion, resized_maps

SIDE = 16
Masks = NDArray[np.bool_]


def defects(count: int, seed: int) -> tuple[list[int], Masks]:
    """Half good, half with a square defect somewhere."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, SIDE, SIDE), bool)
    for mask in masks[count // 2 :]:
        y, x = rng.integers(0, SIDE - 5, 2)
        mask[y : y + 5, x : x + 5] = True
    return [int(mask.any()) for mask in masks], masks


def scores(masks: Masks, finds: Masks, scale: float, offset: float, seed: int) -> Scores:
    """A system on a scale of its own that finds only the defects of some images."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, 0.3, masks.shape) + 2 * masks * finds[:, None, None]
    maps = (maps * scale + offset).astype(np.float32)
    return Scores(np.sort(maps.reshape(len(maps), -1), 1)[:, -10:].mean(1).astype(np.float32), maps)


@pytest.fixture
def halves() -> tuple[list[int], Masks, Scores, Scores]:
    """A detector that finds every second defect and a segmenter that finds the others, on scales 1000 times apart."""
    labels, masks = defects(40, 0)
    even = np.arange(40) % 2 == 0
    return labels, masks, scores(masks, even, 30, 500, 1), scores(masks, ~even, 0.03, 0.1, 2)


def ap(found: Scores, labels: list[int], masks: Masks) -> float:
    return next(v.value for v in evaluate(found, labels, masks, resamples=0).values if v.metric == "pixel_ap")


def test_two_systems_that_see_different_defects_are_better_together(
    halves: tuple[list[int], Masks, Scores, Scores],
) -> None:
    labels, masks, detector, segmenter = halves
    fusion = choose_fusion(detector, segmenter, labels, masks)
    assert 0.3 <= fusion.maps.weight <= 0.7
    test_labels, test_masks = defects(60, 9)
    even = np.arange(60) % 2 == 0
    first = scores(test_masks, even, 30, 500, 11)
    second = scores(test_masks, ~even, 0.03, 0.1, 12)
    fused = fusion(first, second)
    alone = [evaluate(each, test_labels, test_masks, resamples=0).image_auroc for each in (first, second)]
    assert evaluate(fused, test_labels, test_masks, resamples=0).image_auroc > max(alone) + 0.1
    assert ap(fused, test_labels, test_masks) > 0.1 + max(ap(each, test_labels, test_masks) for each in (first, second))


def test_a_system_that_knows_nothing_gets_no_weight(halves: tuple[list[int], Masks, Scores, Scores]) -> None:
    labels, masks, *_ = halves
    everything, nothing = np.ones(40, bool), np.zeros(40, bool)
    good, noise = scores(masks, everything, 1, 0, 1), scores(masks, nothing, 50, 0, 2)
    fusion = choose_fusion(good, noise, labels, masks)
    assert fusion.maps.weight <= 0.1
    assert choose_fusion(noise, good, labels, masks).maps.weight >= 0.9


def test_where_both_are_perfect_both_count_alike() -> None:
    labels, masks = defects(10, 0)
    perfect = Scores(np.asarray(labels, np.float32), masks.astype(np.float32))
    other = Scores(perfect.image * 8 - 3, perfect.maps * 8 - 3)
    fusion = choose_fusion(perfect, other, labels, masks)
    assert fusion.image.weight == fusion.maps.weight == 0.5
    np.testing.assert_allclose(fusion(perfect, other).maps, masks)


def test_constant_and_reversed_scores_are_neither_divided_by_zero_nor_turned_around() -> None:
    labels, masks = defects(10, 0)
    perfect = Scores(np.asarray(labels, np.float32), masks.astype(np.float32))
    for useless in (Scores(perfect.image * 0 + 7, perfect.maps * 0 + 7), Scores(-perfect.image, -perfect.maps)):
        fusion = choose_fusion(perfect, useless, labels, masks)
        fused = fusion(perfect, useless)
        assert np.isfinite(fused.maps).all()
        assert evaluate(fused, labels, masks, resamples=0).image_auroc == 1
        assert ap(fused, labels, masks) == 1


def test_maps_of_another_size_take_the_detectors(halves: tuple[list[int], Masks, Scores, Scores]) -> None:
    labels, masks, detector, segmenter = halves
    small = Scores(segmenter.image, resized_maps(segmenter.maps, (8, 8)))
    fusion = choose_fusion(detector, small, labels, masks)
    fused = fusion(detector, small)
    assert fused.maps.shape == detector.maps.shape
    assert fused.maps.dtype == fused.image.dtype == np.float32
    one = fusion(*(Scores(s.image[3:4], s.maps[3:4]) for s in (detector, small)))
    np.testing.assert_array_equal(one.maps[0], fused.maps[3])


def test_one_weight_is_that_weight(halves: tuple[list[int], Masks, Scores, Scores]) -> None:
    labels, masks, detector, segmenter = halves
    fusion: Fusion = choose_fusion(detector, segmenter, labels, masks, weights=(0.0,))
    np.testing.assert_allclose(fusion(detector, segmenter).image, fusion.image.detector(detector.image))


def test_a_validation_set_without_a_kind_of_image_is_bad_input(
    halves: tuple[list[int], Masks, Scores, Scores],
) -> None:
    labels, masks, detector, segmenter = halves
    with pytest.raises(BadInput, match="needs good images and synthetic anomalies"):
        choose_fusion(detector, segmenter, [1] * 40, masks)
    with pytest.raises(BadInput, match="got 39 labels"):
        choose_fusion(detector, segmenter, labels[:-1], masks)
    with pytest.raises(BadInput, match="40 images, the segmenter of 2"):
        choose_fusion(detector, Scores(segmenter.image[:2], segmenter.maps[:2]), labels, masks)
