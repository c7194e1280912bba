"""Sites: masks of the training third, moved, on the product, never empty; a function of (seed, index)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from goodshot.components.data import read_dataset
from goodshot.components.defects import DefectImages, Site
from goodshot.components.defects.foreground import foreground
from goodshot.components.defects.placing import PlacingConfig, free_sites, sites
from goodshot.components.defects.warping import IDENTITY, about, warp_image, warp_mask
from goodshot.components.errors import BadInput
from tests.defects.conftest import Category
from tests.defects.decoding import decode_images

NO_CHANGE = PlacingConfig(rotation=0, scale=(1, 1), flip=False, unchanged=1)


def same(one: Site, other: Site) -> bool:
    arrays = np.array_equal(one.mask, other.mask) and np.array_equal(one.matrix, other.matrix)
    return arrays and (one.good, one.source) == (other.good, other.source)


def test_the_product_is_an_object_or_the_whole_image(photographs: Path, coin: Category) -> None:
    side = coin.goods.shape[1]
    y, x = np.ogrid[:side, :side]
    radius = np.hypot(y - side / 2, x - side / 2)
    assert coin.products[:, radius < 0.3 * side].mean() > 0.98
    assert coin.products[:, radius > 0.48 * side].mean() < 0.02
    for texture in ("brick", "gravel"):
        goods = decode_images([s for s in read_dataset("demo", photographs, texture) if s.split == "train"], 64)
        assert foreground(goods).all()
    with pytest.raises(BadInput, match="no good photograph"):
        foreground(goods[:0])


def test_a_uniform_photograph_is_product_everywhere() -> None:
    assert foreground(np.full((2, 16, 16, 3), 90, dtype=np.uint8)).all()


def test_the_first_sites_are_the_same_however_many_are_made(coin: Category) -> None:
    few, many = (list(sites(coin.products, coin.defects, range(n), seed=3)) for n in (6, 24))
    assert all(same(a, b) for a, b in zip(few, many, strict=False))
    (alone,) = sites(coin.products, coin.defects, [17], seed=3)
    assert same(alone, many[17])
    other = list(sites(coin.products, coin.defects, range(24), seed=4))
    assert not any(same(a, b) for a, b in zip(other, many, strict=True))


def test_types_take_turns_and_so_do_the_images_of_a_type() -> None:
    masks = np.ones((7, 8, 8), dtype=np.bool_)
    types = ("b", "a", "b", "b", "c", "a", "b")
    defects = DefectImages(np.zeros((7, 8, 8, 3), np.uint8), masks, types, types)
    made = list(sites(masks[:2], defects, range(3 * 8), seed=0, config=NO_CHANGE))
    assert [types[site.source] for site in made] == ["a", "b", "c"] * 8
    assert Counter(site.source for site in made) == {1: 4, 5: 4, 0: 2, 2: 2, 3: 2, 6: 2, 4: 8}


def test_masks_lie_on_the_product_within_the_bounds(coin: Category) -> None:
    config = PlacingConfig(rotation=30, scale=(0.8, 1.25), unchanged=0)
    moved = 0
    for site in sites(coin.products, coin.defects, range(48), seed=1, config=config):
        assert site.mask.any()
        assert not (site.mask & ~coin.products[site.good]).any()
        linear = site.matrix[:, :2]
        scale = np.sqrt(abs(np.linalg.det(linear)))
        assert 0.8 - 1e-9 <= scale <= 1.25 + 1e-9
        rotation = linear / scale @ np.diag([np.sign(np.linalg.det(linear)), 1])
        assert abs(np.rad2deg(np.arctan2(rotation[1, 0], rotation[0, 0]))) <= 30 + 1e-9
        assert site.mask.sum() >= 0.5 * scale**2 * coin.defects.masks[site.source].sum()
        moved += not np.array_equal(site.matrix, IDENTITY)
    assert moved > 40


def test_unchanged_masks_are_the_training_images_own(coin: Category) -> None:
    everywhere = np.ones_like(coin.products)
    for site in sites(everywhere, coin.defects, range(12), seed=0, config=NO_CHANGE):
        assert np.array_equal(site.mask, coin.defects.masks[site.source])
        assert np.array_equal(site.matrix, IDENTITY)


def test_a_mask_beside_the_product_and_one_of_the_whole_product_stay(coin: Category) -> None:
    product = np.zeros((1, 64, 64), dtype=np.bool_)
    product[0, 10:12, 10:12] = True
    beside, whole = (np.zeros((64, 64), dtype=np.bool_) for _ in range(2))
    beside[40:60, 40:60], whole[9:13, 9:13] = True, True
    images = coin.defects.images[:1]
    (site,) = sites(product, DefectImages(images, beside[None], ("a",), ("a",)), [0], seed=0)
    assert np.array_equal(site.mask, beside)
    for index in range(5):
        (site,) = sites(product, DefectImages(images, whole[None], ("a",), ("a",)), [index], seed=0)
        assert np.array_equal(site.mask, product[0])


def test_a_training_image_without_a_marked_pixel_is_refused(coin: Category) -> None:
    empty = replace(coin.defects, masks=np.zeros_like(coin.defects.masks))
    with pytest.raises(BadInput, match="nothing is marked in the mask of a training image of type foreign; draw"):
        next(sites(coin.products, empty, [0], seed=0))


def test_free_sites_are_whole_products(coin: Category) -> None:
    made = list(free_sites(coin.products, range(8), seed=0))
    assert all(site.source == -1 and np.array_equal(site.mask, coin.products[site.good]) for site in made)
    assert same(made[5], next(free_sites(coin.products, [5], seed=0)))


def test_an_affine_map_moves_a_pixel_to_where_it_says() -> None:
    mask = np.zeros((9, 9), dtype=np.bool_)
    mask[2, 5] = True
    quarter = about(np.array([4.0, 4.0]), np.array([[0.0, -1.0], [1.0, 0.0]]), np.array([4.0, 3.0]))
    x, y = quarter @ [5, 2, 1]
    moved = warp_mask(mask, quarter)
    assert np.argwhere(moved).tolist() == [[round(y), round(x)]]
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert np.array_equal(warp_image(image, IDENTITY), image)
    assert np.array_equal(warp_image(image, quarter)[round(y), round(x)], image[2, 5])


def test_placing_never_looks_at_the_images(coin: Category) -> None:
    black = replace(coin.defects, images=np.zeros_like(coin.defects.images))
    pairs = zip(*(sites(coin.products, d, range(8), seed=0) for d in (coin.defects, black)), strict=True)
    assert all(same(a, b) for a, b in pairs)


@pytest.mark.real
@pytest.mark.parametrize("category", ["pill", "bottle"])
def test_real_masks_on_real_products(real: Callable[[str], Category], category: str) -> None:
    found = real(category)
    types = len(found.thirds.types)
    made = list(sites(found.products, found.defects, range(8 * types), seed=0))
    assert {*Counter(found.defects.types[site.source] for site in made).values()} == {8}
    assert all(site.mask.any() and not (site.mask & ~found.products[site.good]).any() for site in made)
    of_type = [s for s in made if found.defects.types[s.source] == found.thirds.types[0]]
    assert len({site.mask.tobytes() for site in of_type}) > 4
