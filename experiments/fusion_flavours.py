"""The two flavours of AnomalyXFusion's experiments: its setting on a user's datasets, and minutes on the demo.

All real flavours declare equal trainings and 1,000 images of each defect type, so that experiments on the same
categories share a category's fusion in one store. Three seeds vary training, sampling and evaluation; the paper states
none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from goodshot.components.classifiers.config import published as published_classifier
from goodshot.components.fusion.config import published as published_fusion
from goodshot.components.segmenters.config import published as published_segmenter
from goodshot.runner.study.study import Study

ABLATION = ("fusion:none", "fusion:text", "fusion:text+mif", "fusion:text+ddf", "fusion")
"""The rows of Table 6."""
COPIES = 1000
"""Images of each defect type, as in §5.3; of these the first 1,000 of a category are measured, as in §5.2."""
IN_THIRDS = {"shots": "full", "support_seeds": (0, 1, 2), "copies": (COPIES,)}
PUBLISHED: dict[str, Any] = {
    "side": 256,
    "fusion": published_fusion().model_dump(mode="json"),
    "segmenter": published_segmenter().model_dump(mode="json"),
    "classifier": published_classifier().model_dump(mode="json"),
}
"""A published latent diffusion model, frozen, at 256 px; a U-Net of the usual size; a pretrained ResNet-34."""
_QUICK: dict[str, Any] = {
    "dataset": {"name": "demo"},
    "categories": ["coin"],
    "shots": "full",
    "support_seeds": [0],
    "copies": [8],
    "synthesis": {
        "side": 64,
        "fusion": {
            "resolution": 32,
            "steps": 40,
            "masks": {"steps": 60},
            "small": {"channels": [32, 64], "attention_levels": 1, "steps": 60},
            "sampling": {"steps": 8},
        },
        "segmenter": {"resolution": 64, "steps": 60, "validate_every": 20},
        "classifier": {"resolution": 64, "steps": 30, "validate_every": 10},
    },
    "detectors": [{"image_size": 64}],
}


def in_thirds(name: str, title: str, cells: Sequence[str], arms: Sequence[str], **fields: Any) -> Study:
    """A study in the paper's setting: a third of the real defects is learned, the others are tested."""
    given = {"name": name, "title": title, "preset": "paper", "cells": tuple(cells), "arms": tuple(arms)}
    return Study.model_validate({**IN_THIRDS, **given, "synthesis": PUBLISHED, **fields})


def quick_fusion(study: Study, **fields: Any) -> Study:
    """The same question in a minute or two on two CPU cores: a small base from scratch, synthetic defects of the demo.

    The numbers say nothing about the method; they show that everything of the experiment runs, and what its report
    will look like.
    """
    own = {"name": f"{study.name}_quick", "title": f"{study.title} (quick flavour)"}
    return Study.model_validate({**_QUICK, "cells": study.cells, "arms": study.arms, **own, **fields})
