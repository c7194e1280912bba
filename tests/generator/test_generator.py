"""The generator's promises on a real photograph: prefixes, exact continuation, variance modes, learning."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from goodshot.components.errors import BadInput
from goodshot.components.generator.augment import POLICIES, augmented_set
from goodshot.components.generator.batch import to_square
from goodshot.components.generator.config import F16, GeneratorConfig, Variance, VQGANConfig
from goodshot.components.generator.generator import Generator
from goodshot.components.generator.latent import latent_distribution, sample_noise
from goodshot.components.generator.vqgan import VQGAN

TINY = GeneratorConfig(
    resolution=32,
    vqgan=VQGANConfig(channels=8, channel_multipliers=(1, 2), latent_channels=8, codebook_size=32),
    perceptual="none",
)


@pytest.fixture(scope="module")
def coffee() -> np.ndarray:
    return np.asarray(skimage.data.coffee())[100:300, 150:400]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def make(photo: np.ndarray, config: GeneratorConfig = TINY, seed: int = 0, vq_weight: float = 1.0) -> Generator:
    return Generator([photo], config, vq_weight, seed)


def test_training_learns_the_photograph(coffee: np.ndarray) -> None:
    losses = make(coffee).advance(60)
    first, last = np.mean([s.mse for s in losses[:5]]), np.mean([s.mse for s in losses[-5:]])
    assert last < first / 3


def test_copies_are_a_prefix(coffee: np.ndarray) -> None:
    generator = make(coffee)
    generator.advance(3)
    many = generator.sample(12)
    assert many.shape == (12, 32, 32, 3)
    assert many.dtype == np.uint8
    for copies in (1, 4, 5, 7):
        np.testing.assert_array_equal(generator.sample(copies), many[:copies])


@pytest.mark.parametrize("variance", ["estimated", "unit", "none"])
def test_latents_are_those_that_are_decoded(coffee: np.ndarray, variance: Variance) -> None:
    generator = Generator([coffee, coffee[::-1]], TINY.model_copy(update={"variance": variance}), 1.0, 0)
    generator.advance(3)
    found = generator.latents(5)
    assert (found.samples.shape, found.variance.shape, found.codes.shape) == (
        (5, 8, 16, 16),
        (2, 8, 16, 16),
        (2, TINY.augmentations, 8, 16, 16),
    )
    for k in range(2):
        mean, std = generator.distribution(k)
        torch.testing.assert_close(found.codes[k].mean(0), mean)
        torch.testing.assert_close(found.variance[k], std**2)
        # Noise of deviation 1, scaled: within six deviations of the mean of its own original.
        assert ((found.samples[k::2] - mean).abs() <= 6 * std).all()
    decoded = generator.vqgan.decode(found.samples).clamp(-1, 1) * 127.5 + 127.5
    assert np.abs(decoded.permute(0, 2, 3, 1).detach().numpy() - generator.sample(5)).max() < 1
    torch.testing.assert_close(generator.latents(2).samples, found.samples[:2])


def test_continuing_equals_a_straight_run_bit_for_bit(coffee: np.ndarray, tmp_path: Path) -> None:
    straight = make(coffee)
    straight_losses = straight.advance(8)
    half = make(coffee)
    half.advance(4)
    half.save(tmp_path / "half.safetensors")
    continued = make(coffee).restore(tmp_path / "half.safetensors")
    assert continued.iteration == 4
    assert continued.advance(8) == straight_losses[4:]
    np.testing.assert_array_equal(continued.sample(5), straight.sample(5))


def test_sampling_leaves_training_unchanged(coffee: np.ndarray) -> None:
    watched, alone = make(coffee), make(coffee)
    for _ in range(4):
        watched.sample(7)
        watched.advance(watched.iteration + 1)
    assert watched.advance(6) == alone.advance(6)[4:]


def test_a_checkpoint_of_other_options_is_refused(coffee: np.ndarray, tmp_path: Path) -> None:
    make(coffee).save(tmp_path / "c.safetensors")
    with pytest.raises(BadInput, match="other options"):
        make(coffee, vq_weight=0.5).restore(tmp_path / "c.safetensors")


def test_seeds_differ_and_samples_of_one_set_differ(coffee: np.ndarray) -> None:
    one, other = make(coffee, seed=0), make(coffee, seed=1)
    one.advance(10)
    other.advance(10)
    first = one.sample(2)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, other.sample(2))


def test_no_variance_gives_one_image_and_unit_variance_more_spread(coffee: np.ndarray) -> None:
    spreads = {}
    for variance in ("none", "estimated", "unit"):
        generator = make(coffee, TINY.model_copy(update={"variance": variance}))
        generator.advance(20)
        spreads[variance] = float(generator.sample(5).astype(float).std(axis=0).mean())
    assert spreads["none"] == 0
    assert 0 < spreads["estimated"] < spreads["unit"]


def test_several_originals_take_turns(coffee: np.ndarray) -> None:
    cat = np.asarray(skimage.data.chelsea())[:200, :200]
    generator = Generator([coffee, cat], TINY, 1.0, 0)
    generator.advance(60)
    samples = generator.sample(4).astype(float)
    alike = [np.abs(samples[m] - samples[m % 2]).mean() for m in (2, 3)]
    crossed = np.abs(samples[0] - samples[1]).mean()
    assert max(alike) < crossed


@pytest.mark.slow
def test_every_original_is_a_target_however_few_samples_a_step_takes() -> None:
    # vq_weight 0 leaves eq. 6 alone: an original that never is its target is never learnt.
    greys = [np.full((32, 32, 3), value, np.uint8) for value in (40, 60, 220)]
    assert len(greys) > TINY.train_samples
    generator = Generator(greys, TINY, 0.0, 0)
    generator.advance(120)
    assert generator.sample(len(greys))[2].mean() > 120  # 54 where only the first two are


def test_residual_detail_keeps_the_originals_sharpness(coffee: np.ndarray) -> None:
    generator = make(coffee)
    generator.advance(20)

    def sharpness(images: np.ndarray) -> float:
        return float(np.abs(np.diff(images.astype(float), axis=2)).mean())

    assert sharpness(generator.sample(3, "residual")) > sharpness(generator.sample(3, "none"))


def test_residual_detail_on_a_larger_original_keeps_its_resolution(coffee: np.ndarray) -> None:
    generator = make(coffee)
    generator.advance(20)
    images = generator.sample(2, "residual_96")
    assert images.shape == (2, 96, 96, 3)
    added, expected = (
        torch.from_numpy(generator.sample(2, detail)).permute(0, 3, 1, 2).float() / 255 - to_square(coffee, side)
        for detail, side in (("residual_96", 96), ("residual", 32))
    )
    halved = torch.nn.functional.interpolate(added, (32, 32), mode="area")
    assert torch.corrcoef(torch.stack([halved.flatten(), expected.flatten()]))[0, 1] > 0.9
    assert 0 < float(added.abs().mean()) < 2 * float(expected.abs().mean())


def test_variance_is_eq_3() -> None:
    maps = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    found = latent_distribution(maps, "estimated")
    torch.testing.assert_close(found.mean, maps.mean(0))
    torch.testing.assert_close(found.std**2, ((maps - maps.mean(0)) ** 2).mean(0), atol=1e-6, rtol=0)


def test_gradient_is_finite_where_all_codes_agree() -> None:
    maps = torch.zeros(4, 3, 2, 2, requires_grad=True)
    latent_distribution(maps, "estimated").sample(torch.ones(1, 3, 2, 2)).sum().backward()
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()


def test_noise_is_a_function_of_seed_iteration_and_sample() -> None:
    whole = sample_noise((2, 3, 3), 0, 5, range(6))
    torch.testing.assert_close(sample_noise((2, 3, 3), 0, 5, range(4, 6)), whole[4:], rtol=0, atol=0)
    assert not torch.equal(sample_noise((2, 3, 3), 0, 6, range(6)), whole)


def test_f16_has_the_published_layout() -> None:
    with torch.device("meta"):
        model = VQGAN(F16, 256)
        larger = VQGAN(F16.model_copy(update={"codebook_size": 16384}), 256)
    assert sum(p.numel() for p in model.parameters()) == 72_141_699
    assert sum(p.numel() for p in larger.parameters()) == 76_073_859
    names = set(model.state_dict())
    assert len(names) == 343
    assert {"encoder.down.4.attn.1.proj_out.weight", "decoder.up.4.upsample.conv.bias", "quant_conv.bias"} <= names


def test_augmentation_is_prefix_exact_and_the_identity_at_zero(coffee: np.ndarray) -> None:
    strong = POLICIES["strong"]
    many = augmented_set([coffee], strong, 6, seed=3)
    assert many.shape == (6, *coffee.shape)
    np.testing.assert_array_equal(augmented_set([coffee], strong, 2, seed=3), many[:2])
    none = type(strong)()
    assert np.abs(augmented_set([coffee], none, 1, seed=0)[0].astype(int) - coffee).max() <= 1


def test_no_original_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no original image"):
        Generator([], TINY, 1.0, 0)


@pytest.mark.parametrize("name", ["autoaugment", "randaugment"])
def test_the_policies_that_the_paper_cites_are_a_function_of_seed_and_index(name: str) -> None:
    photograph = np.ascontiguousarray(skimage.data.coffee()[:64, 100:164])
    before = torch.get_rng_state()
    few, many = (augmented_set([photograph], POLICIES[name], count, seed=1) for count in (2, 12))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(few, many[:2])
    assert many.shape == (12, 64, 64, 3)
    assert len({view.tobytes() for view in many}) > 3
    assert not np.array_equal(many, augmented_set([photograph], POLICIES[name], 12, seed=2))


def test_a_policy_without_automatic_states_what_it_always_did() -> None:
    """Fingerprints of before stay."""
    assert "automatic" not in POLICIES["mild"].stated()
    assert POLICIES["randaugment"].stated()["automatic"] == "randaugment"
