"""Blended denoising (eq. 15, 16), and parity with diffusers' own loop and pipeline."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from goodshot.components.defects.images import Site
from goodshot.components.fusion.base import Base
from goodshot.components.fusion.codec import PublishedCodec
from goodshot.components.fusion.config import SamplingConfig
from goodshot.components.fusion.fusion import Fusion
from goodshot.components.fusion.model import Condition
from goodshot.components.fusion.sampling import blended, build_sampler, generators_of

KEPT = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
"""ᾱ_t of the small base's schedule."""


def a_trajectory(base: Base, config: SamplingConfig, mask: torch.Tensor, seed: int = 0) -> tuple[list, torch.Tensor]:
    x_0 = torch.rand(2, *base.grid, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        steps = list(
            blended(
                lambda x, t: base(x, t.expand(2)), x_0, mask, build_sampler(base, config), generators_of(seed, [0, 1])
            )
        )
    return steps, x_0


def half(base: Base) -> torch.Tensor:
    mask = torch.zeros(2, 1, *base.grid[1:], dtype=torch.bool)
    mask[:, :, :8] = True
    return mask


@pytest.mark.parametrize("config", [SamplingConfig(steps=5), SamplingConfig(sampler="ddpm", steps=5)])
def test_outside_the_mask_every_x_t_is_the_noised_original(base: Base, config: SamplingConfig) -> None:
    mask = half(base)
    steps, x_0 = a_trajectory(base, config, mask)
    outside = ~mask.expand_as(x_0)
    timesteps = build_sampler(base, config).scheduler.timesteps.tolist()
    noise_of = [torch.Generator().manual_seed(g.initial_seed()) for g in generators_of(0, [0, 1])]

    def drawn() -> torch.Tensor:
        return torch.cat([torch.randn(1, *base.grid, generator=generator) for generator in noise_of])

    drawn(), drawn()  # inside and outside at T
    for step, t in zip(steps, [*timesteps[1:], None], strict=True):
        assert torch.equal(step.x[outside], step.known[outside])
        assert not torch.equal(step.x[~outside], step.known[~outside])
        if t is None:
            assert torch.equal(step.known, x_0)
        elif config.sampler == "ddim":  # DDPM's own step draws in between
            expected = np.sqrt(KEPT[t]) * x_0.numpy() + np.sqrt(1 - KEPT[t]) * drawn().numpy()
            np.testing.assert_allclose(step.known, expected, atol=1e-5)


def test_a_ddpm_step_is_eq_15(base: Base) -> None:
    mask = torch.ones(2, 1, *base.grid[1:], dtype=torch.bool)
    config = SamplingConfig(sampler="ddpm", steps=1000)
    sampler = build_sampler(base, config)
    x_0 = torch.zeros(2, *base.grid)
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((2, *base.grid))).float() * 0.1
    steps = blended(lambda x, t: noise, x_0, mask, sampler, generators_of(0, [0, 1]))
    generators = generators_of(0, [0, 1])

    def drawn() -> np.ndarray:
        return torch.cat([torch.randn(1, *base.grid, generator=g) for g in generators]).double().numpy()

    x, _ = drawn(), drawn()
    betas = np.linspace(1e-4, 0.02, 1000)
    for t in (999, 998, 997):
        start = np.clip((x - np.sqrt(1 - KEPT[t]) * noise.numpy()) / np.sqrt(KEPT[t]), -1, 1)
        before = KEPT[t - 1]
        mean = np.sqrt(before) * betas[t] / (1 - KEPT[t]) * start
        mean += np.sqrt(1 - betas[t]) * (1 - before) / (1 - KEPT[t]) * x
        x = mean + np.sqrt(betas[t] * (1 - before) / (1 - KEPT[t])) * drawn()
        drawn()  # of the noised original
        np.testing.assert_allclose(next(steps).x, x, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_blended_trajectory_is_eq_16_from_the_first_noise_on(base: Base, sampler: str) -> None:
    """Every x_t that the network sees, and the result, against eq. 15 and 16 in float64."""
    config, mask = SamplingConfig(sampler=sampler, steps=5), half(base)
    x_0 = torch.rand(2, *base.grid, generator=torch.Generator().manual_seed(1)) * 2 - 1
    seen: list[np.ndarray] = []

    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(x.double().numpy())
        return 0.3 * torch.tanh(x) + t / 4000

    steps = [*blended(predict, x_0, mask, build_sampler(base, config), generators_of(3, [0, 1]))]
    seen.append(steps[-1].x.double().numpy())
    generators = generators_of(3, [0, 1])

    def drawn() -> np.ndarray:
        return torch.cat([torch.randn(1, *base.grid, generator=g) for g in generators]).double().numpy()

    inside, original, times = mask.numpy(), x_0.double().numpy(), [800, 600, 400, 200, 0]
    own = drawn()
    x = np.where(inside, own, np.sqrt(KEPT[800]) * original + np.sqrt(1 - KEPT[800]) * drawn())
    expected = [x]
    for t, before in zip(times, [*times[1:], None], strict=True):
        kept, kept_before = KEPT[t], 1.0 if before is None else KEPT[before]
        noise = 0.3 * np.tanh(x) + t / 4000
        start = np.clip((x - np.sqrt(1 - kept) * noise) / np.sqrt(kept), -1, 1)
        if sampler == "ddim":
            made = np.sqrt(kept_before) * start + np.sqrt(1 - kept_before) * noise
        else:
            beta = 1 - kept / kept_before
            made = np.sqrt(kept_before) * beta / (1 - kept) * start
            made += np.sqrt(1 - beta) * (1 - kept_before) / (1 - kept) * x
            made += np.sqrt(beta * (1 - kept_before) / (1 - kept)) * (drawn() if before is not None else 0)
        known = original
        if before is not None:
            known = np.sqrt(kept_before) * original + np.sqrt(1 - kept_before) * drawn()
        x = np.where(inside, made, known)
        expected.append(x)
    assert len(seen) == len(expected)
    for ours, reference in zip(seen, expected, strict=True):
        np.testing.assert_allclose(ours, reference, atol=2e-5)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_without_a_mask_the_trajectory_is_that_of_diffusers_own_loop(base: Base, eta: float) -> None:
    from diffusers import DDIMScheduler

    everywhere = torch.ones(2, 1, *base.grid[1:], dtype=torch.bool)
    # As a published base is: the network alone.
    base = Base(base.unet, base.codec, base.schedule, 32, base.null.detach()).eval()
    steps, _ = a_trajectory(base, SamplingConfig(steps=7, eta=eta), everywhere)
    scheduler = DDIMScheduler(clip_sample=True)
    scheduler.set_timesteps(7)
    generators = generators_of(0, [0, 1])

    def drawn() -> torch.Tensor:
        return torch.cat([torch.randn(1, *base.grid, generator=generator) for generator in generators])

    x, _ = drawn(), drawn()
    for number, (t, step) in enumerate(zip(scheduler.timesteps, steps, strict=True)):
        with torch.no_grad():
            noise = base.unet(x, t, encoder_hidden_states=base.null.expand(2, 1, -1)).sample
        x = scheduler.step(noise, t, x, eta=eta, generator=generators if eta else None).prev_sample
        if number < 6:
            drawn()  # of the noised original
        torch.testing.assert_close(step.x, x, atol=1e-5, rtol=1e-5)


def test_with_constant_embeddings_the_result_is_that_of_diffusers_pipeline(begin: Callable[..., Fusion]) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    autoencoder = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=2,
    )
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    base = Base(unet, PublishedCodec(autoencoder), dict(scheduler.config), 32).eval()
    tokens = (
        begin(ddf=False)
        .training.network.x_embedding(Condition(torch.ones(1, 24), torch.ones(1, 1, 112, 112), torch.tensor([1])))
        .detach()
    )
    mask, x_0 = torch.ones(1, 1, 16, 16, dtype=torch.bool), torch.zeros(1, 4, 16, 16)
    with torch.no_grad():
        *_, last = blended(
            lambda x, t: base(x, t.expand(1), tokens),
            x_0,
            mask,
            build_sampler(base, SamplingConfig(steps=8)),
            generators_of(4, [0]),
        )
    pipeline = StableDiffusionPipeline(
        autoencoder, None, None, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    start = torch.randn(1, 4, 16, 16, generator=generators_of(4, [0])[0])
    made = pipeline(
        prompt_embeds=tokens, latents=start, num_inference_steps=8, guidance_scale=1.0, output_type="latent"
    )
    torch.testing.assert_close(last.x, made.images, atol=1e-5, rtol=1e-5)


def test_images_equal_the_good_ones_outside_their_masks(
    begin: Callable[..., Fusion], sites: list[Site], goods: np.ndarray
) -> None:
    made = begin().generate(sites, goods, seed=0)
    assert made.shape == (len(sites), *goods.shape[1:])
    assert made.dtype == np.uint8
    for image, site in zip(made, sites, strict=True):
        assert np.array_equal(image[~site.mask], goods[site.good][~site.mask])
        assert not np.array_equal(image[site.mask], goods[site.good][site.mask])


@pytest.mark.parametrize("fields", [{}, {"eta": 1.0}, {"sampler": "ddpm"}])
def test_an_image_is_a_function_of_seed_index_and_site(
    begin: Callable[..., Fusion], sites: list[Site], goods: np.ndarray, fields: dict
) -> None:
    fusion = begin(sampling=SamplingConfig.model_validate({"steps": 3, "batch": 3, **fields}))
    whole = fusion.generate(sites, goods, seed=2)
    assert np.array_equal(fusion.generate(sites[:5], goods, seed=2), whole[:5])
    assert np.array_equal(fusion.generate([sites[6]], goods, seed=2, indices=[6]), whole[6:7])
    assert not np.array_equal(fusion.generate([sites[6]], goods, seed=2, indices=[5]), whole[6:7])
    assert len(fusion.generate([], goods, seed=2)) == 0
