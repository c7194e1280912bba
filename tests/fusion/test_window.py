"""The squares in which defects are learned and made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from goodshot.components.defects.images import Site
from goodshot.components.fusion.fusion import Fusion
from goodshot.components.fusion.window import Window, random_window, to_image, window_about


def mask_of(rows: slice, columns: slice, side: int = 64) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[rows, columns] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "window"),
    [
        (mask_of(slice(20, 30), slice(30, 50)), Window(5, 20, 40)),
        (mask_of(slice(30, 31), slice(40, 41)), Window(22, 32, 16)),  # a quarter at least
        (mask_of(slice(0, 10), slice(60, 64)), Window(0, 44, 20)),  # within the image
        (mask_of(slice(2, 60), slice(0, 64)), Window(0, 0, 64)),
        (mask_of(slice(0, 0), slice(0, 0)), Window(0, 0, 64)),
    ],
)
def test_a_window_is_the_square_about_the_mask(mask: np.ndarray, window: Window) -> None:
    assert window_about(mask, 2.0) == window
    assert window.of(mask).sum() == mask.sum()


def test_without_a_margin_it_is_the_whole_image() -> None:
    assert window_about(mask_of(slice(3, 5), slice(3, 5)), 0) == Window(0, 0, 64)


def test_random_windows_lie_in_the_image_and_have_all_sizes() -> None:
    windows = [random_window(40, np.random.default_rng(i)) for i in range(300)]
    assert {window.side for window in windows} == set(range(10, 41))
    assert all(0 <= w.top <= 40 - w.side and 0 <= w.left <= 40 - w.side for w in windows)


def test_a_window_of_the_resolution_is_not_resampled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_allclose(to_image(pixels, 16).permute(1, 2, 0), pixels / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("window", [0.0, 3.0])
def test_the_good_image_is_kept_outside_the_mask_whatever_the_window(
    begin: Callable[..., Fusion], sites: list[Site], goods: np.ndarray, window: float
) -> None:
    made = begin(window=window).generate(sites[:3], goods, seed=0)
    for image, site in zip(made, sites, strict=False):
        assert np.array_equal(image[~site.mask], goods[site.good][~site.mask])
