"""The mask autoencoder: Dice loss, what it learns, exact continuation, its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from goodshot.components.defects.images import DefectImages
from goodshot.components.errors import BadInput
from goodshot.components.fusion.config import MaskEncoderConfig
from goodshot.components.fusion.mask_encoder import (
    dice_loss,
    encoder_masks,
    mask_autoencoder_bytes,
    mask_autoencoder_from,
    mask_training,
    new_mask_autoencoder,
)
from tests.fusion.conftest import TINY_MASKS


def test_dice_loss_against_its_sums() -> None:
    rng = np.random.default_rng(0)
    predicted, masks = rng.uniform(size=(3, 1, 5, 5)), (rng.uniform(size=(3, 1, 5, 5)) < 0.4).astype(float)
    expected = np.mean(
        [1 - (2 * (p * m).sum() + 1) / ((p**2).sum() + (m**2).sum() + 1) for p, m in zip(predicted, masks, strict=True)]
    )
    assert float(dice_loss(torch.from_numpy(predicted), torch.from_numpy(masks))) == pytest.approx(expected, rel=1e-6)


def test_dice_loss_is_zero_for_the_mask_itself_and_for_nothing() -> None:
    mask = torch.ones(1, 1, 4, 4)
    assert dice_loss(mask, mask) == 0
    assert dice_loss(0 * mask, 0 * mask) == 0


def test_masks_are_read_as_shares_of_their_pixels() -> None:
    mask = np.zeros((1, 224, 224), bool)
    mask[0, :2, 0] = True
    read = encoder_masks(mask)
    assert read.shape == (1, 1, 112, 112)
    assert read[0, 0, 0, 0] == 0.5
    assert read.sum() == 0.5


def test_it_learns_masks_and_continues_exactly(defects: DefectImages) -> None:
    through, first, second = (mask_training(defects.masks, TINY_MASKS, seed=0) for _ in range(3))
    losses = through.train(60)
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
    first.train(20)
    second.load(first.state())
    second.train(60)
    assert second.state() == through.state()


def test_its_file_gives_it_back(defects: DefectImages) -> None:
    config = TINY_MASKS.model_copy(update={"steps": 2})
    training = mask_training(defects.masks, config, seed=0)
    training.train(config.steps)
    autoencoder = training.keep_average()
    content = mask_autoencoder_bytes(autoencoder)
    masks = encoder_masks(defects.masks)
    assert torch.equal(mask_autoencoder_from(content, config)(masks), autoencoder(masks))
    with pytest.raises(BadInput, match=r"another architecture: encoder\.0\.weight has shape \[8, 1, 4, 4\]"):
        mask_autoencoder_from(content, MaskEncoderConfig(channels=(4, 16, 32)))


def test_no_mask_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no mask given"):
        mask_training(np.zeros((0, 8, 8), bool), TINY_MASKS, seed=0)


def test_the_default_encoder_is_that_of_the_paper() -> None:
    autoencoder = new_mask_autoencoder(MaskEncoderConfig(), seed=0)
    code = autoencoder.encoder(torch.zeros(1, 1, 112, 112))
    assert code.shape == (1, 128, 7, 7)
    assert [tuple(m.kernel_size) for m in autoencoder.encoder if isinstance(m, torch.nn.Conv2d)] == [(4, 4)] * 4
