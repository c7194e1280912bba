"""How far latents are from normal, on arrays whose distribution is known."""

import numpy as np
import pytest

from goodshot.components.metrics.latents import EDGES, histogram, latent_values, principal_components, standardised

FLOOR = 1e-8
SHAPE = (40, 6, 8, 8)
CODES = np.zeros((1, 4, 6, 8, 8), np.float32)


def normal() -> np.ndarray:
    """Channels of different mean and deviation."""
    channel = np.arange(6, dtype=np.float32)[:, None, None]
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    return 3 * channel + (1 + channel) * noise


def values(samples: np.ndarray, variance: float = 1.0) -> dict[str, float]:
    return latent_values(samples, np.full((1, *samples.shape[1:]), variance, np.float32), CODES, FLOOR)


def test_normal_latents_are_normal_whatever_their_channels_scale() -> None:
    found = values(normal())
    assert [found[name] for name in ("latent_skewness", "latent_kurtosis")] == pytest.approx([0, 0], abs=0.08)
    assert found["latent_ks"] < 0.01


def test_latents_of_few_values_are_far_from_normal() -> None:
    """Two values: the distance is that of N(0, 1) at ±1 (scipy's definition), the kurtosis that of a coin."""
    coin = np.where(normal() > 3 * np.arange(6)[:, None, None], 1.0, -1.0)
    found = values(coin)
    assert found["latent_ks"] == pytest.approx(0.341, abs=0.02)
    assert found["latent_kurtosis"] == pytest.approx(-2, abs=0.01)
    skewed = values(np.exp(normal() / 10))
    assert skewed["latent_skewness"] > 0.3
    assert skewed["latent_ks"] > values(normal())["latent_ks"]


def test_a_channel_that_does_not_vary_is_left_out() -> None:
    samples = normal()
    samples[:, 2] = 7
    assert standardised(samples).size == samples.size * 5 // 6
    assert np.isfinite(list(values(samples).values())).all()
    constant = values(np.ones(SHAPE))
    undefined = ("latent_skewness", "latent_kurtosis", "latent_ks")
    assert {name for name, value in constant.items() if np.isnan(value)} == {*undefined}


def test_the_variance_is_that_of_the_distribution_and_that_of_the_views() -> None:
    variance = np.full((1, 6, 8, 8), FLOOR, np.float32)
    variance[0, :, :2] = 0.25
    variance[0, 0, 2] = 0.25  # of one channel
    codes = CODES + np.array([0, 0, 1, 1], np.float32)[None, :, None, None, None]
    found = latent_values(normal(), variance, codes, FLOOR)
    assert found["latent_variance"] == pytest.approx(0.25 * (2 / 8 + 1 / 48))
    assert found["latent_view_variance"] == pytest.approx(0.25)
    assert found["latent_zero_variance"] == pytest.approx(5 / 8)


def test_the_histogram_counts_every_value() -> None:
    counts = histogram(np.array([-9.0, -4.99, 0.05, 0.06, 7.0]))
    assert len(counts) == len(EDGES) - 1
    assert (counts[0], counts[50], counts[-1], counts.sum()) == (2, 2, 1, 5)


def test_the_components_show_where_the_views_are_and_how_the_samples_spread() -> None:
    rng = np.random.default_rng(1)
    codes = np.zeros((2, 4, 3, 2, 2))
    codes[1] = 10  # a second original
    samples = np.concatenate([codes[0][:3], codes[1][:3]]) + 0.1 * rng.standard_normal((6, 3, 2, 2))
    found = principal_components(samples, codes)
    assert (found["samples"].shape, found["views"].shape) == ((6, 2), (8, 2))
    assert found["explained"][0] > 0.99
    distance = np.linalg.norm(found["views"][0] - found["views"][4])
    assert distance == pytest.approx(10 * np.sqrt(12), rel=0.01)
    assert np.abs(found["samples"][:3, 0] - found["views"][0, 0]).max() < 1
    still = principal_components(np.zeros((2, 3, 2, 2)), np.zeros((1, 4, 3, 2, 2)))
    assert all((part == 0).all() for part in still.values())
