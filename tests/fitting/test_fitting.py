"""What segmenters and classifiers share: augmentation by (seed, step), schedules, and a loss that is not finite."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor, nn

from goodshot.components.errors import GoodshotError
from goodshot.components.fitting.config import FittingConfig
from goodshot.components.fitting.fitting import Fitting
from goodshot.components.fitting.inputs import as_input, at_resolution, augmented, masks_at_resolution, outputs


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    coffee = np.asarray(skimage.data.coffee())
    return np.stack([coffee[20 * i :, 100:][:64, :64] for i in range(9)])


def test_flips_move_mask_and_image_together(photos: np.ndarray) -> None:
    marked = as_input(photos)[:, :1]
    config = FittingConfig(horizontal_flips=True, vertical_flips=True)
    images, flipped = augmented(as_input(photos), marked, config, np.random.default_rng(0))
    torch.testing.assert_close(images[:, :1], flipped)
    original = as_input(photos)
    views = [original, original.flip(3), original.flip(2), original.flip((2, 3))]
    kinds = [next(k for k, view in enumerate(views) if torch.equal(images[i], view[i])) for i in range(9)]
    assert len(set(kinds)) >= 3


def test_switching_the_tone_on_leaves_the_flips_and_masks_as_they_are(photos: np.ndarray) -> None:
    plain, toned = (
        augmented(as_input(photos), as_input(photos), config, np.random.default_rng(3))
        for config in (FittingConfig(horizontal_flips=True), FittingConfig(horizontal_flips=True, tone=0.2))
    )
    torch.testing.assert_close(plain[1], toned[1])
    assert 0.01 < (plain[0] - toned[0]).abs().mean() < 0.4
    untouched, _ = augmented(as_input(photos), as_input(photos), FittingConfig(), np.random.default_rng(3))
    torch.testing.assert_close(untouched, as_input(photos))


def test_images_of_any_size_are_brought_to_one_and_thin_masks_survive(photos: np.ndarray) -> None:
    small = at_resolution([photos[0], skimage.data.chelsea()], 32)
    assert small.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(at_resolution(photos, 64), photos)
    line = np.zeros((256, 256), bool)
    line[101] = True
    assert masks_at_resolution([line], 32)[0].any()
    assert at_resolution([], 32).shape == (0, 32, 32, 3)


def test_an_images_output_does_not_depend_on_the_others(photos: np.ndarray) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    many = outputs(network, photos, torch.device("cpu"))
    for i in (0, 5, 8):
        torch.testing.assert_close(outputs(network, photos[[i]], torch.device("cpu"))[0], many[i], rtol=0, atol=0)


def test_the_learning_rate_decays_where_it_is_told() -> None:
    config = FittingConfig(steps=100, learning_rate=1.0, decay=0.1, decay_at=(0.5, 0.9))
    assert [config.learning_rate_at(step) for step in (0, 49, 50, 89, 90)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_the_last_step_is_always_a_candidate() -> None:
    candidates = FittingConfig(steps=25, validate_every=10)
    assert [step for step in range(1, 26) if candidates.is_candidate(step)] == [10, 20, 25]
    last_only = FittingConfig(steps=25, validate_every=0)
    assert [step for step in range(1, 26) if last_only.is_candidate(step)] == [25]


class Parabola:
    """A single number that is to become 1, whose merit is best before it is reached."""

    def __init__(self, targets: float = 1.0) -> None:
        self.targets = targets

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        return torch.ones(1, 1), torch.full((1, 1), self.targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).pow(2).mean()

    def merit(self, network: nn.Module, device: torch.device) -> float | None:
        return -abs(output(network) - 0.5)


def output(network: nn.Module) -> float:
    return float(network(torch.ones(1, 1)).detach())


def zero() -> nn.Module:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    return network


def test_the_best_candidate_is_chosen_and_training_goes_on_from_the_current_weights() -> None:
    config = FittingConfig(steps=30, validate_every=1, learning_rate=0.05, decay_at=())
    fitting, straight = (Fitting("toy", zero, Parabola(), config, 0, {}) for _ in range(2))
    fitting.train(20)
    assert fitting.chosen_step == max(fitting.merits, key=fitting.merits.__getitem__)
    chosen = output(fitting.chosen())
    assert chosen == pytest.approx(0.5, abs=0.05)
    assert output(fitting.network) > 0.8
    assert fitting.train() == straight.train()[20:]
    assert output(fitting.chosen()) == chosen
    assert fitting.train() == []


def test_a_loss_that_is_not_finite_says_so_with_a_remedy() -> None:
    config = FittingConfig(steps=5, validate_every=0)
    with pytest.raises(GoodshotError, match=r"toy: the loss is not finite .* after 0 steps .*lower learning_rate"):
        Fitting("toy", zero, Parabola(float("inf")), config, 0, {}).train()
