"""The small base in the latents of the embedded VQGAN, its file, its configuration, and how light its import is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from goodshot.components.defects.images import DefectImages, Site
from goodshot.components.errors import BadInput
from goodshot.components.fusion.base import base_bytes, base_from, new_base
from goodshot.components.fusion.config import BaseConfig, FusionConfig, published
from goodshot.components.fusion.features import DefectFeatures
from goodshot.components.fusion.fusion import Fusion
from goodshot.components.fusion.mask_encoder import new_mask_autoencoder
from goodshot.components.fusion.training import base_training, views
from goodshot.components.stored import tensors_in
from tests.fusion.conftest import TINY, TINY_BASE

WHOLE = TINY_BASE.model_copy(update={"windows": False})
LATENTS = WHOLE.model_copy(update={"space": "latents"})


def whole(goods: np.ndarray) -> torch.Tensor:
    return views(goods, range(len(goods)), 32, False, np.random.default_rng(0))


def test_pixels_are_encoded_without_loss(goods: np.ndarray) -> None:
    base, images = new_base(32, TINY_BASE, seed=0), whole(goods)
    assert base.grid == (12, 16, 16)
    assert torch.equal(base.decode(base.encode(images)), images)


def test_latents_have_unit_variance_and_their_scale_is_saved(goods: np.ndarray) -> None:
    base = base_training(goods, 32, LATENTS, seed=0).network
    assert base.grid == (16, 8, 8)
    images = whole(goods)
    latents = base.encode(images)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(16), atol=1e-2, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(16), atol=1e-2, rtol=0)
    assert (base.decode(latents) - images).abs().mean() < 0.3
    content = base_bytes(base, LATENTS)
    again = base_from(content)
    assert torch.equal(again.encode(images), latents)
    assert not any(name.startswith("codec.vqgan") for name in tensors_in(content, "")[0])


def test_a_small_base_starts_at_the_best_linear_prediction(goods: np.ndarray) -> None:
    base = new_base(32, TINY_BASE, seed=0)
    base.fit(whole(goods))
    x_0 = base.encode(whole(goods)).double().numpy()
    transformed = np.fft.fft2(x_0, norm="ortho")
    for t in (10, 500):
        kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[t]
        noise = np.random.default_rng(t).standard_normal(x_0.shape)
        x_t = np.sqrt(kept) * x_0 + np.sqrt(1 - kept) * noise
        expected, remaining = np.zeros_like(transformed), []
        for y, x in np.ndindex(16, 16):
            moment = sum(np.outer(image[:, y, x], image[:, y, x].conj()) for image in transformed) / len(x_0)
            given = np.fft.fft2(x_t, norm="ortho")[:, :, y, x].T
            whitened = np.linalg.solve(kept * moment + (1 - kept) * np.eye(12), given)
            expected[:, :, y, x] = np.sqrt(1 - kept) * whitened.T
            remaining.append(1 - (1 - kept) * np.linalg.inv(kept * moment + (1 - kept) * np.eye(12)).trace().real / 12)
        with torch.no_grad():
            predicted = base(torch.from_numpy(x_t).float(), torch.full((len(x_t),), t)).numpy()
        np.testing.assert_allclose(predicted, np.fft.ifft2(expected, norm="ortho").real, atol=2e-3)
        foreseen = float(base.expected_error(torch.tensor([t])))
        assert foreseen == pytest.approx(np.mean(remaining), rel=1e-4)
        assert ((predicted - noise) ** 2).mean() == pytest.approx(foreseen, rel=0.5)


def test_a_base_of_other_latents_is_refused(goods: np.ndarray) -> None:
    base = new_base(32, LATENTS, seed=0)
    base.codec.identity = "0" * 64
    with pytest.raises(BadInput, match="another VQGAN"):
        base_from(base_bytes(base, LATENTS))


def test_defects_are_made_in_latents_too(
    defects: DefectImages, features: DefectFeatures, sites: list[Site], goods: np.ndarray
) -> None:
    config = TINY.model_copy(update={"small": LATENTS})
    fusion = Fusion(config, defects, features, 0, new_base(32, LATENTS, 0), new_mask_autoencoder(config.masks, 0))
    fusion.train(1)
    made = fusion.generate(sites[:2], goods, seed=0)
    for image, site in zip(made, sites, strict=False):
        assert np.array_equal(image[~site.mask], goods[site.good][~site.mask])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resolution": 60}, "multiple of"),
        ({"small": {"channels": [12]}}, "norm_groups"),
        ({"small": {"attention_levels": 4}}, "attention_levels"),
        ({"masks": {"channels": [1, 2, 3, 4, 5]}}, "halved 4 times"),
        ({"base": "ldm_text2im"}, "trains=embeddings"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FusionConfig.model_validate(fields)


def test_the_published_setting_is_the_papers() -> None:
    config = published(steps=5)
    assert (config.resolution, config.tokens, config.trains, config.steps) == (256, 8, "embeddings", 5)


@pytest.mark.slow
def test_importing_it_does_not_import_diffusers() -> None:
    code = "import sys, goodshot.components.fusion.fusion; sys.exit('diffusers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_weights_are_a_function_of_the_seed(begin: Callable[..., Fusion]) -> None:
    one, same, other = (new_base(32, BaseConfig(**TINY_BASE.model_dump()), seed) for seed in (1, 1, 2))
    assert torch.equal(one.unet.conv_in.weight, same.unet.conv_in.weight)
    assert not torch.equal(one.unet.conv_in.weight, other.unet.conv_in.weight)
    assert begin(1).state() == begin(1).state() != begin(2).state()
