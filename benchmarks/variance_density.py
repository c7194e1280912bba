"""Does normal variation transfer between products? The predicted Σ of pairs of images of a category it has not seen.

For each development category a head learns from all others (METHOD A2, ``variance: predicted``). Its negative
log-likelihood per value on pairs of the category's own good images, relative to the other categories' variance of each
channel, stands beside that of three constant Σ: the one that fits the category best, the others', and σ = 1. Lower is
better.

    python -m benchmarks.variance_density

About three minutes on one core; it asserts nothing.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.variety import REAL, encoded_categories
from goodshot.components.generator.config import VariationConfig
from goodshot.components.generator.variation import negative_log_likelihood, residuals, train_variance_head

CATEGORIES = ("pill", "bottle", "hazelnut_toy")
PAIRS = 100


def main() -> str:
    """Return the table as text."""
    if not REAL.is_dir():
        return f"variance_density: needs {REAL.name} beside the repository"
    config = VariationConfig()
    lines = ["variance_density: category       predicted   own constant   others' constant   σ = 1"]
    for category in CATEGORIES:
        encoded = encoded_categories()
        head = train_variance_head([e for name, e in encoded.items() if name != category], config, 0)
        own = encoded[category]
        rng = np.random.default_rng(5)
        pairs = [rng.choice(len(own.means), 2, replace=False) for _ in range(PAIRS)]
        means = own.means[[int(a) for a, _ in pairs]]
        found = torch.stack([residuals(own.means[a], own.codes[b], config.window) for a, b in pairs])
        others = head.get_buffer("variance")
        constants = [found.pow(2).mean((0, 2, 3)), others, torch.ones_like(others)]
        values = [float(negative_log_likelihood(head, means, found))]
        for variance in constants:
            fixed = variance[:, None, None]
            relative = (fixed / others[:, None, None]).log() + found.pow(2) / fixed
            values.append(0.5 * float(relative.mean()))
        lines.append(f"  {category:<24}" + "".join(f"{value:>13.3f}" for value in values))
    return "\n".join(lines)


if __name__ == "__main__":
    print(main())
