"""Variance predicted from E: residuals after alignment, what the head learns, and the generator that uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray

from goodshot.components.errors import BadInput
from goodshot.components.generator.augment import POLICIES
from goodshot.components.generator.config import GeneratorConfig, VariationConfig, VQGANConfig
from goodshot.components.generator.generator import Generator
from goodshot.components.generator.start import save_vqgan
from goodshot.components.generator.variation import (
    Encoded,
    VarianceHead,
    encode_category,
    load_head,
    negative_log_likelihood,
    residuals,
    save_head,
    train_variance_head,
)
from goodshot.components.generator.vqgan import VQGAN

NETWORK = VQGANConfig(channels=8, channel_multipliers=(1, 2), latent_channels=4, codebook_size=64)
QUICK = VariationConfig(pairs=40, steps=200, hidden=16, window=1)


@pytest.fixture(scope="module")
def coffee() -> NDArray[np.uint8]:
    return np.ascontiguousarray(skimage.data.coffee()[100:196, 200:296])


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "tiny.safetensors"
    save_vqgan(path, VQGAN(NETWORK, 32), NETWORK, 32)
    return path


def test_a_shift_within_the_window_is_no_variation() -> None:
    codes = torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(0))
    moved = torch.roll(codes, (1, -2), (1, 2))
    inside = (slice(None), slice(3, 9), slice(3, 9))
    assert residuals(codes, moved, 2)[inside].abs().max() == 0
    assert residuals(codes, moved, 1)[inside].abs().mean() > 0.3
    assert residuals(codes, codes, 0).abs().max() == 0


def made_up(seed: int, n: int = 12) -> Encoded:
    """Means of ±1 by position; codes vary by 0.1 where they are negative, by 1 where they are positive."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (n, 2, 4, 4), generator=generator).float() * 2 - 1
    means = signs[:1].expand(n, -1, -1, -1).repeat_interleave(3, 2).repeat_interleave(3, 3)
    noise = torch.randn(means.shape, generator=generator)
    return Encoded(means.contiguous(), means + noise * torch.where(means > 0, 1.0, 0.1))


def test_the_head_learns_where_products_vary_and_transfers_it_to_another() -> None:
    config = QUICK.model_copy(update={"window": 0, "steps": 400})
    head = train_variance_head([made_up(0), made_up(1)], config, seed=0)
    other = made_up(2)
    found = head(other.means)
    assert found[other.means > 0].median() == pytest.approx(1, rel=0.4)
    assert found[other.means < 0].median() == pytest.approx(0.01, rel=0.8)
    apart = torch.stack([residuals(m, c, 0) for m, c in zip(other.means, other.codes, strict=True)])
    constant = VarianceHead(2, 4)
    constant.load_state_dict({**constant.state_dict(), "variance": head.get_buffer("variance")})
    assert negative_log_likelihood(head, other.means, apart) < negative_log_likelihood(constant, other.means, apart)


def test_training_repeats_bit_for_bit_and_survives_a_file(tmp_path: Path) -> None:
    one, two = (train_variance_head([made_up(0)], QUICK, seed=3) for _ in range(2))
    save_head(one, tmp_path / "head.safetensors")
    read = load_head(tmp_path / "head.safetensors")
    means = made_up(1).means
    assert torch.equal(one(means), two(means))
    assert torch.equal(one(means), read(means))
    assert not read.training


def test_photographs_are_encoded_by_the_frozen_network(start: Path, coffee: NDArray[np.uint8]) -> None:
    torch.manual_seed(0)
    encoded = encode_category(VQGAN(NETWORK, 32).eval(), [coffee, coffee[::-1]], 32, POLICIES["mild"], 3, seed=0)
    assert encoded.means.shape == encoded.codes.shape == (2, 4, 16, 16)
    assert not torch.equal(encoded.codes[0], encoded.codes[1])


def test_a_single_image_of_each_category_is_not_enough() -> None:
    one = made_up(0)
    with pytest.raises(BadInput, match="at least two images"):
        train_variance_head([Encoded(one.means[:1], one.codes[:1])], QUICK, 0)


def predicted(start: Path, **fields: object) -> GeneratorConfig:
    values = {"resolution": 32, "vqgan": NETWORK, "init": f"taming:{start}", "perceptual": "none", **fields}
    return GeneratorConfig.model_validate({"variance": "predicted", **values})


def test_the_generator_samples_by_the_head_and_trains_the_decoder_alone(start: Path, coffee: NDArray[np.uint8]) -> None:
    head = VarianceHead(4, 8).eval().requires_grad_(False)
    generator = Generator([coffee], predicted(start), 1.0, 0, variance_head=head)
    found = generator.distribution()
    assert torch.equal(found.std, head(found.mean[None])[0].sqrt())
    before = {name: value.clone() for name, value in generator.vqgan.state_dict().items()}
    generator.advance(2)
    changed = {n.partition(".")[0] for n, v in generator.vqgan.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {"decoder", "post_quant_conv"}


def test_it_continues_bit_for_bit(start: Path, coffee: NDArray[np.uint8], tmp_path: Path) -> None:
    head = VarianceHead(4, 8).eval().requires_grad_(False)

    def fresh() -> Generator:
        return Generator([coffee], predicted(start, noise_correlation=1.5), 1.0, 0, variance_head=head)

    straight, first = fresh(), fresh()
    straight.advance(4)
    first.advance(2)
    first.save(tmp_path / "half.safetensors")
    second = fresh().restore(tmp_path / "half.safetensors")
    second.advance(4)
    assert np.array_equal(straight.sample(3), second.sample(3))
    assert np.array_equal(straight.sample(3)[:2], straight.sample(2))


def test_head_and_variance_belong_together(start: Path, coffee: NDArray[np.uint8]) -> None:
    with pytest.raises(BadInput, match="belong together"):
        Generator([coffee], predicted(start), 1.0, 0)
    with pytest.raises(ValueError, match="set generator"):
        GeneratorConfig(variance="predicted")
