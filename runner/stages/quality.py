"""Image quality without a detector (Table 2), measured once for each image set, not once for each detector."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence

import numpy as np

from goodshot.components.metrics.detection import IMAGE_SET, MetricValue
from goodshot.components.weights.registry import TORCHVISION
from goodshot.runner.stages.base import Context
from goodshot.runner.stages.need import Need
from goodshot.runner.store.fingerprint import fingerprint

QUALITY_VERSION = 2
"""Version 1 had neither the similarity to the originals nor the pixel variance. Its artifacts are not read any more."""


def quality_needs() -> Iterator[Need]:
    """The standard networks, which have embedded substitutes."""
    for network, metric in (("vgg16", "lpips"), ("inception_v3", "is")):
        yield Need(f"{TORCHVISION}{network}", f"metric {metric}", f"{metric}_lite0 is measured instead")


def quality_values(images: np.ndarray, originals: Sequence[np.ndarray], context: Context) -> tuple[MetricValue, ...]:
    """Measure the quality of added images, uint8 (M, H, W, 3), against their originals, or read it from the store.

    Two cells that measure one image set at the same time commit the same values twice, which does no harm.
    """
    from goodshot.components.metrics.quality import image_quality, network_names

    content = [hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for array in (images, *originals)]
    options = {"networks": list(network_names()), "shape": list(images.shape[1:])}
    key = (
        f"quality/{fingerprint('quality', QUALITY_VERSION, options, {'images': content[0], 'originals': content[1:]})}"
    )
    if not context.store.has(key):
        began = time.perf_counter()
        context.store.put(key, {}, {"values": image_quality(images, originals)})
        context.measured(quality_cost(images.shape[1]), time.perf_counter() - began, len(images))
    values = context.store.get(key).info["values"]
    return tuple(MetricValue(IMAGE_SET, name, float(value)) for name, value in values.items())


def quality_cost(side: int) -> str:
    """The kind of work of measuring one image of this side."""
    return f"quality|{side}"
