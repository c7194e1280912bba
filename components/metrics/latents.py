"""How a generator's sampled latents are distributed, and how far that is from normal (Fig. 10).

The paper says that sampling from N{E_d, Σ_d} makes the latent vectors "close to the normal distribution". Here the
latents of all samples and positions are standardised channel by channel, by the mean and deviation of that channel
alone, and compared with N(0, 1). Standardising by E and Σ instead would give back the noise that was drawn, and nothing
where Σ = 0, as without variance.

# K originals, N views, M samples, C latent channels, h × w latent positions
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LATENTS = "latents/all"
"""The subset name of these values. Defect types are folder names, so none has this name."""
EDGES = np.linspace(-5, 5, 101)
"""The bins of the histogram; the first and the last also count the values beyond them."""

Array = NDArray[Any]


def latent_values(samples: Array, variance: Array, codes: Array, floor: float) -> dict[str, float]:
    """Measure the distribution of sampled latents.

    Args:
        samples: z, (M, C, h, w).
        variance: Σ of the distributions that they were sampled from, (K, C, h, w).
        codes: the quantised maps of each original's views, (K, N, C, h, w).
        floor: the Σ of positions at which all views agree.

    Returns:
        ``latent_variance``: the mean of Σ; ``latent_view_variance``: the mean of eq. 3's variance over the views, which
        is Σ only with ``variance: estimated``; ``latent_zero_variance``: the share, in [0, 1], of positions whose Σ is
        zero in all channels; and of the standardised latents ``latent_skewness`` and ``latent_kurtosis`` (excess), both
        0 for a normal distribution, and ``latent_ks``, the Kolmogorov–Smirnov distance to N(0, 1), in [0, 1]. These
        three are NaN if no channel varies.
    """
    from scipy import stats

    found = {
        "latent_variance": float(variance.mean(dtype=np.float64)),
        "latent_view_variance": float(codes.var(axis=1, dtype=np.float64).mean()),
        # The floor is a float32's square root squared.
        "latent_zero_variance": float((variance <= 2 * floor).all(axis=1).mean()),
    }
    values = standardised(samples)
    if not len(values):
        return found | dict.fromkeys(("latent_skewness", "latent_kurtosis", "latent_ks"), float("nan"))
    return found | {
        "latent_skewness": float(stats.skew(values)),
        "latent_kurtosis": float(stats.kurtosis(values)),
        "latent_ks": float(stats.kstest(values, "norm", method="asymp").statistic),
    }


def standardised(samples: Array) -> NDArray[np.float64]:
    """Latents (M, C, h, w) → all values, each standardised by its channel, without channels that do not vary."""
    channels = np.moveaxis(samples, 1, 0).reshape(samples.shape[1], -1).astype(np.float64)
    channels = channels[np.ptp(channels, axis=1) > 0]
    channels -= channels.mean(1, keepdims=True)
    values: NDArray[np.float64] = (channels / channels.std(1, keepdims=True)).ravel()
    return values


def histogram(values: Array) -> NDArray[np.int64]:
    """The number of values in each bin between :data:`EDGES`."""
    return np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)[0].astype(np.int64)


def principal_components(samples: Array, codes: Array) -> dict[str, Array]:
    """The first two principal components of the samples' latents and the views' codes together.

    Args:
        samples: (M, C, h, w).
        codes: (K, N, C, h, w).

    Returns:
        ``samples`` (M, 2) and ``views`` (K · N, 2), float64; ``explained`` (2,), each component's share of the
        variance. All are 0 where there is none.
    """
    rows = np.concatenate([samples.reshape(len(samples), -1), codes.reshape(-1, samples[0].size)]).astype(np.float64)
    rows -= rows.mean(axis=0)
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    scores = left[:, :2] * sizes[:2]
    explained = sizes[:2] ** 2 / max(float((sizes**2).sum()), np.finfo(np.float64).tiny)
    return {"samples": scores[: len(samples)], "views": scores[len(samples) :], "explained": explained}
