"""A segmenter learns defects from made images, chooses its checkpoint by validation images and continues exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from pydantic import ValidationError
from sklearn.metrics import average_precision_score

from goodshot.components.defects import DefectImages
from goodshot.components.errors import BadInput
from goodshot.components.metrics.detection import evaluate
from goodshot.components.segmenters.config import published
from goodshot.components.segmenters.losses import dice_loss, focal_loss
from goodshot.components.segmenters.training import Segmenter, SegmenterConfig
from goodshot.components.segmenters.unet import UNet

SIDE = 64
TINY = SegmenterConfig(resolution=32, channels=4, levels=2, steps=6, batch=4, validate_every=2)


def textures(count: int, seed: int) -> np.ndarray:
    """Crops of a photograph of gravel, in colour."""
    gravel = np.asarray(skimage.data.gravel())
    corners = np.random.default_rng(seed).integers(0, 512 - SIDE, (count, 2))
    return np.stack([np.stack([gravel[y : y + SIDE, x : x + SIDE]] * 3, -1) for y, x in corners])


def stained(count: int, seed: int) -> DefectImages:
    """Red and blue stains on gravel, with their masks."""
    images, masks = textures(count, seed), np.zeros((count, SIDE, SIDE), bool)
    rng = np.random.default_rng((seed, 1))
    y, x = np.mgrid[:SIDE, :SIDE]
    for i in range(count):
        (cy, cx), radius = rng.uniform(10, SIDE - 10, 2), rng.uniform(5, 10)
        masks[i] = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        images[i][masks[i], 2 * (i % 2)] = np.minimum(images[i][masks[i], 2 * (i % 2)].astype(int) + 70, 255)
    names = tuple(("red", "blue")[i % 2] for i in range(count))
    return DefectImages(images, masks, names, names)


def config(**fields: Any) -> SegmenterConfig:
    return SegmenterConfig.model_validate({**TINY.model_dump(), **fields})


@pytest.fixture(scope="module")
def defects() -> DefectImages:
    return stained(20, 0)


@pytest.fixture(scope="module")
def validation() -> DefectImages:
    return stained(6, 1)


def test_it_finds_defects_of_images_that_it_has_not_seen(defects: DefectImages, validation: DefectImages) -> None:
    options = config(resolution=64, channels=8, steps=80, batch=6, validate_every=40, learning_rate=3e-3)
    segmenter = Segmenter(defects, textures(20, 3), options, 0, validation)
    losses = segmenter.fitting.train()
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) / 2
    unseen, goods = stained(12, 7), textures(12, 8)
    found = segmenter.trained().score(np.concatenate([unseen.images, goods]))
    assert found.maps.dtype == np.float32
    assert 0 <= found.maps.min() <= found.maps.max() <= 1
    masks = np.concatenate([unseen.masks, np.zeros_like(unseen.masks)])
    values = {v.metric: v.value for v in evaluate(found, [1] * 12 + [0] * 12, masks, resamples=0).values}
    assert values["pixel_ap"] > 0.7
    assert values["image_auroc"] > 0.9


@pytest.mark.parametrize(
    "fields", [{}, {"precision": "bf16", "horizontal_flips": True, "tone": 0.1}, {"good_share": 0}]
)
def test_continuing_equals_a_straight_run_bit_for_bit(
    fields: dict[str, Any], defects: DefectImages, validation: DefectImages
) -> None:
    def make() -> Segmenter:
        return Segmenter(defects, textures(4, 3), config(**fields), 0, validation)

    straight, half = make(), make()
    losses = straight.fitting.train()
    assert half.fitting.train(3) == losses[:3]
    continued = make()
    continued.fitting.load(half.fitting.state())
    assert continued.fitting.train() == losses[3:]
    assert continued.fitting.merits == straight.fitting.merits
    many = straight.trained().score(defects.images)
    again = continued.trained().score(defects.images[:3])
    np.testing.assert_array_equal(again.maps, many.maps[:3])
    np.testing.assert_array_equal(again.image, many.image[:3])


def test_a_checkpoint_of_another_training_is_refused(defects: DefectImages) -> None:
    state = Segmenter(defects, textures(4, 3), TINY, 0).fitting.state()
    with pytest.raises(BadInput, match="saved by a segmenter with other options"):
        Segmenter(defects, textures(4, 3), TINY, 1).fitting.load(state)


def test_the_merit_is_the_pixel_ap_of_the_validation_images(defects: DefectImages, validation: DefectImages) -> None:
    segmenter = Segmenter(defects, textures(4, 3), TINY, 0, validation)
    segmenter.fitting.train()
    assert list(segmenter.fitting.merits) == [2, 4, 6]
    maps = segmenter.trained().score(validation.images).maps
    masks = validation.masks[:, ::2, ::2]
    merit = segmenter.fitting.merits[segmenter.fitting.chosen_step]
    assert merit == max(segmenter.fitting.merits.values())
    assert average_precision_score(masks.ravel(), maps.ravel()) == pytest.approx(merit, abs=0.02)


def test_without_validation_the_last_checkpoint_is_taken(defects: DefectImages) -> None:
    segmenter = Segmenter(defects, textures(4, 3), TINY, 0)
    segmenter.fitting.train(5)
    assert segmenter.fitting.chosen_step == 5


def test_good_images_have_their_share_of_every_batch(defects: DefectImages) -> None:
    goods = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    for share, of_goods in ((0.5, 2), (0.25, 1), (0, 0), (0.9, 3)):
        segmenter = Segmenter(defects, goods, config(good_share=share), 0)
        images, marked = segmenter.fitting._task.batch(3)
        assert images.shape == (4, 3, 32, 32)
        assert int((images == -1).all((1, 2, 3)).sum()) == of_goods == int((~marked.bool().any((1, 2, 3))).sum())


def test_every_type_is_drawn_alike_however_many_images_it_has(defects: DefectImages) -> None:
    few_blue = defects.of([*range(0, 20, 2), 1])
    task = Segmenter(few_blue, (), config(good_share=0, batch=8), 0).fitting._task
    is_blue = [image[2][mask].mean() > image[0][mask].mean() for s in range(40) for image, (mask,) in _drawn(task, s)]
    assert 0.4 < np.mean(is_blue) < 0.6


def _drawn(task: Any, step: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    images, marked = task.batch(step)
    return [*zip(images, marked.bool(), strict=True)]


def test_an_image_score_is_the_maximum_of_the_pooled_map(defects: DefectImages) -> None:
    segmenter = Segmenter(defects, textures(4, 3), config(window=24), 0)
    found = segmenter.trained().score(defects.images[:2])
    assert segmenter.config.window_pixels == 3
    padded = np.pad(found.maps.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    pooled = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).mean((-1, -2))
    np.testing.assert_allclose(found.image, pooled.max((1, 2)), rtol=1e-5)


def test_the_window_has_a_centre_at_every_resolution() -> None:
    assert published().window_pixels == 21
    assert SegmenterConfig(resolution=128).window_pixels == 11
    assert config(window=1).window_pixels == 1


def test_the_network_is_as_large_as_declared() -> None:
    def parameters(channels: int) -> int:
        return sum(p.numel() for p in UNet(channels, 4).parameters())

    assert 0.5e6 < parameters(SegmenterConfig().channels) < 2e6
    assert 30e6 < parameters(published().channels) < 40e6


def test_losses_against_their_formulas_in_float64() -> None:
    rng = np.random.default_rng(0)
    logits, marked = rng.normal(0, 3, (2, 1, 5, 5)), (rng.random((2, 1, 5, 5)) < 0.3).astype(float)
    p = 1 / (1 + np.exp(-logits))
    of_truth = np.where(marked == 1, p, 1 - p)
    both = torch.from_numpy(logits), torch.from_numpy(marked)
    assert float(focal_loss(*both, gamma=2.0)) == pytest.approx((-((1 - of_truth) ** 2) * np.log(of_truth)).mean())
    assert float(focal_loss(*both, gamma=0.0)) == pytest.approx(-np.log(of_truth).mean())
    dice = (2 * (p * marked).sum() + 1) / (p.sum() + marked.sum() + 1)
    assert float(dice_loss(*both)) == pytest.approx(1 - dice)


def test_focal_loss_has_a_finite_gradient_where_a_pixel_is_certain() -> None:
    logits = torch.tensor([[[[200.0, -200.0]]]], requires_grad=True)
    focal_loss(logits, torch.tensor([[[[1.0, 0.0]]]]), 0.5).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resolution": 30}, "multiple of 2\\^levels"),
        ({"focal": 0, "dice": 0}, "must not both be 0"),
        ({"window": 400}, "at most 256"),
        ({"good_share": 1}, "less than 1"),
    ],
)
def test_options_that_fit_no_network_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**fields)


def test_images_that_teach_nothing_are_bad_input(defects: DefectImages, validation: DefectImages) -> None:
    empty = DefectImages(defects.images, np.zeros_like(defects.masks), defects.types, defects.captions)
    with pytest.raises(BadInput, match="at least one defective image"):
        Segmenter(defects.of([]), textures(2, 0), TINY, 0)
    with pytest.raises(BadInput, match="mask of defective image 0 is empty"):
        Segmenter(empty, textures(2, 0), TINY, 0)
    with pytest.raises(BadInput, match="set good_share to 0"):
        Segmenter(defects, (), TINY, 0)
    with pytest.raises(BadInput, match="no marked pixel"):
        Segmenter(defects, textures(2, 0), TINY, 0, empty)
