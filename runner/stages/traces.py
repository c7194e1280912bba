"""Read the curves of a training from the store: the similarity of every scored iteration, and the losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from goodshot.components.integrator import Trace, similarities
from goodshot.runner.store.artifacts import Store


@dataclass(frozen=True)
class TrainingCurve:
    """The scored ``iterations`` (S,), their ``similarity`` cos(z_t, z_v^l) (S,), the ``chosen`` iteration, and for each
    name the losses of all updates."""

    iterations: np.ndarray
    similarity: np.ndarray
    chosen: int
    losses: Mapping[str, np.ndarray]


def read_curve(store: Store, image_set: str, prompt: str, prompt_kind: str) -> TrainingCurve:
    """The curve by which an image set was chosen. Raises :class:`GoodshotError` if an artifact is missing."""
    info = store.get(image_set).info
    arrays = store.get(f"{info['generator']}/{info['trace']}").arrays("trace.safetensors")
    text = store.get(prompt).arrays("embeddings.safetensors")[prompt_kind]
    trace = Trace(arrays["iterations"], arrays["embeddings"])
    losses = {name.removeprefix("loss_"): arrays[name] for name in sorted(arrays) if name.startswith("loss_")}
    return TrainingCurve(trace.iterations, similarities(trace, text, info["copies"]), int(info["iteration"]), losses)
