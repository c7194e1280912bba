"""PatchCore's coreset: goodshot's selection against anomalib's on the same patches, same random draws, same run.

Patches of nine augmented photographs at 256 px (9,216 of them), of which 10 % are kept; both must choose the same.
"""

from __future__ import annotations

import time
from contextlib import redirect_stderr
from io import StringIO

import numpy as np
import skimage.data
import torch

from goodshot.components.detectors import DetectorConfig, SharesFeatures, build_detector
from goodshot.components.detectors.anomalib_model import everything_seeded
from goodshot.components.detectors.coreset import select_coreset
from goodshot.components.generator.augment import POLICIES, augmented_set

IMAGES, RATIO, SIDE = 9, 0.1, 256


def main() -> str:
    """Select both ways and return the ratio as text. Raises if one patch differs."""
    from anomalib.models.components import KCenterGreedy

    photograph = np.ascontiguousarray(skimage.data.coffee()[:SIDE, 150 : 150 + SIDE])
    reader = build_detector(DetectorConfig(image_size=SIDE), 0)
    assert isinstance(reader, SharesFeatures)
    features = reader.embed(augmented_set([photograph], POLICIES["strong"], IMAGES, seed=0))
    patches = torch.from_numpy(features).permute(0, 2, 3, 1).reshape(-1, features.shape[1]).contiguous()
    with everything_seeded(0, torch.device("cpu")):
        began = time.perf_counter()
        ours = select_coreset(patches, RATIO).tolist()
        our_seconds = time.perf_counter() - began
    with everything_seeded(0, torch.device("cpu")), redirect_stderr(StringIO()):
        began = time.perf_counter()
        theirs = [int(i) for i in KCenterGreedy(patches, RATIO).select_coreset_idxs()]
        their_seconds = time.perf_counter() - began
    if ours != theirs:
        raise AssertionError("the coreset is not anomalib's")
    return (
        f"coreset: {len(ours)} of {len(patches)} patches, the same: {our_seconds:.2f} s against {their_seconds:.2f} s "
        f"({their_seconds / our_seconds:.0f} times less)"
    )
