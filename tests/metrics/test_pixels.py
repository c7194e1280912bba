"""Counting in blocks of scores gives what sorting all pixels at once gives, however small the blocks."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from goodshot.components.metrics import pixels
from goodshot.components.metrics.detection import au_spro, aupro, pixel_auroc
from goodshot.components.metrics.pixels import Pixels, measure
from goodshot.components.metrics.regions import Region
from tests.metrics.test_detection import MASKS, SHAPE

Map = NDArray[np.float32]

# Both signs, both zeros, denormal and huge values, and many ties: all that a range of scores could get wrong.
VALUES = st.sampled_from([-3e38, -30.5, -1.0, -1e-42, -0.0, 0.0, 1e-42, 1.0, 1.0000001, 2.0, 30.0, 30.001, 3e38])
ANY = arrays(np.float32, SHAPE, elements=VALUES)


def reference(maps: Map, masks: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """AUROC, AP, F1-max and its threshold by scikit-learn."""
    precision, recall, thresholds = precision_recall_curve(masks.ravel(), maps.ravel())
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    at = np.flatnonzero(np.isclose(f1, f1.max(), rtol=1e-12, atol=0))[-1]
    truth, scores = masks.ravel(), maps.ravel()
    return roc_auc_score(truth, scores), average_precision_score(truth, scores), float(f1.max()), thresholds[at]


@settings(deadline=None, max_examples=200)
@given(ANY, MASKS, st.sampled_from([1, 7, 40, 1 << 24]))
@example(np.full(SHAPE, 7, np.float32), np.arange(60).reshape(SHAPE) < 9, 1)
def test_any_block_size_equals_scikit_learn(maps: Map, masks: NDArray[np.bool_], block: int) -> None:
    ranking = measure(Pixels(maps, masks), block=block)[0].ranking
    found = [float(v) for v in (ranking.auroc, ranking.ap, ranking.f1_max, ranking.f1_threshold)]
    if masks.all() or not masks.any():
        assert np.isnan(found).all()
    else:
        assert found == pytest.approx(reference(maps, masks), abs=1e-12)


@settings(deadline=None)
@given(ANY, MASKS, st.sampled_from([1, 7, 40]))
def test_the_overlap_does_not_depend_on_the_block_size(maps: Map, masks: NDArray[np.bool_], block: int) -> None:
    whole = aupro(maps, masks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels.measure, "__defaults__", ((), block))
        assert aupro(maps, masks) == pytest.approx(whole, abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(ANY, MASKS, st.lists(st.integers(0, 3), min_size=2, max_size=2), st.sampled_from([7, 1 << 24]))
def test_a_subset_is_what_measuring_its_images_alone_gives(
    maps: Map, masks: NDArray[np.bool_], kinds: list[int], block: int
) -> None:
    maps, masks = np.concatenate([maps, maps[::-1]]), np.concatenate([np.zeros_like(masks), masks])
    of_all = np.array([0, 0, *kinds])
    subsets = measure(Pixels(maps, masks, of_all), block=block)
    assert len(subsets) == max(kinds) + 1
    for g, subset in enumerate(subsets):
        members = np.isin(of_all, (0, g)) if g else np.ones(4, bool)
        # Marks in images that were called good are no subject of a kind's subset.
        if 0 in kinds and g:
            continue
        assert float(subset.ranking.auroc) == pytest.approx(
            pixel_auroc(maps[members], masks[members]), abs=1e-12, nan_ok=True
        )


def test_maps_may_be_a_list_or_lie_in_a_file_and_have_any_precision(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 16, 16)).astype(np.float16)
    masks = rng.random((3, 16, 16)) > 0.9
    expected = pixel_auroc(maps, masks)
    np.save(tmp_path / "maps.npy", maps.astype(np.float32))
    assert pixel_auroc(np.load(tmp_path / "maps.npy", mmap_mode="r"), list(masks)) == expected
    assert pixel_auroc([m.astype(np.float64) for m in maps], masks.astype(np.uint8)) == expected
    # Scores that differ by less than float32 shows are not tied.
    fine = np.array([[[1.0, 1.0 + 1e-12]]])
    assert pixel_auroc(fine, np.array([[[False, True]]])) == 1


SATURATIONS = st.sampled_from([0.04, 0.3, 0.5, 1.0])


@st.composite
def defects(draw: st.DrawFn) -> list[list[Region]]:
    """None to three regions an image: of any shape, overlapping, perhaps without a pixel."""
    region = st.tuples(arrays(np.bool_, SHAPE[1:]), SATURATIONS)
    return [draw(st.lists(region, max_size=3)) for _ in range(SHAPE[0])]


def au_spro_by_definition(maps: Map, regions: list[list[Region]], max_fpr: float) -> float:
    """Every threshold, every region: min(|P ∩ A| / s, 1), the mean of it over the rate of false positives."""
    joined = np.array([np.any([np.zeros(SHAPE[1:], bool), *(r for r, _ in here)], axis=0) for here in regions])
    found = [(i, region, share * region.sum()) for i, here in enumerate(regions) for region, share in here]
    found = [(i, region, s) for i, region, s in found if region.any()]
    if not found or joined.all():
        return float("nan")
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        flagged = maps >= threshold
        spro = np.mean([min((flagged[i] & region).sum() / s, 1) for i, region, s in found])
        points.append((float(flagged[~joined].mean()), float(spro)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 > x0 and x0 < max_fpr:
            end = min(x1, max_fpr)
            area += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return area / max_fpr


@settings(deadline=None, max_examples=200)
@given(ANY, defects(), st.sampled_from([0.05, 0.3, 1.0]))
def test_au_spro_equals_the_definition(maps: Map, regions: list[list[Region]], limit: float) -> None:
    masks = np.array([np.any([np.zeros(SHAPE[1:], bool), *(r for r, _ in here)], axis=0) for here in regions])
    expected = au_spro_by_definition(maps, regions, limit)
    assert au_spro(maps, masks, regions, limit) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_enough_of_a_defect_is_all_of_it_whatever_its_components() -> None:
    mask = np.zeros((1, 20, 20), bool)
    mask[0, :4, :5] = mask[0, 10:14, 10:15] = True  # one defect, two components, 40 pixels
    maps = np.zeros((1, 20, 20), np.float32)
    maps[0, :2, :5] = 1
    assert au_spro(maps, mask, [[(mask[0], 0.25)]], 1.0) == pytest.approx(1)
    # A quarter at once, all of it at the end: the line between them.
    assert au_spro(maps, mask, [[(mask[0], 1.0)]], 1.0) == pytest.approx((0.25 + 1) / 2)
    # PRO counts components, and half of one of the two.
    assert aupro(maps, mask, 1.0) == pytest.approx((0.25 + 1) / 2)


CATEGORY = """
import re, sys
import numpy as np
from goodshot.components.detectors.base import Scores
from goodshot.components.metrics.detection import evaluate
maps, masks = (np.load(f"{sys.argv[1]}/{name}.npy", mmap_mode=m) for name, m in (("maps", "r"), ("masks", None)))
bad = masks.any(axis=(1, 2))
found = evaluate(Scores(maps.max(axis=(1, 2)), maps), bad, masks, [f"kind {i % 7}" for i in range(len(maps))])
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(peak / 1e6, found.pixel_auroc, found.aupro)
"""
"""The peak is that of this program alone: ``ru_maxrss`` begins with that of the process that started it."""


@pytest.mark.slow
def test_a_category_of_1024_pixels_takes_less_than_a_gigabyte_and_a_half(tmp_path: Path) -> None:
    """167 images of 1024², a tenth of all pixels marked: 0.7 GB of scores and 0.2 GB of masks are in the 1.5."""
    rng, shape = np.random.default_rng(0), (167, 1024, 1024)
    maps = np.lib.format.open_memmap(tmp_path / "maps.npy", "w+", np.float32, shape)
    masks = np.lib.format.open_memmap(tmp_path / "masks.npy", "w+", np.bool_, shape)
    for i in range(len(maps)):
        maps[i] = rng.gamma(4, 5, shape[1:])
        if i >= 26:
            masks[i, 300:650, 300:650] = True
            maps[i][masks[i]] += 5
    done = subprocess.run(
        [sys.executable, "-c", CATEGORY, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, *values = map(float, done.stdout.split())
    assert peak < 1.5
    # Of gamma(4, 5) against itself plus 5: the areas under P(X + 5 > t) over P(X > t), whole and up to 0.3.
    assert values == pytest.approx([0.65128, 0.25610], abs=1e-3)
