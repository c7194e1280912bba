"""Quality of made defective images, on photographs: against pair by pair distances, and by what the measures mean."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray

from goodshot.components.defects import DefectImages
from goodshot.components.errors import BadInput
from goodshot.components.metrics.declared import metric_of
from goodshot.components.metrics.detection import ALL
from goodshot.components.metrics.quality import quality_networks
from goodshot.components.metrics.synthesis import (
    Background,
    cluster_distances,
    intra_cluster_lpips,
    nearest_images,
    synthesis_quality,
)

SIDE = 48
RGB = NDArray[np.uint8]


def crops(name: str, count: int) -> RGB:
    photo = getattr(skimage.data, name)()
    return np.stack([photo[20 + 9 * i :][:SIDE, 100 + 11 * i :][:, :SIDE] for i in range(count)])


@pytest.fixture(scope="module")
def goods() -> RGB:
    return crops("coffee", 2)


def with_spots(goods: RGB, owners: list[int], types: list[str], colour: tuple[int, int, int]) -> DefectImages:
    """Image m is its good one with a square of this colour, at a place that depends on m."""
    images, masks = goods[owners].copy(), np.zeros((len(owners), SIDE, SIDE), bool)
    for m in range(len(owners)):
        masks[m, 10 + m : 20 + m, 5 + 2 * m : 15 + 2 * m] = True
        images[m][masks[m]] = colour
    return DefectImages(images, masks, tuple(types), tuple(types))


@pytest.fixture(scope="module")
def real(goods: RGB) -> DefectImages:
    return with_spots(goods, [0, 1, 0], ["stain", "stain", "dent"], (200, 30, 30))


@pytest.fixture(scope="module")
def made(goods: RGB) -> DefectImages:
    return with_spots(goods, [0, 1, 0, 1, 0, 1], ["stain"] * 4 + ["dent"] * 2, (190, 40, 30))


def lpips(a: RGB, b: RGB) -> float:
    """The distance of two images, by the loss's own formula."""
    network: Any = quality_networks().distance
    first, second = (torch.from_numpy(i.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1 for i in (a, b))
    return float(network(first, second))


def test_clusters_are_of_the_nearest_real_image_of_the_same_type(made: DefectImages, real: DefectImages) -> None:
    by_type = []
    for name in ("dent", "stain"):
        references = [i for i in range(len(real)) if real.types[i] == name]
        clusters: dict[int, list[RGB]] = {}
        for image in made.images[[t == name for t in made.types]]:
            nearest = min(references, key=lambda r: lpips(image, real.images[r]))
            clusters.setdefault(nearest, []).append(image)
        pairs = [[lpips(a, b) for a, b in itertools.combinations(each, 2)] for each in clusters.values()]
        by_type.append(np.mean([np.mean(each) for each in pairs if each]))
    found, clusters_used = intra_cluster_lpips([*cluster_distances(made, real, quality_networks().distance).values()])
    assert found == pytest.approx(np.mean(by_type), rel=1e-4)
    # A dent on the second good image has no real image of its own, so both dents are in one cluster.
    assert clusters_used == 3


def test_a_cluster_of_one_image_is_left_out(made: DefectImages, real: DefectImages) -> None:
    distance = quality_networks().distance
    # Two stains on the first good image, one on the second.
    found, clusters = intra_cluster_lpips([*cluster_distances(made.of([0, 1, 2]), real, distance).values()])
    assert clusters == 1
    assert found == pytest.approx(lpips(made.images[0], made.images[2]), rel=1e-4)
    nothing, none = intra_cluster_lpips([*cluster_distances(made.of([0, 1]), real, distance).values()])
    assert math.isnan(nothing)
    assert none == 0


def test_memory_limits_and_repeated_references_do_not_change_the_nearest(made: DefectImages) -> None:
    distance = quality_networks().distance
    references = np.concatenate([crops("chelsea", 3), made.images[[3, 1]], crops("coffee", 2)])
    whole = nearest_images(made.images, references, distance)
    np.testing.assert_array_equal(whole, nearest_images(made.images, references, distance, held=1))
    assert whole[3] == 3
    assert whole[1] == 4
    np.testing.assert_array_equal(nearest_images(references, np.stack([references[0]] * 3), distance), 0)


def test_a_kept_background_is_perfect_whatever_is_in_the_mask(made: DefectImages, goods: RGB) -> None:
    found = Background.of(made, goods, [0, 1] * 3, quality_networks()).preserved(range(6))
    assert found["background_difference"] == 0
    assert found["background_psnr"] == math.inf
    assert found["background_lpips_lite0"] == 0


def test_a_damaged_background_raises_ic_lpips_and_shows_as_damage(
    made: DefectImages, real: DefectImages, goods: RGB
) -> None:
    rng, networks = np.random.default_rng(0), quality_networks()
    noise = rng.integers(-40, 41, made.images.shape) * ~made.masks[..., None]
    images = np.clip(made.images.astype(int) + noise, 0, 255).astype(np.uint8)
    damaged = DefectImages(images, made.masks, made.types, made.captions)
    kept, found = (synthesis_quality(m, list(goods), [0, 1] * 3, real, networks)[ALL] for m in (made, damaged))
    assert found["ic_lpips_lite0"] > kept["ic_lpips_lite0"]
    assert found["background_difference"] == pytest.approx(
        np.mean([np.abs(d[~k]).mean() for d, k in zip(images.astype(int) - goods[[0, 1] * 3], made.masks, strict=True)])
    )
    assert 20 < found["background_psnr"] < 25
    assert found["background_lpips_lite0"] > 0.1
    assert 1 <= found["is_lite0"] <= 6
    assert [metric_of(name).name for name in found] == [*found]


def test_each_type_has_the_values_of_its_own_images(made: DefectImages, real: DefectImages, goods: RGB) -> None:
    found = synthesis_quality(made, list(goods), [0, 1] * 3, real)
    assert list(found) == [ALL, "dent", "stain"]
    alone = synthesis_quality(made.of(range(4)), list(goods), [0, 1] * 2, real)
    assert list(alone) == [ALL]
    assert found["stain"] == pytest.approx(alone[ALL], rel=1e-4)


def test_one_exact_copy_does_not_make_the_psnr_infinite(made: DefectImages, goods: RGB) -> None:
    images = made.images.copy()
    images[0] = images[0] ^ 1
    one_off = DefectImages(images, made.masks, made.types, made.captions)
    found = Background.of(one_off, goods, [0, 1] * 3, quality_networks()).preserved(range(6))
    # One image of six is off by one grey level.
    assert found["background_psnr"] == pytest.approx(10 * math.log10(255**2 * 6))


def test_masks_that_cover_everything_leave_no_background(made: DefectImages, goods: RGB) -> None:
    covered = DefectImages(made.images, np.ones_like(made.masks), made.types, made.captions)
    found = Background.of(covered, goods, [0, 1] * 3, quality_networks()).preserved(range(6))
    assert all(map(math.isnan, found.values()))


def test_what_cannot_be_measured_is_bad_input(made: DefectImages, real: DefectImages, goods: RGB) -> None:
    with pytest.raises(BadInput, match="at least one made"):
        synthesis_quality(made.of([]), goods, [], real)
    with pytest.raises(BadInput, match="of each of 6 made images, out of 2"):
        synthesis_quality(made, goods, [0, 1, 2] * 2, real)
    with pytest.raises(BadInput, match=r"no real image of the type 'stain'.*dent"):
        synthesis_quality(made, goods, [0, 1] * 3, real.of([2]))
    with pytest.raises(BadInput, match="32, 48 pixels"):
        synthesis_quality(made, goods[:, :32, :32], [0, 1] * 3, real)
