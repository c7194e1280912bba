"""Reading what a training left in the store: the similarity of every scored iteration and the losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.integrator import Trace, similarities
from runner.store.artifacts import Store


@dataclass(frozen=True)
class TrainingCurve:
    """cos(z_t, z_v^l) over the scored iterations (S,), the chosen iteration, and the losses of each update by name."""

    iterations: np.ndarray
    similarity: np.ndarray
    chosen: int
    losses: Mapping[str, np.ndarray]


def read_curve(store: Store, image_set: str, prompt: str, prompt_kind: str) -> TrainingCurve:
    """The curve that explains an image set's choice. Raises :class:`GoodshotError` if an artifact is gone."""
    info = store.get(image_set).info
    arrays = store.get(f"{info['generator']}/{info['trace']}").arrays("trace.safetensors")
    text = store.get(prompt).arrays("embeddings.safetensors")[prompt_kind]
    trace = Trace(arrays["iterations"], arrays["embeddings"])
    losses = {name.removeprefix("loss_"): arrays[name] for name in sorted(arrays) if name.startswith("loss_")}
    return TrainingCurve(trace.iterations, similarities(trace, text, info["copies"]), int(info["iteration"]), losses)
