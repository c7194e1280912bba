"""The words that WordNet relates to an object (§4.1.1): from NLTK's data, Debian's, or the embedded database.

Every source has the same database files and is read by NLTK's reader (`database`); only the folder differs. The three
give the same words and senses, as all contain the nouns of WordNet 3.0. Nothing is downloaded. NLTK's data may lie in
any of NLTK's folders, or where `goodshot fetch wordnet` writes it.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast, get_args

from goodshot.components.errors import BadInput
from goodshot.components.prompts.database import EMBEDDED, Database, holds_nouns
from goodshot.components.weights.registry import nltk_corpora

Source = Literal["auto", "nltk", "debian", "embedded"]
Relation = Literal[
    "synonyms",
    "hypernyms",
    "hyponyms",
    "part_meronyms",
    "member_meronyms",
    "substance_meronyms",
    "part_holonyms",
    "member_holonyms",
    "substance_holonyms",
]

RELATIONS: tuple[Relation, ...] = get_args(Relation)
"""All relations. Instance relations are left out on purpose, because they lead to proper names."""

DEBIAN = Path("/usr/share/wordnet")
NEAREST = 5
_SENSE = re.compile(r"(?P<lemma>\S+)\.n\.(?P<number>0*[1-9]\d*)")


class UnknownWord(BadInput):
    """The error for an object that is not a noun in WordNet: `problem` states it, `nearest` are similar nouns."""

    def __init__(self, problem: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(problem, nearest)
        self.problem, self.nearest = problem, nearest

    def __str__(self) -> str:
        return self.with_remedy(
            "name the object by another noun (the study's objects: {category: noun}, or --object), "
            "or do without words: --no-words"
        )

    def with_remedy(self, remedy: str) -> str:
        """Return the whole line with another remedy, for commands that name the object in another way."""
        return f"{self.problem}; nearest: {', '.join(self.nearest) or 'none'}; {remedy}"


@dataclass(frozen=True)
class Sense:
    """One sense of a noun: its name ("nut.n.02"), WordNet's gloss with its examples, and its other words."""

    name: str
    gloss: str
    words: tuple[str, ...]

    @property
    def definition(self) -> str:
        """The gloss without its examples."""
        return self.gloss.partition('; "')[0]

    def __str__(self) -> str:
        # an error message lists several in one line
        return f"{self.name} {textwrap.shorten(self.definition, 60, placeholder=' …')}"


def sense_name(name: str) -> str:
    """Return a sense's name in canonical spelling: "Metal nut.n.2" → "metal_nut.n.02".

    A name counts within its own lemma: "nut.n.02" is the second noun sense of "nut", in WordNet's order. It equals
    NLTK's `Synset.name()` wherever that has this lemma. Raises `BadInput` for another form.
    """
    found = _SENSE.fullmatch(_lemma(name))
    if found is None:
        raise BadInput(f"sense {name!r} must read <noun>.n.<number>, for example nut.n.02")
    return f"{found['lemma']}.n.{int(found['number']):02d}"


@dataclass(frozen=True)
class WordNet:
    """An opened WordNet. `source` names it with its version ("nltk 3.0", "debian 3.0", "embedded 3.0")."""

    source: str
    _database: Database = field(repr=False)

    def noun_of(self, name: str) -> str | None:
        """Return the noun whose words describe the object of this name, in its base form; None if there is none.

        It is the whole name if that is a noun ("pill bottle", "Pushpins"), else its head noun: in English the end of a
        compound. It is sought in three steps.

        1. Spaces, underscores and hyphens separate words ("hex-nut").
        2. Last words that contain a digit or are a single letter are left out ("bottle lot2", "tile b"). A name of one
           word loses the digits at its end ("macaroni1").
        3. The longest end that is a noun counts ("aluminium hex nut" → "hex nut" if that is a noun, else "nut"). If
           the last word is not a noun, the result is None.
        """
        return next(iter(self._nouns(name).values()), None)

    def head_of(self, name: str) -> str | None:
        """Return `noun_of` if that is not the whole name, else None."""
        return self._nouns(name).get("head")

    def _nouns(self, name: str) -> dict[str, str]:
        return self._database.remembered({"noun": _lemma(name)}, lambda: self._find_noun(name))

    def _find_noun(self, name: str) -> dict[str, str]:
        if whole := self._database.base_form(_lemma(name)):
            return {"whole": whole}
        words = _name_words(name)
        ends = ("_".join(words[start:]) for start in range(len(words)))
        head = next(filter(None, (self._database.base_form(end) for end in ends if len(end) > 1)), None)
        return {"head": head} if head else {}

    def words(
        self, lemma: str, hops: int = 1, relations: Sequence[Relation] = RELATIONS, senses: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Return the words within `hops` relations of the noun senses of `lemma`, sorted and unique.

        Lower-cased, spaces for underscores, the lemma itself excluded. "synonyms" adds the words of the
        senses themselves; the other relations are followed `hops` times. An inflected lemma ("pushpins")
        counts as its base form, a name that is not a noun as its head noun (`noun_of`), and both are excluded. `senses`
        are names as in `sense_name`; empty: all.

        Raises `UnknownWord` for a name without a noun in WordNet, `BadInput` for `hops` < 1, an unknown relation, and a
        sense that the lemma does not have or that has no words.
        """
        return tuple(sorted(self.relations_of(lemma, hops, relations, senses)))

    def relations_of(
        self, lemma: str, hops: int = 1, relations: Sequence[Relation] = RELATIONS, senses: Sequence[str] = ()
    ) -> dict[str, Relation]:
        """Return `words`, each with the last relation on the shortest path to it."""
        if hops < 1 or not set(relations) <= set(RELATIONS):
            raise BadInput(f"hops must be ≥ 1 and relations among {', '.join(RELATIONS)}; got {hops}, {relations}")
        question = {"lemma": _lemma(lemma), "hops": hops, "relations": list(relations), "senses": list(senses)}
        found = self._database.remembered(question, lambda: self._relations_of(lemma, hops, relations, senses))
        return cast("dict[str, Relation]", found)

    def _relations_of(
        self, lemma: str, hops: int, relations: Sequence[Relation], senses: Sequence[str]
    ) -> dict[str, str]:
        base = self._known_noun(lemma)
        frontier = self._chosen(lemma, base, senses)
        reached = set(frontier)
        found: dict[str, str] = {}
        if "synonyms" in relations:
            found |= {word: "synonyms" for synset in frontier for word in _names(synset)}
        for _ in range(hops):
            step: dict[Any, Relation] = {}
            for relation in (each for each in RELATIONS[1:] if each in relations):
                for synset in frontier:
                    for other in getattr(synset, relation)():
                        if other not in reached:
                            step.setdefault(other, relation)
            for synset, relation in step.items():
                for word in _names(synset):
                    found.setdefault(word, relation)
            frontier = sorted(step)
            reached |= set(frontier)
        words = {word: relation for word, relation in found.items() if word not in _itself(lemma, base)}
        if senses and not words:
            raise BadInput(f"{', '.join(senses)}: WordNet has no words for it by these relations; name another sense")
        return words

    def senses(self, lemma: str) -> tuple[Sense, ...]:
        """Return all noun senses of `lemma`, the most frequent first. Raises as `words` does."""
        base = self._known_noun(lemma)
        return tuple(
            Sense(f"{base}.n.{k:02d}", _gloss(synset), tuple(sorted(_names(synset) - _itself(lemma, base))))
            for k, synset in enumerate(self._database.senses(base), start=1)
        )

    def own_senses(self, lemma: str, senses: Sequence[str], lemmas: Iterable[str]) -> tuple[str, ...]:
        """Return those of `senses` that are senses of `lemma`; the others must be senses of the other objects,
        `lemmas`.

        Raises `BadInput` for a sense that belongs to no object.
        """
        if not senses:
            return ()
        objects = sorted({lemma, *lemmas})
        known = {spelling for each in objects for spelling in self._spellings(each)}
        for sense in senses:
            if _noun_of(sense) not in known:
                raise BadInput(
                    f"prompt.senses: {sense} is a sense of none of the study's objects ({', '.join(objects)}); "
                    "name one of these, or leave it out"
                )
        return tuple(sense for sense in senses if _noun_of(sense) in self._spellings(lemma))

    def _chosen(self, lemma: str, base: str, senses: Sequence[str]) -> list[Any]:
        """Return the synsets of the named senses, or of all."""
        own = self._database.senses(base)
        by_name = {f"{noun}.n.{k:02d}": s for noun in (base, _lemma(lemma)) for k, s in enumerate(own, start=1)}
        for sense in senses:
            if sense_name(sense) not in by_name:
                known = "; ".join(map(str, self.senses(lemma)))
                raise BadInput(f"{sense} is no sense of {lemma!r} in WordNet ({self.source}); choose of {known}")
        return [by_name[sense_name(sense)] for sense in senses] or own

    def _spellings(self, lemma: str) -> set[str]:
        return {_lemma(lemma), self.noun_of(lemma) or ""}

    def _known_noun(self, lemma: str) -> str:
        noun = self.noun_of(lemma)
        if noun is None:
            raise UnknownWord(f"{lemma!r} is no noun in WordNet ({self.source})", self._nearest(lemma))
        return noun

    def _nearest(self, lemma: str) -> tuple[str, ...]:
        """Return the nouns among the name's own words, then nouns of similar spelling."""
        own = filter(None, map(self._database.base_form, _name_words(lemma)))
        name = _lemma(lemma)
        # a comparison with all 117,000 takes seconds, and similar nouns have similar lengths
        similar = [noun for noun in self._database.lemmas() if abs(len(noun) - len(name)) <= 3]
        nearest = [*own, *get_close_matches(name, similar, n=NEAREST, cutoff=0.6)]
        return tuple(word.replace("_", " ") for word in dict.fromkeys(nearest))[:NEAREST]


def _name_words(name: str) -> list[str]:
    """Return the words of an object's name without a number or letter at its end, as `WordNet.noun_of` says."""
    words = re.split(r"[\s_-]+", name.lower().strip())
    while len(words) > 1 and (len(words[-1]) <= 1 or re.search(r"\d", words[-1])):
        words.pop()
    return [words[0].rstrip("0123456789")] if len(words) == 1 else words


def _noun_of(sense: str) -> str:
    return sense_name(sense).rpartition(".n.")[0]


def _lemma(name: str) -> str:
    return "_".join(name.lower().split())


def _itself(lemma: str, base: str) -> set[str]:
    return {base.replace("_", " "), _lemma(lemma).replace("_", " ")}


def _names(synset: Any) -> set[str]:
    return {name.lower().replace("_", " ") for name in synset.lemma_names()}


def _gloss(synset: Any) -> str:
    return "; ".join([synset.definition(), *(f'"{example}"' for example in synset.examples())])


def open_wordnet(source: Source = "auto") -> WordNet:
    """Open a WordNet: NLTK's data if present, else Debian's, else the embedded one; or the named source.

    Raises `BadInput` if the named source is not on this machine.
    """
    if source not in get_args(Source):
        raise BadInput(f"unknown WordNet source {source!r}; known: {', '.join(get_args(Source))}")
    for kind in ("nltk", "debian", "embedded") if source == "auto" else (source,):
        root = next(filter(holds_nouns, _roots(kind)), None)
        if root is not None:
            database = Database(root)
            return WordNet(f"{kind} {database.version}", database)
    if source == "nltk":
        raise BadInput("no WordNet of source 'nltk' in nltk.data.path; use source embedded, or goodshot fetch wordnet")
    raise BadInput(f"no WordNet of source {source!r} at {DEBIAN}; use source embedded, or apt install wordnet-base")


def _roots(kind: str) -> list[Path]:
    """Return the possible locations of a source: folders, and folders inside zip archives."""
    if kind != "nltk":
        return [DEBIAN if kind == "debian" else EMBEDDED]
    corpora = [*(Path(folder) / "corpora" for folder in nltk_folders()), nltk_corpora()]
    return [folder / "wordnet" for folder in corpora] + [folder / "wordnet.zip" / "wordnet" for folder in corpora]


def nltk_folders() -> list[str]:
    """Return `nltk.data.path`, computed without importing NLTK (which takes a second) unless it is loaded already."""
    if (loaded := sys.modules.get("nltk.data")) is not None:
        return [str(folder) for folder in loaded.path]
    given = [folder for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
    own = [f"{sys.prefix}/{folder}nltk_data" for folder in ("", "share/", "lib/")]
    system = [f"/usr/{folder}/nltk_data" for folder in ("share", "local/share", "lib", "local/lib")]
    # not Path's expanduser, which raises if a user has no home, as in many containers
    return [os.path.expanduser(folder) for folder in (*given, "~/nltk_data", *own, *system)]  # noqa: PTH111
