import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import CenterCrop

from goodshot.components.data.crop import centre_crop, margin
from goodshot.components.data.shards import Defects, Split
from goodshot.components.errors import BadInput


def split(size: int) -> Split:
    rng = np.random.default_rng(0)
    masks = rng.random((2, size, size)) > 0.5
    defects = Defects(
        images=2,
        size=size,
        image=np.array([1, 1]),
        ids=np.array([1, 2]),
        saturation=np.array([0.5, 1.0]),
        bits=np.stack([np.packbits(masks[1].reshape(-1)), np.packbits(~masks[0].reshape(-1))]),
    )
    images = rng.integers(0, 256, (2, size, size, 3), np.uint8)
    return Split(("a", "b"), images, masks, np.array([0, 1]), ("good", "hole"), defects)


@pytest.mark.parametrize(("size", "crop"), [(16, 8), (15, 8), (17, 10), (13, 4)])
def test_images_masks_and_defects_are_cut_alike_and_as_torchvision_cuts(size: int, crop: int) -> None:
    whole = split(size)
    cut = centre_crop(whole, crop)
    expected = CenterCrop(crop)(torch.from_numpy(whole.images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert np.array_equal(cut.images, expected)
    assert np.array_equal(cut.masks, CenterCrop(crop)(torch.from_numpy(whole.masks)))
    assert cut.defects is not None
    assert whole.defects is not None
    for (mask, saturation), (before, same) in zip(cut.defects[1], whole.defects[1], strict=True):
        assert np.array_equal(mask, CenterCrop(crop)(torch.from_numpy(before)))
        assert saturation == same
    assert cut.defects[0] == []
    assert cut.labels is whole.labels


def test_no_crop_or_one_of_the_same_size_changes_nothing() -> None:
    whole = split(16)
    assert centre_crop(whole, None) is whole
    assert centre_crop(whole, 16) is whole


def test_a_crop_larger_than_the_image_is_named() -> None:
    with pytest.raises(BadInput, match="crop 20 is larger than the image, 16 × 16"):
        centre_crop(split(16), 20)
    with pytest.raises(BadInput, match="crop 9"):
        margin(8, 9)
