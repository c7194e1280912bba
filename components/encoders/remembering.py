"""An encoder with a cache on disk: for texts and images that it has embedded before, no network is loaded.

It serves commands that a user repeats with other words or options on the same photographs; a study keeps its embeddings
in its store. Cache keys are the encoder's identity and the text or the pixels, so an entry never becomes outdated.

# B images or texts, d the encoder's dimension
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from goodshot.components.encoders.base import Encoder, check_images
from goodshot.components.weights import cache_dir


class RememberingEncoder:
    """An `Encoder` that builds another one only when something new is to be embedded.

    Args:
        name: the encoder's name.
        identity: the result of `encoder_identity`.
        build: builds the other encoder.
    """

    def __init__(self, name: str, identity: dict[str, str], build: Callable[[], Encoder]) -> None:
        self.name = name
        self._build = build
        self._dim = 0
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._folder = cache_dir() / "embeddings" / digest[:16]

    @cached_property
    def encoder(self) -> Encoder:
        """The other encoder; its networks are loaded at the first use."""
        return self._build()

    @property
    def dim(self) -> int:
        """d, taken from the last embedding, or else from the other encoder."""
        return self._dim or self.encoder.dim

    def encode_images(self, images: Tensor) -> Tensor:
        """Embed images as `Encoder.encode_images` does, with the cache."""
        check_images(images)
        pixels = images.detach().cpu().float().contiguous()
        keys = [_key("image", str(tuple(row.shape)).encode() + row.numpy().tobytes()) for row in pixels]
        return self._embedded(keys, lambda new: self.encoder.encode_images(images[new]))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as `Encoder.encode_texts` does, with the cache."""
        keys = [_key("text", text.encode()) for text in texts]
        return self._embedded(keys, lambda new: self.encoder.encode_texts([texts[i] for i in new]))

    def embed_with_gradient(self, images: Tensor) -> Tensor:
        """Embed images as `Encoder.embed_with_gradient` does, without the cache."""
        return self.encoder.embed_with_gradient(images)

    def _embedded(self, keys: Sequence[str], embed: Callable[[list[int]], Tensor]) -> Tensor:
        rows = [self._read(key) for key in keys]
        new = [i for i, row in enumerate(rows) if row is None]
        if new or not rows:
            made = embed(new)
            if not rows:
                return made
            for i, row in zip(new, made, strict=True):
                rows[i] = row.cpu().float()
                self._write(keys[i], rows[i])
        embeddings = torch.stack([row for row in rows if row is not None])
        self._dim = embeddings.shape[1]
        return embeddings

    def _read(self, key: str) -> Tensor | None:
        try:
            row = torch.from_numpy(np.load(self._folder / f"{key}.npy", allow_pickle=False))
        except (OSError, ValueError, EOFError, TypeError):
            return None
        # A file damaged by a full disk or a crash does not contain a unit vector.
        usable = row.ndim == 1 and row.dtype == torch.float32 and abs(float(row.norm()) - 1) < 1e-3
        return row if usable else None

    def _write(self, key: str, row: Tensor | None) -> None:
        # With a read-only or full cache it is computed again.
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".part", delete=False) as part:
                np.save(part, np.asarray(row))
            Path(part.name).replace(self._folder / f"{key}.npy")


def _key(kind: str, content: bytes) -> str:
    return hashlib.sha256(kind.encode() + b"\0" + content).hexdigest()[:32]
