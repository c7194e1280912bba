"""``goodshot prompts``: WordNet's words for an object, and the ranking of its prompts against photographs (§4.1.1).

Without photographs no encoder is loaded. Look-ups and embeddings are cached (`goodshot.components.prompts.database`,
`goodshot.components.encoders.remembering`), so networks are loaded only for new texts or images.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.prompt import IntPrompt
from rich.table import Table

from goodshot.components.encoders import check_encoder
from goodshot.components.errors import BadInput
from goodshot.components.prompts import (
    RELATIONS,
    Candidate,
    PromptConfig,
    Ranking,
    Relation,
    UnknownWord,
    WordNet,
    candidates,
    rank,
)
from goodshot.runner.study.problems import first_problem

if TYPE_CHECKING:
    from torch import Tensor

    from goodshot.components.data.supplied import Supplied

OPTIONS = {"relations": "relation", "senses": "sense"}
"""Field of the prompt configuration → its command-line option, where the two names differ."""
TOGETHER = 4
"""The largest number of photographs in one batch of the encoder; it fills a CPU and needs little memory."""
STYLES = {"best": "bold green", "worst": "red", "only word": "cyan", "naive": "cyan", "": ""}
WEAK_ON_TEXTURES = "conse-lite0-minilm"


@dataclass(frozen=True)
class Words:
    """WordNet's words for an object, each with the relation by which it was found, and the candidate prompts."""

    object_name: str
    source: str
    relations: dict[str, Relation]
    candidates: tuple[Candidate, ...]


def prompt_config(**options: Any) -> PromptConfig:
    """Return the prompt configuration with these options; None and empty lists keep their defaults.

    Raises :class:`BadInput` with the name of the wrong option.
    """
    try:
        return PromptConfig.model_validate({name: value for name, value in options.items() if value not in (None, [])})
    except ValidationError as error:
        field, _, problem = first_problem(PromptConfig, error).partition(": ")
        name = field.partition(".")[0]
        raise BadInput(f"--{OPTIONS.get(name, name)}: {problem}") from None


def known(word: str, wordnet: WordNet, ask: Callable[[UnknownWord], str] | None = None) -> str:
    """Return the word itself if WordNet has a noun for it, else the word that ``ask`` returns.

    Raises:
        BadInput: WordNet lacks the word, and ``ask`` is None or there is no similar word; the message names a command
            to run instead.
    """
    try:
        wordnet.words(word)
    except UnknownWord as error:
        if ask is not None and error.nearest:
            return ask(error)
        remedy = (
            f"run: goodshot prompts {shlex.quote(error.nearest[0])}" if error.nearest else "name it by another noun"
        )
        raise BadInput(error.with_remedy(remedy)) from None
    return word


def pick(error: UnknownWord, console: Console) -> str:
    """Show the nearest words with numbers and let the user choose one."""
    console.print(f"{error.problem}; the nearest:", highlight=False, soft_wrap=True, markup=False)
    for number, word in enumerate(error.nearest, start=1):
        console.print(f"  {number}  {word}", highlight=False)
    numbers = [str(number) for number in range(1, len(error.nearest) + 1)]
    return error.nearest[IntPrompt.ask("Which one?", console=console, choices=numbers, default=1) - 1]


def words_of(object_name: str, config: PromptConfig, wordnet: WordNet) -> Words:
    """Look up the object's words. Raises :class:`BadInput` for an unknown object or sense, or if there is no word."""
    relations = wordnet.relations_of(object_name, config.hops, config.relations, config.senses)
    if not relations:
        raise BadInput(f"{object_name!r} has no words by these relations; choose more of them, or raise --hops")
    prompts = candidates(object_name, sorted(relations), config.template)
    return Words(object_name, wordnet.source, relations, tuple(prompts))


def rank_photographs(words: Words, images: Path, encoder: str, config: PromptConfig) -> tuple[Ranking, int]:
    """Rank the candidates against one photograph or a folder of photographs, as a study's prompt stage does.

    Returns the ranking and the number of photographs.

    Raises:
        BadInput: there is no photograph, one is damaged, the encoder's weights are missing, or stage 1 keeps no prompt.
    """
    check_encoder(encoder)
    photographs = _photographs(images, words.object_name)
    import torch

    from goodshot.components.encoders import build_encoder, encoder_identity
    from goodshot.components.encoders.remembering import RememberingEncoder
    from goodshot.components.weights import forbid_downloads

    forbid_downloads()
    remembering = RememberingEncoder(encoder, encoder_identity(encoder), lambda: build_encoder(encoder))
    embeddings = torch.cat([remembering.encode_images(batch) for batch in _batches(photographs)])
    return rank(embeddings, words.candidates, remembering, words.object_name, config), len(photographs)


def _photographs(images: Path, object_name: str) -> Sequence[Supplied]:
    """Return the photographs. Raises :class:`BadInput` if one cannot be read or decoded."""
    from goodshot.runner.photographs.generate import Photographs

    return Photographs(folder=images, object_name=object_name).read()


def _batches(photographs: Sequence[Supplied]) -> Iterator[Tensor]:
    """Yield the photographs in order, as float (B, 3, H, W) in [0, 1]; a batch has consecutive ones of equal size."""
    import numpy as np
    import torch

    decoded = (photograph.decode() for photograph in photographs)
    for _, same_size in groupby(decoded, key=lambda pixels: pixels.shape):
        while batch := list(islice(same_size, TOGETHER)):
            yield torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 255


def write_files(ranking: Ranking, title: str, json: Path | None, chart: Path | None) -> None:
    """Write the requested files atomically: the ranking as JSON, and the chart of the paper's Fig. 8 as SVG."""
    if json is not None:
        _write(json, ranking.to_json().encode())
    if chart is not None:
        from goodshot.runner.report.charts import drawn_as
        from goodshot.runner.report.sections.prompts import PromptView, prompt_ranking

        drawn = prompt_ranking(PromptView(ranking.object_name, title, ranking))
        _write(chart, drawn_as(drawn.specification, "svg"))


def _write(path: Path, content: bytes) -> None:
    from goodshot.runner.store.files import Files, absolute

    Files(absolute(str(path.parent))).write(path.name, content)


def check_files(images: Path | None, json: Path | None, chart: Path | None) -> None:
    """Raise :class:`BadInput` if a file option cannot be fulfilled; called before anything is computed."""
    for option, path in (("--json", json), ("--chart", chart)):
        if path is not None and images is None:
            raise BadInput(f"{option}: holds a ranking, and a ranking needs photographs; add --images")
        if path is not None and path.is_dir():
            raise BadInput(f"{option} {path}: is a folder; give a file's name")
    if chart is not None and chart.suffix.lower() != ".svg":
        raise BadInput(f"--chart {chart}: is drawn as SVG; name it {chart.with_suffix('.svg').name}")


def print_senses(console: Console, object_name: str, wordnet: WordNet) -> None:
    """Print the object's senses with the names that ``--sense`` accepts."""
    table = _table(f"{object_name} in WordNet ({wordnet.source})")
    for column in ("sense", "meaning", "other words"):
        table.add_column(column, overflow="fold")
    for sense in wordnet.senses(object_name):
        table.add_row(sense.name, sense.definition, ", ".join(sense.words))
    console.print(table)


def print_words(console: Console, words: Words, top: int) -> None:
    """Print the words by relation and the candidate prompts."""
    table = _table(f"{words.object_name}: {len(words.relations)} words of WordNet ({words.source})")
    for column, justify in (("relation", "left"), ("", "right"), ("words", "left")):
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for relation in RELATIONS:
        if related := sorted(word for word, found_by in words.relations.items() if found_by == relation):
            table.add_row(relation.replace("_", " "), str(len(related)), ", ".join(related))
    console.print(table)
    shown = words.candidates[:top] if top else words.candidates
    for candidate in shown:
        console.print(candidate.prompt, highlight=False, markup=False)
    _print_omitted(console, len(words.candidates) - len(shown), len(words.candidates))


def print_ranking(console: Console, ranking: Ranking, words: Words, photographs: int, top: int) -> None:
    """Print the ranking as a table, and the settings of the ranking below it."""
    table = _table(f"{words.object_name}: prompts by their cosine with the photograph{'s' * (photographs > 1)}")
    for column, justify in (("rank", "right"), ("prompt", "left"), ("cosine", "right"), ("distance", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("kept")
    table.add_column("")
    previous_rank = 0
    for line in ranking.listed(top or len(ranking.rows)):
        if line.rank is not None and line.rank > previous_rank + 1:
            table.add_row("…")
        previous_rank = line.rank or previous_rank
        numbers = (f"{line.prompt.cosine:.3f}", f"{line.prompt.distance:.3f}")
        kept = {None: "–", True: "yes", False: "dropped"}[line.kept]
        style = "dim" if line.kept is False else STYLES[line.name]
        table.add_row(str(line.rank or "–"), line.prompt.prompt, *numbers, kept, line.name, style=style)
    if previous_rank < len(ranking.rows):
        table.add_row("…")
    console.print(table)
    for text in _notes(ranking, words, photographs):
        console.print(text, style="dim", highlight=False, soft_wrap=True, markup=False)


def _notes(ranking: Ranking, words: Words, photographs: int) -> Sequence[str]:
    """Return the lines below the ranking's table."""
    distances = [row.distance for row in ranking.rows]
    kept = sum(row.kept for row in ranking.rows)
    notes = [
        f"WordNet {words.source} · encoder {ranking.encoder} · {photographs} photograph{'s' * (photographs != 1)} · "
        f"{len(ranking.rows)} candidates",
        f"distances {min(distances):.3f} to {max(distances):.3f}; stage 1 keeps what is {ranking.keep} than "
        f"{ranking.threshold:g}: {kept} of {len(ranking.rows)}",
        "only word and naive are comparison texts, not candidates",
    ]
    if ranking.encoder == WEAK_ON_TEXTURES:
        notes.append(f"{ranking.encoder} knows objects and is weak on bare textures; --encoder open_clip:… is CLIP")
    return notes


def _print_omitted(console: Console, omitted: int, count: int) -> None:
    if omitted:
        console.print(f"… and {omitted} more of {count} (--top 0 shows all)", style="dim", highlight=False)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
