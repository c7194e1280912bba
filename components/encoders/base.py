"""The interface of every encoder. Shapes: B images or texts, d the encoder's dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal, Protocol

from goodshot.components.errors import BadInput
from goodshot.components.heartbeat import beat

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Precision = Literal["fp32", "bf16", "fp16"]
"""The precision of an encoder's computation; its weights and its outputs are float32."""


class Encoder(Protocol):
    """f and G of §4.1.1: images and texts as unit vectors of one space; their dot product is eq. 1's cosine.

    Embeddings are returned on the CPU whatever the encoder's device, and without a gradient: the text selects, it
    does not train (§4.2). Only the comparator VQGAN-CLIP needs a gradient (`embed_with_gradient`). A row's embedding
    does not depend on the other rows beyond floating-point noise.
    """

    @property
    def name(self) -> str:
        """The name from which `build_encoder` builds this encoder."""

    @property
    def dim(self) -> int:
        """d, the length of an embedding."""

    def encode_images(self, images: Tensor) -> Tensor:
        """RGB float (B, 3, H, W) in [0, 1] → float32 (B, d), unit rows; raises `BadInput` otherwise."""

    def embed_with_gradient(self, images: Tensor) -> Tensor:
        """Embed images as `encode_images` does, differentiably, in one batch; the result is on the encoder's device.

        The encoder's own weights get no gradient. Pixels at 0 and 1 get a gradient too.
        """

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """B texts → float32 (B, d), unit rows. A text longer than the encoder's context is cut."""


def computing_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision by torch's autocast: matrix products in `precision`, sensitive operations in float32."""
    import torch

    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)


def check_images(images: Tensor) -> None:
    """Raise `BadInput` unless `images` is floating point, (B, 3, H, W) and within [0, 1]."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise BadInput(f"images must be float (B, 3, H, W); got {images.dtype} {tuple(images.shape)}")
    # written so that NaN fails too
    if images.numel() and not (images.amin() >= 0 and images.amax() <= 1):
        low, high = images.amin().item(), images.amax().item()
        raise BadInput(f"images must lie in [0, 1]; got [{low:.3g}, {high:.3g}]: scale or clamp them first")


def in_fixed_batches(encode: Callable[[Tensor], Tensor], rows: Tensor, size: int) -> Tensor:
    """Return `encode` of all `rows` (B, …) → (B, d), called on batches of exactly `size` rows (B ≥ 1).

    Kernels depend on the batch size, so a row's result would otherwise change with the number of other
    rows. The last batch is padded with copies of its first row, whose results are dropped.
    """
    import torch

    results = []
    for batch in torch.split(rows, size):
        beat()
        filling = batch[:1].expand(size - len(batch), *batch.shape[1:])
        # Kernels also depend on the memory format, and cat keeps channels_last only where one row fills the batch.
        results.append(encode(torch.cat([batch, filling]).contiguous())[: len(batch)])
    return torch.cat(results)
