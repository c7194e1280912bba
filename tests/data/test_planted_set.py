"""Planted sets: labelled images without a test image, a function of their normals and the seed."""

import numpy as np
import pytest
import skimage.data

from goodshot.components.data.planted_set import PlantedConfig, planted_set
from goodshot.components.data.planting import PLANTERS
from goodshot.components.errors import BadInput

PHOTO = np.asarray(skimage.data.coffee())
NORMALS = [PHOTO[100:196, x : x + 96] for x in (100, 200, 300)]


def test_each_image_stands_there_plain_and_with_its_defects() -> None:
    made = planted_set(NORMALS, PlantedConfig(normals=2, defects=3), seed=0)
    assert made.images.shape == (2 + 6, 96, 96, 3)
    assert list(made.labels) == [0, 0] + [1] * 6
    assert set(made.defect_types) == {"good", *PLANTERS}
    for j in range(6):
        plain, defective, mask = NORMALS[j // 3], made.images[2 + j], made.masks[2 + j]
        assert mask.any()
        np.testing.assert_array_equal((defective != plain).any(axis=2), mask)
    assert not made.masks[:2].any()


def test_it_is_a_function_of_the_images_and_the_seed() -> None:
    one, again, other = (planted_set(NORMALS, PlantedConfig(), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.images, again.images)
    assert (one.images != other.images).any()
    fewer = planted_set(NORMALS[:2], PlantedConfig(), 0)
    np.testing.assert_array_equal(fewer.images[2:], one.images[3:7])


def test_without_an_image_there_is_nothing_to_plant_on() -> None:
    with pytest.raises(BadInput, match="no normal image"):
        planted_set([], PlantedConfig(), 0)
