"""What an image set is worth without a detector (Table 2), measured once whatever the number of detectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from components.metrics.detection import IMAGE_SET, MetricValue
from runner.store.artifacts import Store
from runner.store.fingerprint import fingerprint

QUALITY_VERSION = 1


def quality_values(images: np.ndarray, originals: Sequence[np.ndarray], store: Store) -> tuple[MetricValue, ...]:
    """Image quality of what an arm adds, uint8 (M, H, W, 3), against its originals: measured, or read from the store.

    Two cells of one image set may measure it at the same time, which gives the same values twice.
    """
    from components.metrics.quality import image_quality, network_names

    content = [hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for array in (images, *originals)]
    options = {"networks": list(network_names()), "shape": list(images.shape[1:])}
    key = (
        f"quality/{fingerprint('quality', QUALITY_VERSION, options, {'images': content[0], 'originals': content[1:]})}"
    )
    if not store.has(key):
        store.put(key, {}, {"values": image_quality(images, originals)})
    values = store.get(key).info["values"]
    return tuple(MetricValue(IMAGE_SET, name, float(value)) for name, value in values.items())
