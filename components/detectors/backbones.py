"""Pretrained networks that a detector reads features of: their layers, and where their weights lie.

Only files of this machine count. Looking for them costs timm's import (seconds), never a network's timeout.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from components.detectors.quiet import quiet_import
from components.errors import BadInput, MissingWeights
from components.weights import forbid_downloads

_FILES = ("model.safetensors", "pytorch_model.bin")


@lru_cache(maxsize=32)
def timm_weights(backbone: str) -> Path:
    """The local file of a timm network's pretrained weights.

    Raises `BadInput` for a name that timm does not know, `MissingWeights` where the file is not on this machine.
    """
    forbid_downloads()
    with quiet_import():
        import timm
        import torch
        from huggingface_hub import try_to_load_from_cache
        from timm.models import get_pretrained_cfg
    _check_name(backbone)
    published = get_pretrained_cfg(backbone)
    if published is None or not (published.hf_hub_id or published.url or published.file):
        raise BadInput(f"backbone {backbone}: timm {timm.__version__} publishes no weights of it; choose another one")
    places = [Path(published.file)] if published.file else []
    if published.hf_hub_id:
        names = [published.hf_hub_filename] if published.hf_hub_filename else [*_FILES]
        cached = [try_to_load_from_cache(published.hf_hub_id, name) for name in names]
        places += [Path(found) for found in cached if isinstance(found, str)]
    elif published.url:
        places.append(Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name)
    for place in places:
        if place.is_file():
            return place
    raise MissingWeights(
        f"backbone {backbone}: its pretrained weights ({published.hf_hub_id or published.url}) are not in the hub's "
        "cache on this machine; put them there from one with a network, or take backbone: efficientnet_lite0"
    )


def check_layers(backbone: str, layers: Sequence[str]) -> None:
    """Raises `BadInput` for a layer that the timm network does not have, or layers that do not go deeper.

    anomalib would drop the one with a warning and pair the others with the wrong features.
    """
    with quiet_import():
        import timm
        import torch
    _check_name(backbone)
    if "vit" in backbone:  # blocks.N, which anomalib checks itself
        return
    with torch.device("meta"):
        network = timm.create_model(backbone, pretrained=False, features_only=True)
    known = [info["module"] for info in network.feature_info.info]
    if not layers or list(layers) != [layer for layer in known if layer in layers]:
        raise BadInput(f"layers {[*layers]} of {backbone} must be some of {known}, each once, in this order")


def _check_name(backbone: str) -> None:
    import timm

    if not timm.is_model(backbone):
        near = difflib.get_close_matches(backbone, timm.list_models(), n=1)
        hint = f"did you mean {near[0]}?" if near else "see timm.list_models()"
        raise BadInput(f"backbone {backbone!r}: timm has no such network; {hint}")
