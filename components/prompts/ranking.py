"""Candidate prompts and their ranking against the original images (§4.1.1, eq. 1).

# K original images, T candidate prompts, d the encoder's dimension
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator

from goodshot.components.config import Config
from goodshot.components.encoders.base import Encoder
from goodshot.components.errors import BadInput
from goodshot.components.prompts.wordnet import RELATIONS, Relation, Source, sense_name

if TYPE_CHECKING:
    from torch import Tensor

PromptKind = Literal["best", "only_word", "naive", "worst", "caption"]
Comparator = Literal["only word", "naive", "caption"]
Caption = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Keep = Literal["farther", "nearer"]

# "a", not "an", before any word: the paper prints "a {W}"
ONLY_WORD = "a {object}"
NAIVE = "a photo of a {object}"


class PromptConfig(Config):
    """How ranked prompts are made from an object's name.

    `hops` and `relations` select the words, `wordnet` their source; `template` makes a prompt
    of object and word. Stage 1 keeps the prompts whose distance to the images is greater (`keep` "farther",
    as the paper prints it) or less ("nearer") than `threshold`, an L2 distance between unit vectors, hence
    in [0, 2]. With CLIP the distances are 1.16 to 1.29 and with ConSE 1.0 to 1.3: the printed rule (farther
    than 0.5) keeps everything, and its reverse at 0.5 nothing.

    `senses` names the noun senses to use ("nut.n.03": the third of "nut"); for an object without a
    named sense all senses are used.

    `naive_if_unknown`: an object that is not a noun in WordNet has one prompt without words, "a photo of a {object}";
    otherwise it is an error.

    `caption` is the text of the prompt kind "caption", such as the description of the photograph that the paper had
    written by GPT-4 (§3); None if there is no such prompt. It is one text for all categories of a study. Texts longer
    than the encoder's context are cut: CLIP reads 77 tokens with the two that mark the ends, MiniLM 256 word pieces.
    """

    added_since_searches = ("naive_if_unknown", "caption")

    hops: int = Field(default=1, ge=1, le=3)
    relations: tuple[Relation, ...] = Field(default=RELATIONS, min_length=1)
    senses: tuple[str, ...] = ()
    template: str = "a {object} with {word}"
    threshold: float = Field(default=0.5, ge=0, le=2)
    keep: Keep = "farther"
    wordnet: Source = "auto"
    naive_if_unknown: bool = False
    caption: Caption | None = None

    @field_validator("wordnet", mode="before")
    @classmethod
    def _by_its_name(cls, source: Any) -> Any:
        # the name of the embedded WordNet in studies that were written when it was an extract
        return "embedded" if source == "extract" else source

    @field_validator("template")
    @classmethod
    def _names_both(cls, template: str) -> str:
        if (
            template.count("{object}") != 1
            or template.count("{word}") != 1
            or template.count("{") + template.count("}") != 4
        ):
            raise ValueError(f"template {template!r} must hold {{object}} and {{word}} once each, no other braces")
        return template

    @field_validator("relations")
    @classmethod
    def _in_one_order(cls, relations: tuple[Relation, ...]) -> tuple[Relation, ...]:
        # the order does not change the words, so it must not change the identity either
        return tuple(relation for relation in RELATIONS if relation in relations)

    @field_validator("senses")
    @classmethod
    def _in_one_spelling(cls, senses: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({sense_name(sense) for sense in senses}))


@dataclass(frozen=True)
class Candidate:
    """One S_t of the paper: a prompt and its word, which is empty in the naive prompt of an object without words."""

    prompt: str
    word: str


class Prompt(Config):
    """A prompt compared with the originals: `distance` ‖f(I) − G(S)‖₂ in [0, 2], `cosine` (eq. 1) in [−1, 1].

    `text_cosine` is cos(G(W^o), G(S)), the similarity to the object's bare name (Fig. 8, left). It decides
    nothing; None in rankings stored before it was added.
    """

    prompt: str
    distance: float
    cosine: float
    text_cosine: float | None = None


class RankedPrompt(Prompt):
    """A candidate with its word, and whether stage 1 kept it."""

    word: str
    kept: bool


@dataclass(frozen=True)
class Listed:
    """A displayed line of a ranking; `rank` (from 1) and `kept` are None for a comparator, which is not a candidate."""

    name: Literal["best", "worst", "only word", "naive", "caption", ""]
    rank: int | None
    prompt: Prompt
    kept: bool | None


class Ranking(Config):
    """All candidates of one support by descending cosine (Fig. 8), and the comparators without a word of WordNet.

    For an object without words, the naive prompt is the only candidate.

    `threshold` and `keep` are those of stage 1; None in rankings stored before they were added. `caption` is None if
    the configuration gives no text for it.
    """

    object_name: str
    encoder: str
    rows: tuple[RankedPrompt, ...] = Field(min_length=1)
    only_word: Prompt
    naive: Prompt
    threshold: float | None = None
    keep: Keep | None = None
    caption: Prompt | None = None

    @property
    def best(self) -> RankedPrompt:
        """P of eq. 1: the kept prompt of highest cosine, among equals the alphabetically first."""
        return min(self._kept(), key=lambda row: (-row.cosine, row.prompt))

    @property
    def worst(self) -> RankedPrompt:
        """The kept prompt of lowest cosine, among equals the alphabetically first."""
        return min(self._kept(), key=lambda row: (row.cosine, row.prompt))

    @property
    def comparators(self) -> dict[Comparator, Prompt]:
        """The comparison texts by their names, without one that is itself a candidate."""
        candidates = {row.prompt for row in self.rows}
        every: dict[Comparator, Prompt] = {"only word": self.only_word, "naive": self.naive}
        if self.caption is not None:
            every["caption"] = self.caption
        return {name: prompt for name, prompt in every.items() if prompt.prompt not in candidates}

    @property
    def of_kind(self) -> dict[PromptKind, Prompt]:
        """The prompt of each kind; without a caption there is none of that kind."""
        kinds: dict[PromptKind, Prompt | None] = {
            "best": self.best,
            "only_word": self.only_word,
            "naive": self.naive,
            "worst": self.worst,
            "caption": self.caption,
        }
        return {kind: prompt for kind, prompt in kinds.items() if prompt is not None}

    @property
    def prompts(self) -> dict[PromptKind, str]:
        """The text of each kind of prompt."""
        return {kind: prompt.prompt for kind, prompt in self.of_kind.items()}

    def prompt(self, kind: PromptKind) -> str:
        """Return the text of the prompt that `kind` names. Raises `BadInput` if the ranking has none of that kind."""
        if kind not in self.prompts:
            raise BadInput(f"the ranking has no prompt of the kind {kind!r}; it has: {', '.join(self.prompts)}")
        return self.prompts[kind]

    def listed(self, first: int, last: int = 0) -> list[Listed]:
        """Return by descending cosine: the first and last candidates, the best, the worst, and the comparators."""
        names: dict[str, Literal["best", "worst"]] = {self.worst.prompt: "worst", self.best.prompt: "best"}
        shown = {*range(first), *range(len(self.rows) - last, len(self.rows))}
        lines = [
            Listed(names.get(row.prompt, ""), i + 1, row, row.kept)
            for i, row in enumerate(self.rows)
            if i in shown or row.prompt in names
        ]
        lines += [Listed(name, None, prompt, None) for name, prompt in self.comparators.items()]
        return sorted(lines, key=lambda line: -line.prompt.cosine)

    def to_json(self) -> str:
        """Return the ranking as JSON; `from_json` returns an equal one."""
        # Without a caption the text equals that of earlier versions.
        return self.model_dump_json(exclude={"caption"} if self.caption is None else None)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read the output of `to_json`. Raises `BadInput` for anything else."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as cause:
            raise BadInput(f"not a prompt ranking: {cause.errors()[0]['msg']}") from cause

    def _kept(self) -> list[RankedPrompt]:
        return [row for row in self.rows if row.kept]


def candidates(object_name: str, words: Iterable[str], template: str = "a {object} with {word}") -> list[Candidate]:
    """Return one candidate prompt for each word, in the words' order: "a hazelnut with cobnut".

    Without words the naive prompt is the only candidate: "a photo of a hazelnut".
    """
    with_words = [Candidate(template.format(object=object_name, word=word), word) for word in words]
    return with_words or [Candidate(NAIVE.format(object=object_name), "")]


def rank(
    image_embeddings: Tensor,
    candidates: Iterable[Candidate],
    encoder: Encoder,
    object_name: str,
    config: PromptConfig,
) -> Ranking:
    """Rank candidate prompts for one support.

    image_embeddings: (K, d), unit rows, of the K originals by the same `encoder`; f(I^o) is their
    normalised mean. Stage 1 drops outliers by distance (see `PromptConfig`: with CLIP and ConSE the printed
    rule keeps everything), stage 2 is the argmax of the cosine among the kept (eq. 1). The comparators (among them the
    caption, if the configuration gives one) are not subject to stage 1, nor is a candidate without a word, beside
    which there is no other.

    Raises `BadInput` without images or candidates, for embeddings that are not finite unit rows of length
    d, and where stage 1 keeps nothing (naming the distances and the field to change).
    """
    chosen = sorted(set(candidates), key=lambda candidate: (candidate.prompt, candidate.word))
    if not chosen:
        raise BadInput(f"no candidate prompts for {object_name!r}: no words came from WordNet")
    image = _mean_direction(image_embeddings, encoder.dim)
    only_word, naive = (template.format(object=object_name) for template in (ONLY_WORD, NAIVE))
    captions = [] if config.caption is None else [config.caption]
    prompts = [only_word, naive, *captions, *(candidate.prompt for candidate in chosen)]
    first, second, *scored = _score(image, object_name, prompts, encoder)
    caption = scored.pop(0) if captions else None
    rows = [
        RankedPrompt(
            **prompt.model_dump(), word=candidate.word, kept=not candidate.word or _keeps(prompt.distance, config)
        )
        for candidate, prompt in zip(chosen, scored, strict=True)
    ]
    _require_some(rows, config)
    rows.sort(key=lambda row: (-row.cosine, row.prompt))
    return Ranking(
        object_name=object_name,
        encoder=encoder.name,
        rows=tuple(rows),
        only_word=first,
        naive=second,
        threshold=config.threshold,
        keep=config.keep,
        caption=caption,
    )


def _mean_direction(image_embeddings: Tensor, dim: int) -> Tensor:
    """(K, d) unit rows → (d,) unit, in float64 so that equal inputs tie exactly."""
    if image_embeddings.ndim != 2 or image_embeddings.shape[0] == 0 or image_embeddings.shape[1] != dim:
        raise BadInput(f"image embeddings must be (K ≥ 1, {dim}); got {tuple(image_embeddings.shape)}")
    embeddings = image_embeddings.detach().cpu().double()
    # written so that NaN fails too
    if not (embeddings.norm(dim=1) - 1).abs().max() < 1e-3:
        raise BadInput("image embeddings must be finite unit rows")
    mean: Tensor = embeddings.mean(dim=0)
    if mean.norm() < 1e-6:
        raise BadInput("the image embeddings cancel out: their mean has no direction")
    direction: Tensor = mean / mean.norm()
    return direction


def _score(image: Tensor, object_name: str, prompts: list[str], encoder: Encoder) -> list[Prompt]:
    """Compare all prompts with the image (d,) and with the object's name, in one call of the encoder."""
    texts = encoder.encode_texts([object_name, *prompts]).detach().cpu().double()
    texts = texts / texts.norm(dim=1, keepdim=True)
    cosines, text_cosines = ((texts[1:] * other).sum(dim=1).clamp(-1, 1).tolist() for other in (image, texts[0]))
    # for unit vectors ‖a − b‖² = 2 − 2 a·b: distance and cosine cannot disagree about an order
    return [
        Prompt(prompt=prompt, cosine=cosine, distance=math.sqrt(2 - 2 * cosine), text_cosine=text_cosine)
        for prompt, cosine, text_cosine in zip(prompts, cosines, text_cosines, strict=True)
    ]


def _keeps(distance: float, config: PromptConfig) -> bool:
    return distance > config.threshold if config.keep == "farther" else distance < config.threshold


def _require_some(rows: list[RankedPrompt], config: PromptConfig) -> None:
    if not any(row.kept for row in rows):
        distances = [row.distance for row in rows]
        raise BadInput(
            f"no candidate prompt is {config.keep} than the threshold {config.threshold}: distances lie in "
            f"[{min(distances):.3f}, {max(distances):.3f}]; change prompt.threshold or prompt.keep"
        )
