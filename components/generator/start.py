"""The initial weights of a generator: published taming-transformers checkpoints, the embedded ones, or a file.

A file is never executed: checkpoints are read with ``torch.load(weights_only=True)``, and all other content of
Lightning checkpoints (callbacks, hyperparameters) is replaced by inert stand-ins. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodshot.components.errors import BadInput
from goodshot.components.generator.config import VQGANConfig

if TYPE_CHECKING:
    from torch import Tensor

    from goodshot.components.generator.discriminator import PatchDiscriminator
    from goodshot.components.generator.vqgan import VQGAN

DISCRIMINATOR = "loss.discriminator."
PERCEPTUAL = "loss.perceptual_loss."
METADATA = "vqgan"


@dataclass(frozen=True)
class StartWeights:
    """Tensors by the published names; those of discriminator and LPIPS are empty if the file lacks them."""

    vqgan: dict[str, Tensor]
    discriminator: dict[str, Tensor] = field(default_factory=dict)
    perceptual: dict[str, Tensor] = field(default_factory=dict)


def read_start(path: Path) -> StartWeights:
    """Read a ``.ckpt`` or ``.safetensors`` of a VQGAN onto the CPU.

    Accepts the published layout (tensors under ``state_dict``), a bare dictionary of tensors, and :func:`save_vqgan`'s
    files, whose recorded SHA-256 of the tensors is checked.

    Raises:
        BadInput: the file holds no such weights, is damaged, or asks for code that is not run.
    """
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_checkpoint(path)
    discriminator = {n.removeprefix(DISCRIMINATOR): t for n, t in tensors.items() if n.startswith(DISCRIMINATOR)}
    perceptual = {n.removeprefix(PERCEPTUAL): t for n, t in tensors.items() if n.startswith(PERCEPTUAL)}
    vqgan = {name: tensor for name, tensor in tensors.items() if not name.startswith("loss.")}
    if "quantize.embedding.weight" not in vqgan:
        raise BadInput(f"{path}: holds no VQGAN (no tensor quantize.embedding.weight); give a VQGAN's checkpoint")
    return StartWeights(vqgan, discriminator, perceptual)


def load_into(vqgan: VQGAN, weights: StartWeights, path: Path) -> None:
    """Copy the weights into a network. Raises :class:`BadInput` at the first tensor that does not fit its layout."""
    wanted = {name: tuple(tensor.shape) for name, tensor in vqgan.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.vqgan.items()}
    for name in wanted.keys() & given.keys():
        if wanted[name] != given[name]:
            raise BadInput(
                f"{path}: {name} has shape {given[name]}, the network of generator.vqgan wants {wanted[name]}"
                + _codebook_hint(name, given[name])
            )
    if different := sorted(wanted.keys() ^ given.keys()):
        whose = "the file lacks" if different[0] in wanted else "generator.vqgan has no"
        raise BadInput(f"{path}: {whose} {different[0]} ({len(different)} tensors differ); set generator.vqgan to its")
    vqgan.load_state_dict(weights.vqgan, strict=True)


def _codebook_hint(name: str, shape: tuple[int, ...]) -> str:
    return f"; set generator.vqgan.codebook_size={shape[0]}" if name == "quantize.embedding.weight" else ""


def save_vqgan(
    path: Path,
    vqgan: VQGAN,
    config: VQGANConfig,
    resolution: int,
    discriminator: PatchDiscriminator | None = None,
) -> str:
    """Write a network as safetensors, with its configuration and the SHA-256 of its tensors as JSON metadata.

    Equal tensors and configurations give equal bytes. Returns that SHA-256 (64 hex digits).
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in vqgan.state_dict().items()}
    if discriminator is not None:
        state = discriminator.state_dict()
        tensors |= {f"{DISCRIMINATOR}{name}": t.detach().cpu().contiguous() for name, t in state.items()}
    digest = tensors_sha256(tensors)
    facts = {"config": config.model_dump(mode="json"), "resolution": resolution, "sha256": digest}
    # One key only: the order of several in the file's header is not fixed.
    save_file(tensors, path, metadata={METADATA: json.dumps(facts, sort_keys=True)})
    return digest


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """SHA-256 (64 hex digits) over names, types, shapes and bytes, in the order of the names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise BadInput(f"{path}: not a safetensors file ({_one_line(error)})") from None
    recorded = json.loads(metadata[METADATA])["sha256"] if METADATA in metadata else None
    if recorded is not None and tensors_sha256(tensors) != recorded:
        raise BadInput(f"{path}: its tensors are not those it was saved with (SHA-256 differs); get it again")
    return {name.removeprefix("state_dict."): tensor for name, tensor in tensors.items()}


class _Inert:
    """Replaces a class or function that a checkpoint names: called and given a state, it does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _InertMapping:
    """The same for a class whose instances may be filled like dictionaries; torch fills only plain ones."""

    def __new__(cls, *_: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


def _stand_in(name: str) -> tuple[Any, str]:
    # numpy's dtypes have a tuple as their state, which a plain dictionary does not accept.
    return (_Inert if name.startswith("numpy.") else _InertMapping), name


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    try:
        foreign = get_unsafe_globals_in_checkpoint(path)
        with safe_globals([_stand_in(name) for name in foreign]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError) as error:
        raise BadInput(
            f"{path}: refused, not a checkpoint of plain tensors ({_reason(error)}); convert it to safetensors"
        ) from None
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    return {str(name): tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def _reason(error: Exception) -> str:
    """The problem that torch's unpickler reports, without its advice to trust the file."""
    paragraphs = [p for p in str(error).split("\n\n") if p.strip() and not p.startswith(("Weights only", "Check the"))]
    return _one_line(Exception(paragraphs[-1] if paragraphs else error))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
