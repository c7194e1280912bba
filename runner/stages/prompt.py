"""The prompt stage: rank the candidate prompts of one support (§4.1.1)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from goodshot.components.encoders import Precision
from goodshot.components.errors import BadInput
from goodshot.components.prompts import PromptConfig, open_wordnet
from goodshot.components.weights.registry import WORDNET
from goodshot.runner.declaration.fields import Declaration
from goodshot.runner.stages.base import Context, SharedValue, Stage, Support, Work
from goodshot.runner.stages.need import Need, encoder_needs
from goodshot.runner.stages.values import Originals
from goodshot.runner.store.artifacts import Store, arrays_bytes

if TYPE_CHECKING:
    from goodshot.components.encoders import Encoder
    from goodshot.components.prompts import Ranking

RANKING = "ranking.json"
EMBEDDINGS = "embeddings.safetensors"


@dataclass(frozen=True, kw_only=True)
class PromptStage(Stage):
    """Rank the candidate prompts of one support; commit the ranking and the embedding of each kind of prompt."""

    kind = "prompt"
    title = "prompt"
    version = 1

    support: Support
    object_name: str
    words: tuple[str, ...]
    config: PromptConfig
    encoder: str
    precision: Precision = "fp32"

    @classmethod
    def needs(cls, study: Declaration) -> Iterator[Need]:
        """The encoder's weights, and NLTK's WordNet if the study names it."""
        yield from encoder_needs(study.encoder)
        if study.prompt.wordnet == "nltk":
            try:
                open_wordnet("nltk")
            except BadInput:  # it is not on this machine
                yield Need(WORDNET, "prompt.wordnet")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The support's shard."""
        return (self.support.shard,)

    @property
    def reads(self) -> tuple[SharedValue, ...]:
        """The support's originals."""
        return (Originals(self.support),)

    def work(self, wanted: Sequence[Stage], device: str) -> Sequence[Work]:
        """One ranking."""
        return (Work(f"prompt|{self.encoder}", 1),)

    def disk(self, wanted: Sequence[Stage]) -> int:
        """The bytes of a ranking and of one embedding for each kind of prompt."""
        return 4096

    def label(self, wanted: Sequence[Stage]) -> str:
        """The object that is described."""
        return f"{self.kind} {self.object_name}"

    def run(self, context: Context, wanted: Sequence[Stage]) -> None:
        """Rank the candidates against the originals' embedding (eq. 1); commit the ranking and z_t of each kind."""
        import torch

        from goodshot.components.prompts import candidates, rank

        began = time.perf_counter()
        encoder = cached_encoder(self.encoder, context.device, self.precision)
        originals = context.read(Originals(self.support))
        images = torch.from_numpy(np.concatenate([embed(encoder, image[None]) for image in originals]))
        candidate_prompts = candidates(self.object_name, self.words, self.config.template)
        ranking = rank(images, candidate_prompts, encoder, self.object_name, self.config)
        prompts = ranking.prompts
        texts = encoder.encode_texts(list(prompts.values())).float().cpu().numpy()
        files = {
            RANKING: ranking.to_json().encode(),
            EMBEDDINGS: arrays_bytes(dict(zip(prompts, texts, strict=True))),
        }
        seconds = time.perf_counter() - began
        context.store.put(self.key, files, {"prompts": prompts, "seconds": seconds})
        context.measured(f"prompt|{self.encoder}", seconds, 1)


def read_ranking(store: Store, prompt: str) -> Ranking:
    """The ranking that the prompt stage with the key ``prompt`` committed."""
    from goodshot.components.prompts import Ranking

    return Ranking.from_json(store.get(prompt).read(RANKING))


def text_embedding(store: Store, prompt: str, prompt_kind: str) -> np.ndarray:
    """z_t (d,) of one kind of prompt, as the prompt stage with the key ``prompt`` committed it."""
    return store.get(prompt).arrays(EMBEDDINGS)[prompt_kind]


@lru_cache(maxsize=2)
def cached_encoder(name: str, device: str = "cpu", precision: Precision = "fp32") -> Encoder:
    """Build an encoder, or return the one that this process has built: building takes seconds."""
    from goodshot.components.encoders import build_encoder

    return build_encoder(name, device, precision=precision)


def embed(encoder: Encoder, images: np.ndarray) -> np.ndarray:
    """Embed uint8 images (M, H, W, 3) as unit vectors float32 (M, d). The encoder splits them into batches itself."""
    import torch

    tensor = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 255
    embeddings: np.ndarray = encoder.encode_images(tensor).numpy()
    return embeddings
