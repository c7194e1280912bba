"""The comparators: what they change, what they leave alone, and that the first images stay the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from goodshot.components.defects.pasting import CropPaste, CutPaste, Draem, Paster, paste, sites_of
from goodshot.components.defects.pasting.draem import noise_mask, perlin
from goodshot.components.defects.placing import PlacingConfig
from goodshot.components.defects.sheet import defect_sheet, outlined
from goodshot.components.errors import BadInput
from tests.defects.conftest import Category

each_paster = pytest.mark.parametrize(
    "paster", [CropPaste(), CutPaste(), Draem(), CropPaste(feather=0.05)], ids=lambda p: p.name
)


@each_paster
def test_outside_the_mask_the_image_is_the_good_one(paster: Paster, coin: Category) -> None:
    made = paste(paster, coin.goods, coin.products, coin.defects, range(12), 0, "coin")
    where = sites_of(paster, coin.products, coin.defects, range(12), 0)
    assert made.images.shape == (12, 64, 64, 3)
    for site, image, mask in zip(where, made.images, made.masks, strict=True):
        assert mask.any()
        assert not (mask & ~site.mask).any()
        assert np.array_equal(image[~mask], coin.goods[site.good][~mask])
    assert (made.images[made.masks] != 0).any()


@each_paster
def test_the_first_images_are_the_same_however_many_are_made(paster: Paster, coin: Category) -> None:
    few, many = (paste(paster, coin.goods, coin.products, coin.defects, range(n), 5, "coin") for n in (3, 9))
    assert np.array_equal(few.images, many.images[:3])
    assert np.array_equal(few.masks, many.masks[:3])
    alone = paste(paster, coin.goods, coin.products, coin.defects, [7], 5, "coin")
    assert np.array_equal(alone.images[0], many.images[7])
    assert (alone.types, alone.captions) == (many.types[7:8], many.captions[7:8])
    other = paste(paster, coin.goods, coin.products, coin.defects, range(3), 6, "coin")
    assert not np.array_equal(other.images, few.images)


def test_crop_paste_keeps_types_captions_and_the_defects_own_pixels(coin: Category) -> None:
    stay = PlacingConfig(unchanged=1)
    made = paste(CropPaste(), coin.goods, coin.products, coin.defects, range(8), 0, "coin", stay)
    where = sites_of(CropPaste(), coin.products, coin.defects, range(8), 0, stay)
    for i, site in enumerate(where):
        assert (made.types[i], made.captions[i]) == (
            coin.defects.types[site.source],
            coin.defects.captions[site.source],
        )
        mask = made.masks[i]
        assert np.array_equal(made.images[i][mask], coin.defects.images[site.source][mask])
    feathered = paste(CropPaste(0.1), coin.goods, coin.products, coin.defects, range(8), 0, "coin", stay)
    assert np.array_equal(feathered.masks, made.masks)
    differs = [np.abs(m.images.astype(int) - coin.goods[[s.good for s in where]]).mean() for m in (made, feathered)]
    assert 0 < differs[1] < differs[0]


@pytest.mark.parametrize("paster", [CutPaste(), Draem()], ids=lambda p: p.name)
def test_cutpaste_and_draem_use_no_defect(paster: Paster, coin: Category) -> None:
    with_defects = paste(paster, coin.goods, coin.products, coin.defects, range(4), 0, "coin")
    without = paste(paster, coin.goods, coin.products, None, range(4), 0, "coin")
    assert np.array_equal(with_defects.images, without.images)
    assert {*without.types} == {paster.name}
    assert {*without.captions} == {"coin"}


def test_crop_paste_without_defects_names_what_needs_none(coin: Category) -> None:
    with pytest.raises(BadInput, match="no defective image to take defects from; add some, or use cutpaste"):
        paste(CropPaste(), coin.goods, coin.products, None, [0], 0, "coin")


def test_a_patch_holds_colours_of_the_good_image(coin: Category) -> None:
    good = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    good[0, :, 32:] = 200
    made = paste(CutPaste(), good, np.ones((1, 64, 64), np.bool_), None, range(30), 0, "part")
    grey = made.images[made.masks]
    assert 0.3 < (grey.max(axis=1) < 30).mean() < 0.7
    assert grey.max() <= round(200 * 1.1 * 1.1)
    shares = made.masks.mean(axis=(1, 2))
    assert shares.max() <= 0.16
    assert (shares < 0.01).any()


def test_cutpaste_marks_something_on_the_smallest_images() -> None:
    goods = np.random.default_rng(0).integers(0, 256, (1, 12, 12, 3), dtype=np.uint8)
    assert (
        paste(CutPaste(), goods, np.ones((1, 12, 12), np.bool_), None, range(60), 0, "x").masks.any(axis=(1, 2)).all()
    )


def slow_perlin(side: int, rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    angles = rng.uniform(0, 2 * np.pi, (rows + 1, columns + 1))
    out = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            y, x = i * rows / side, j * columns / side
            r, c = int(y), int(x)
            weights = [6 * t**5 - 15 * t**4 + 10 * t**3 for t in (y - r, x - c)]
            for dr in (0, 1):
                for dc in (0, 1):
                    angle = angles[r + dr, c + dc]
                    dot = np.sin(angle) * (y - r - dr) + np.cos(angle) * (x - c - dc)
                    down, right = (w if d else 1 - w for w, d in zip(weights, (dr, dc), strict=True))
                    out[i, j] += np.sqrt(2) * dot * down * right
    return out


def test_perlin_noise_against_a_slow_reference() -> None:
    noise = perlin(24, 4, 2, np.random.default_rng(0))
    assert np.allclose(noise, slow_perlin(24, 4, 2, np.random.default_rng(0)), atol=1e-12)
    assert np.abs(noise).max() <= 1
    assert np.allclose(noise[::6, ::12], 0)


def test_noise_marks_a_product_of_one_pixel() -> None:
    product = np.zeros((64, 64), dtype=np.bool_)
    product[63, 0] = True
    assert np.array_equal(noise_mask(product, np.random.default_rng(0)), product)


def test_draem_takes_photographs_of_a_folder_and_says_whose_they_are(coin: Category, tmp_path: Path) -> None:
    assert (Draem().name, Draem(str(tmp_path)).name) == ("draem_skimage", "draem")
    with pytest.raises(BadInput, match="holds no photograph to blend in"):
        paste(Draem(str(tmp_path)), coin.goods, coin.products, None, [0], 0, "coin")
    textures = tmp_path / "textures"
    (textures / "red").mkdir(parents=True)
    Image.new("RGB", (40, 40), (255, 0, 0)).save(textures / "red" / "a.png")
    made = paste(Draem(str(textures)), coin.goods * 0, coin.products, None, range(6), 0, "coin")
    painted = made.images[made.masks]
    assert not painted[:, 1:].any(axis=1).all()
    # A fingerprint holds what the photographs are, and not the folder of this machine.
    copy = tmp_path / "copy"
    shutil.copytree(textures, copy)
    assert Draem(str(copy)).identity() == Draem(str(textures)).identity() != Draem().identity()


def test_a_sheet_shows_every_image_with_its_outline(coin: Category) -> None:
    made = paste(CropPaste(), coin.goods, coin.products, coin.defects, range(3), 0, "coin")
    where = sites_of(CropPaste(), coin.products, coin.defects, range(3), 0)
    owners = [site.good for site in where]
    data = defect_sheet(coin.goods, owners, made, coin.defects, side=64)
    assert data.startswith(b"\x89PNG")
    drawn = outlined(coin.goods[0], made.masks[0])
    assert np.array_equal(drawn[made.masks[0]], coin.goods[0][made.masks[0]])
    assert (drawn != coin.goods[0]).any()
