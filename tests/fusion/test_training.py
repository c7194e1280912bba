"""Eq. 17, what learns and what does not, the switches of Table 6, and exact continuation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from goodshot.components.defects.images import DefectImages
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.fusion.base import Base, base_bytes, base_from, new_base, noise_schedule
from goodshot.components.fusion.config import FusionConfig, published
from goodshot.components.fusion.features import DefectFeatures
from goodshot.components.fusion.fusion import Fusion
from goodshot.components.fusion.mask_encoder import new_mask_autoencoder
from goodshot.components.fusion.model import Condition
from goodshot.components.fusion.training import base_training, noised, prediction_loss, unit_of, views
from tests.fusion.conftest import TINY, TINY_BASE

Begin = Callable[..., Fusion]


@pytest.mark.parametrize("weight", [1.0, 7.0])
@pytest.mark.parametrize("units", [(1.0, 1.0, 1.0), (0.5, 1.0, 0.01)])
def test_the_loss_is_eq_17_squared_and_weighted(weight: float, units: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    predicted, noise = rng.standard_normal((2, 3, 2, 4, 4))
    inside = rng.uniform(size=(3, 1, 4, 4)) < 0.3
    units = np.array(units)
    total = 0.0
    for image in range(3):
        weights = np.where(inside[image, 0], weight, 1.0)
        total += (((predicted - noise)[image] ** 2).mean(0) * weights).sum() / weights.sum() / units[image] / 3
    given = (torch.from_numpy(array).float() for array in (predicted, noise, units))
    assert float(prediction_loss(*given, torch.from_numpy(inside), weight)) == pytest.approx(total, rel=1e-6)


def test_noised_images_are_eq_10() -> None:
    base = new_base(32, TINY_BASE, seed=0)
    x_0 = torch.from_numpy(np.random.default_rng(1).standard_normal((4, *base.grid))).float()
    x_t, times, noise = noised(base, noise_schedule(base), x_0, np.random.default_rng(2))
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[times.numpy()].reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(x_t, np.sqrt(kept) * x_0.numpy() + np.sqrt(1 - kept) * noise.numpy(), atol=1e-5)


def moved_by_a_step(fusion: Fusion) -> set[str]:
    # A base starts with a last layer of zeros, through which the first step's gradient does not pass.
    torch.nn.init.normal_(fusion.training.network.base.unet.conv_out.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    before = {name: value.clone() for name, value in fusion.training.network.state_dict().items()}
    fusion.train(1)
    return {
        name for name, value in fusion.training.network.state_dict().items() if not torch.equal(value, before[name])
    }


def test_a_frozen_base_learns_nothing_and_everything_else_learns(begin: Begin) -> None:
    fusion = begin(trains="embeddings")
    moved = moved_by_a_step(fusion)
    of_parts = {name for name, _ in fusion.training.network.named_parameters() if not name.startswith("base.")}
    assert moved == of_parts


def test_with_trains_all_the_small_base_learns_too_but_not_its_null_token(begin: Begin) -> None:
    fusion = begin(trains="all")
    moved = moved_by_a_step(fusion)
    learned = {name for name, _ in fusion.training.network.named_parameters()} - {"base.null"}
    assert moved == learned


def test_base_and_autoencoder_serve_others_unchanged(defects: DefectImages, features: DefectFeatures) -> None:
    base, autoencoder = new_base(32, TINY_BASE, seed=5), new_mask_autoencoder(TINY.masks, seed=5)
    before = [value.clone() for value in (*base.state_dict().values(), *autoencoder.state_dict().values())]
    Fusion(TINY, defects, features, 0, base, autoencoder).train(1)
    after = [*base.state_dict().values(), *autoencoder.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


SWITCHES = {"text": {"semantic"}, "mif": {"location", "aggregator"}, "ddf": {"dynamic"}}


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_removes_exactly_its_part(begin: Begin, switch: str) -> None:
    whole, without = begin().parameters_by_part(), begin(**{switch: False}).parameters_by_part()
    assert all(count > 0 for count in whole.values())
    assert without == {part: 0 if part in SWITCHES[switch] else count for part, count in whole.items()}


def test_without_all_three_the_textural_tokens_alone_condition_the_base(begin: Begin, defects: DefectImages) -> None:
    fusion = begin(text=False, mif=False, ddf=False)
    parts = fusion.parameters_by_part()
    assert {part for part, count in parts.items() if count} == {"textural", "base"}
    condition = Condition(torch.zeros(1, 24), torch.zeros(1, 1, 112, 112), torch.tensor([2]))
    model = fusion.training.network
    torch.testing.assert_close(model.x_embedding(condition), model.textural(torch.tensor([2])))


def test_eq_13_conditions_each_image_by_the_embedding_of_its_own_timestep(begin: Begin) -> None:
    model = begin().training.network.eval()
    condition = Condition(torch.randn(2, 24), torch.rand(2, 1, 112, 112), torch.tensor([0, 2]))
    x_t, times = torch.randn(2, *model.base.grid), torch.tensor([3, 700])
    with torch.no_grad():
        together = model(x_t, times, condition)
        # e_X by eq. 4 and 5, then e_t by eq. 14, image by image, in float64.
        parts = model.semantic(condition.text), model.location(condition.masks), model.textural(condition.types)
        tokens = torch.cat(parts, 1)
        e_x = model.aggregator(tokens).double()
        dynamic, half = copy.deepcopy(model.dynamic).double(), e_x.shape[-1] // 2
        for b, t in enumerate(times.tolist()):
            angles = t * torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float64) / (half - 1))
            e_tim = dynamic.align(torch.cat([angles.sin(), angles.cos()]))
            e_t = dynamic.mlp(torch.cat([e_x[b], e_tim.expand_as(e_x[b])], 1)).float()
            alone = model.base(x_t[b : b + 1], times[b : b + 1], e_t[None])
            torch.testing.assert_close(together[b : b + 1], alone, atol=1e-4, rtol=1e-3)
            other = model.base(x_t[b : b + 1], times[b : b + 1], e_x[b : b + 1].float())
            assert not torch.allclose(together[b : b + 1], other, atol=1e-3)


def test_tokens_of_all_modalities_are_concatenated(begin: Begin) -> None:
    fusion = begin()
    condition = Condition(torch.ones(2, 24), torch.zeros(2, 1, 112, 112), torch.tensor([0, 1]))
    model = fusion.training.network
    parts = [model.semantic(condition.text), model.location(condition.masks), model.textural(condition.types)]
    torch.testing.assert_close(model.x_embedding(condition), model.aggregator(torch.cat(parts, dim=1)))


@pytest.mark.parametrize("trains", ["all", "embeddings"])
def test_stopping_and_continuing_equals_going_through(begin: Begin, trains: str) -> None:
    through, first, second = begin(trains=trains), begin(trains=trains), begin(trains=trains)
    losses = through.train(4)
    assert first.train(2) == losses[:2]
    second.load(first.state())
    assert second.train(4) == losses[2:]
    assert second.state() == through.state()


def test_the_state_of_other_options_is_refused(begin: Begin) -> None:
    with pytest.raises(BadInput, match="other options"):
        begin(mask_weight=3.0).load(begin().state())
    with pytest.raises(BadInput, match="not safetensors"):
        begin().load(b"no tensors")


def test_a_longer_training_and_another_sampling_continue_the_same_state(begin: Begin) -> None:
    begin(steps=9, sampling=TINY.sampling.model_copy(update={"steps": 5})).load(begin().state())


def test_a_loss_that_stays_not_finite_fails_without_an_update(begin: Begin) -> None:
    fusion = begin(trains="embeddings")
    weights = fusion.training.network.textural.linear.weight
    with torch.no_grad():
        weights.fill_(float("nan"))
    others = fusion.training.network.semantic.linear.weight.clone()
    with pytest.raises(GoodshotError, match="not finite in 5 steps"):
        fusion.train(9)
    assert torch.equal(fusion.training.network.semantic.linear.weight, others)


def test_images_are_made_with_the_average_and_training_goes_on_with_the_weights(begin: Begin) -> None:
    fusion = begin(ema=0.9)
    fusion.train(3)
    current = {name: value.clone() for name, value in fusion.training.network.named_parameters()}
    with fusion.training.averaged() as model:
        assert not torch.equal(model.textural.tokens, current["textural.tokens"])
    assert all(torch.equal(value, current[name]) for name, value in fusion.training.network.named_parameters())


def test_bf16_computes_in_mixed_precision(begin: Begin) -> None:
    (loss,), (mixed,) = begin().train(1), begin(precision="bf16").train(1)
    assert mixed != loss
    assert mixed == pytest.approx(loss, rel=0.05)


@torch.no_grad()
def error_of(base: Base, goods: np.ndarray) -> float:
    """The error at a few timesteps, in units of that of the linear prediction."""
    x_0 = base.encode(views(goods, range(len(goods)), 32, False, np.random.default_rng(9)))
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    errors = []
    for t in (50, 200, 400):
        times = torch.full((len(x_0),), t)
        x_t = noise_schedule(base).add_noise(x_0, noise, times)
        errors.append(float(prediction_loss(base(x_t, times), noise, base.expected_error(times))))
    return float(np.mean(errors))


def test_the_base_learns_good_images_and_continues_exactly(goods: np.ndarray) -> None:
    config = TINY_BASE.model_copy(update={"learning_rate": 3e-3, "windows": False})
    through, first, second = (base_training(goods, 32, config, seed=1) for _ in range(3))
    before = error_of(through.network, goods)
    assert before == pytest.approx(1, rel=0.2)
    through.train(40)
    assert error_of(through.network, goods) < 0.98 * before
    first.train(15)
    second.load(first.state())
    second.train(40)
    assert second.state() == through.state()
    base = through.keep_average()
    again = base_from(base_bytes(base, config))
    x, times = torch.ones(1, *base.grid), torch.tensor([5])
    assert torch.equal(again(x, times), base(x, times))


@pytest.mark.parametrize(("time_weight", "one"), [("none", True), ("relative", False)])
def test_errors_are_in_units_of_what_the_linear_prediction_leaves(base: Base, time_weight: str, one: bool) -> None:
    times = torch.tensor([10, 900])
    units = unit_of(base, TINY_BASE.model_copy(update={"time_weight": time_weight}), times)
    assert (units.tolist() == [1, 1]) == one
    assert torch.equal(unit_of(base, TINY, times), base.linear.remaining(times))


def test_bad_input_is_one_line(defects: DefectImages, features: DefectFeatures) -> None:
    def begun(images: DefectImages, config: FusionConfig = TINY) -> Fusion:
        base = new_base(32, TINY_BASE, seed=5)
        return Fusion(config, images, features, 0, base, new_mask_autoencoder(config.masks, seed=5))

    empty = DefectImages(defects.images, np.zeros_like(defects.masks), defects.types, defects.captions)
    with pytest.raises(BadInput, match=r"mask of defective image 0 \(foreign\) is empty"):
        begun(empty)
    with pytest.raises(BadInput, match="no defective image"):
        begun(defects.of([]))
    with pytest.raises(BadInput, match="resolution = 64"):
        begun(defects, TINY.model_copy(update={"resolution": 64}))
    with pytest.raises(ValueError, match="trains=embeddings"):
        published(trains="all")
