"""A published latent diffusion model as the base: a folder in diffusers' layout, by registry name or path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from goodshot.components.errors import BadInput, MissingWeights
from goodshot.components.fusion.base import Base, base_from
from goodshot.components.fusion.codec import PublishedCodec
from goodshot.components.fusion.config import PATH
from goodshot.components.stored import load_exactly, read_weights
from goodshot.components.weights import file_sha256, require, weight

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
AUTOENCODERS = ("vqvae", "vae")
# Attention of autoencoders that were published before diffusers 0.15 has these names.
_RENAMED = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


def load_base(name: str, resolution: int) -> Base:
    """The base that ``FusionConfig.base`` names, frozen, on the CPU; nothing is downloaded.

    A file is a small base (``base_bytes``). A folder has ``unet/``, ``vqvae/`` or ``vae/``, and ``scheduler/``, each
    with its configuration. Weights are safetensors, or a ``.bin`` of plain tensors where the publisher has no others.

    Raises:
        MissingWeights: the base is not on this machine; the message has the remedy.
        BadInput: the base is damaged or of another architecture; the message names the first tensor that differs.
    """
    place = base_path(name)
    base = base_from(place.read_bytes(), str(place)) if place.is_file() else _load_folder(place, resolution)
    if base.resolution != resolution:
        raise BadInput(f"{place}: a base for {base.resolution} pixels; set resolution={base.resolution}")
    return base.requires_grad_(False).eval()


def base_path(name: str) -> Path:
    """The file or folder of ``FusionConfig.base``. Raises :class:`MissingWeights` if this machine lacks it."""
    if not name.startswith(PATH):
        weight(name)
        first = require(name, f"fusion.base = {name}")
        return first.parent.parent  # of unet/diffusion_pytorch_model
    place = Path(name.removeprefix(PATH)).expanduser()
    if not place.exists():
        raise MissingWeights(f"fusion.base = {name}: no such file or folder; correct the path")
    return place


def base_files(name: str) -> tuple[Path, ...]:
    """The files that determine a published base: weights and configurations."""
    place = base_path(name)
    if place.is_file():
        return (place,)
    parts = [place / "unet", _autoencoder_folder(place)]
    configs = [part / "config.json" for part in parts] + [place / "scheduler" / "scheduler_config.json"]
    return tuple(configs + [_weights(part) for part in parts])


def base_identity(name: str) -> dict[str, str]:
    """File name → SHA-256 of all that determines a published base, for a fingerprint. Raises as :func:`load_base`."""
    return {f"{path.parent.name}/{path.name}": file_sha256(path) for path in base_files(name)}


def _load_folder(place: Path, resolution: int) -> Base:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.vq_model import VQModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    autoencoders = {"AutoencoderKL": AutoencoderKL, "VQModel": VQModel}
    schedule = _json(place / "scheduler" / "scheduler_config.json")
    if (predicted := schedule.get("prediction_type", "epsilon")) != "epsilon":
        raise BadInput(f"{place}: its network predicts {predicted}, not the noise of eq. 17; give another base")
    unet = _built({"UNet2DConditionModel": UNet2DConditionModel}, place / "unet")
    codec = PublishedCodec(_built(autoencoders, _autoencoder_folder(place)))
    if resolution % codec.factor:
        raise BadInput(f"{place}: resolution = {resolution} must be a multiple of the autoencoder's {codec.factor}")
    return Base(unet, codec, {**schedule, "clip_sample": False}, resolution)


def _built(kinds: dict[str, Any], folder: Path) -> nn.Module:
    """The network of a folder: built by its own configuration, and filled with its weights, all of them."""
    config = _json(folder / "config.json")
    if config.get("_class_name") not in kinds:
        raise BadInput(f"{folder}: a {config.get('_class_name')}, not a {' or '.join(kinds)}; give another base")
    network: nn.Module = kinds[config["_class_name"]].from_config(config)
    path = _weights(folder)
    given = read_weights(path)
    if not any(".to_q." in name for name in given):
        for old, new in _RENAMED.items():
            given = {name.replace(old, new): value for name, value in given.items()}
    load_exactly(network, given, str(path))
    return network


def _autoencoder_folder(place: Path) -> Path:
    for name in AUTOENCODERS:
        if (place / name).is_dir():
            return place / name
    raise BadInput(f"{place}: holds no folder {' or '.join(AUTOENCODERS)}; give a folder in diffusers' layout")


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise BadInput(f"{folder}: holds no {' or '.join(WEIGHTS)}; give a folder in diffusers' layout")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({type(error).__name__}); give a folder in diffusers' layout") from None
    return found
