"""CLIP models through open_clip, as in the paper. Weights are read from local files only.

# B images, L texts, d the model's embedding dimension
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from goodshot.components.encoders.base import Precision, check_images, computing_in, in_fixed_batches
from goodshot.components.encoders.catalogue import FOLDER_MODEL, OpenClipName
from goodshot.components.errors import BadInput
from goodshot.components.weights.open_clip_table import text_config

_TEXT_BATCH = 32
_CPU_BATCH, _GPU_BATCH = 4, 64


class OpenClipEncoder:
    """An `Encoder` with one open_clip model, weights in float32, computed in `precision`.

    Preprocessing is the tag's own (size, resize mode, interpolation, mean and std), on tensors; for a weight file it is
    CLIP's default, for a folder that of its configuration. A tag trained with QuickGELU is run with it: open_clip
    itself only warns, and without QuickGELU the embeddings of such a tag are wrong.

    Raises `MissingWeights` if the weights are not on this machine, `BadInput` if the file does not fit the model.
    """

    def __init__(self, chosen: OpenClipName, device: str = "cpu", precision: Precision = "fp32") -> None:
        random = chosen.tag is None and chosen.file is None and chosen.folder is None
        path = None if random else str(chosen.weights())
        self.name = chosen.name
        self._device, self._precision = torch.device(device), precision
        self._model = _create(chosen, path, device)
        self._preprocess: dict[str, Any] = self._model.visual.preprocess_cfg
        self._tokenizer = _tokenizer(chosen)
        self.dim = _dimension(chosen)
        self._batch = _CPU_BATCH if self._device.type == "cpu" else _GPU_BATCH

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """RGB float (B, 3, H, W) in [0, 1] → float32 (B, d), unit rows, on the CPU."""
        check_images(images)
        if len(images) == 0:
            return torch.empty(0, self.dim)
        return in_fixed_batches(self._encode_images, images, self._batch)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """L texts → float32 (L, d), unit rows, on the CPU; cut at the model's context length (CLIP: 77)."""
        if len(texts) == 0:
            return torch.empty(0, self.dim)
        return in_fixed_batches(self._encode_texts, self._tokenizer(list(texts)), _TEXT_BATCH)

    def embed_with_gradient(self, images: Tensor) -> Tensor:
        """RGB float (B, 3, H, W) in [0, 1] → float32 (B, d), unit rows, differentiable in the pixels."""
        check_images(images.detach())
        return self._embed(images)

    def _encode_images(self, images: Tensor) -> Tensor:
        return self._embed(images).cpu()

    def _embed(self, images: Tensor) -> Tensor:
        prepared = prepare(images.to(self._device).float(), self._preprocess)
        with computing_in(self._precision, self._device):
            embeddings = self._model.encode_image(prepared)
        return F.normalize(embeddings.float(), dim=1)

    def _encode_texts(self, ids: Tensor) -> Tensor:
        with computing_in(self._precision, self._device):
            embeddings = self._model.encode_text(ids.to(self._device))
        return F.normalize(embeddings.float(), dim=1).cpu()


def prepare(images: Tensor, preprocess: dict[str, Any]) -> Tensor:
    """(B, 3, H, W) in [0, 1] → the model's input (B, 3, h, w), by open_clip's preprocessing configuration.

    `resize_mode` "shortest" keeps the aspect ratio and crops the centre, "squash" does not; equal to
    open_clip's transform of a PIL image, except for its rounding to 8 bits after the resize.
    """
    from torchvision.transforms.v2 import functional as transforms

    size = preprocess["size"]
    target = [size, size] if isinstance(size, int) else list(size)
    mode = preprocess["resize_mode"]
    if mode not in ("shortest", "squash"):
        raise BadInput(f"open_clip preprocessing resize_mode {mode!r} is not supported; shortest and squash are")
    if list(images.shape[-2:]) != target:
        goal = _shortest_side(images, target) if mode == "shortest" else target
        interpolation = transforms.InterpolationMode(preprocess["interpolation"])
        images = transforms.center_crop(transforms.resize(images, goal, interpolation, antialias=True), target)
    mean, std = list(preprocess["mean"]), list(preprocess["std"])
    prepared: Tensor = transforms.normalize(images.clamp(0, 1), mean, std)
    return prepared


def _shortest_side(images: Tensor, target: list[int]) -> list[int]:
    """The smallest size that covers `target` (H, W) with the images' own aspect ratio."""
    height, width = images.shape[-2:]
    scale = max(target[0] / height, target[1] / width)
    return [max(target[0], int(height * scale)), max(target[1], int(width * scale))]


def _create(chosen: OpenClipName, path: str | None, device: str) -> Any:
    import open_clip

    preprocess = open_clip.get_pretrained_cfg(chosen.model, chosen.tag.name) if chosen.tag else None
    if chosen.folder is not None and chosen.model != FOLDER_MODEL:
        preprocess = chosen.folder_config().get("preprocess_cfg")
    whole = chosen.model == FOLDER_MODEL
    try:
        model = open_clip.create_model(
            f"{FOLDER_MODEL}:{chosen.folder}" if whole else chosen.model,
            pretrained=None if whole else path,
            load_weights=not whole,
            device=device,
            force_preprocess_cfg=preprocess,
            force_quick_gelu=chosen.tag is not None and chosen.tag.quick_gelu,
            pretrained_text=False,
            weights_only=True,
        )
        if whole and path is not None:
            # The identified file, and no other that open_clip would prefer.
            open_clip.load_checkpoint(model, path, weights_only=True)
    except Exception as cause:
        # open_clip passes on the exceptions of torch, pickle and safetensors: all mean that file and model do not
        # fit
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise BadInput(
            f"encoder {chosen.name}: open_clip cannot build it from {path or 'scratch'}: {reason}"
        ) from cause
    return model.eval().requires_grad_(False)


def _tokenizer(chosen: OpenClipName) -> Any:
    import open_clip

    if chosen.model == FOLDER_MODEL:
        own = {"local_files_only": True, "trust_remote_code": False} if chosen.tokenizer_files() else {}
        try:
            return open_clip.get_tokenizer(f"{FOLDER_MODEL}:{chosen.folder}", **own)
        except (OSError, ValueError) as cause:
            reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
            raise BadInput(f"encoder {chosen.name}: its tokenizer cannot be read: {reason}") from cause
    offline = {"local_files_only": True} if text_config(chosen.model).get("hf_tokenizer_name") else {}
    return open_clip.get_tokenizer(chosen.model, **offline)


def _dimension(chosen: OpenClipName) -> int:
    import open_clip

    if chosen.model == FOLDER_MODEL:
        return int(chosen.folder_config()["model_cfg"]["embed_dim"])
    return int(open_clip.get_model_config(chosen.model)["embed_dim"])
