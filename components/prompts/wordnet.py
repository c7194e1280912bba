"""The words that WordNet relates to an object (§4.1.1): from NLTK's data, Debian's, or the embedded extract.

Every source has the same database files and is read by NLTK's reader (`database`); only the folder differs. For the
objects that the extract covers the three give the same words and senses, as all contain WordNet 3.0. Nothing is
downloaded. NLTK's data may lie in any of NLTK's folders, or where `goodshot fetch wordnet` writes it.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any, Literal, cast, get_args

from goodshot.components.errors import BadInput
from goodshot.components.prompts.database import EXTRACT, Database, holds_nouns
from goodshot.components.weights.registry import nltk_corpora

Source = Literal["auto", "nltk", "debian", "extract"]
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
COVERED = "covered"
"""The extract's list of covered lemmas; its first line is the number of hops covered around them."""

NEAREST = 5
_FULL = "a full WordNet: goodshot fetch wordnet, or apt install wordnet-base"
_SENSE = re.compile(r"(?P<lemma>\S+)\.n\.(?P<number>0*[1-9]\d*)")


class UnknownWord(BadInput):
    """An object that this WordNet does not contain.

    `problem` says so, `nearest` are the most similar nouns in it, `install` names a larger WordNet, if there is one.
    """

    def __init__(self, problem: str, nearest: tuple[str, ...] = (), install: str = "") -> None:
        super().__init__(problem, nearest, install)
        self.problem, self.nearest, self.install = problem, nearest, install

    def __str__(self) -> str:
        return self.with_remedy("name the object by another noun (the study's objects: {category: noun}, or --object)")

    def with_remedy(self, remedy: str) -> str:
        """Return the whole line with another remedy, for commands that name the object in another way."""
        nearest = ", ".join(self.nearest) or "none"
        return f"{self.problem}; nearest: {nearest}; {remedy}" + f", or install {self.install}" * bool(self.install)


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
    """An opened WordNet. `source` names it with its version ("nltk 3.0", "debian 3.0", "extract 3.0")."""

    source: str
    _database: Database = field(repr=False)
    _covered: frozenset[str] | None = None
    _hops: int | None = None

    def words(
        self, lemma: str, hops: int = 1, relations: Sequence[Relation] = RELATIONS, senses: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Return the words within `hops` relations of the noun senses of `lemma`, sorted and unique.

        Lower-cased, spaces for underscores, the lemma itself excluded. "synonyms" adds the words of the
        senses themselves; the other relations are followed `hops` times. An inflected lemma ("pushpins")
        counts as its base form, and both are excluded. `senses` are names as in `sense_name`; empty: all.

        Raises `UnknownWord` for a word that is not a noun of this WordNet, `BadInput` for `hops` < 1, an unknown
        relation, a lemma that the extract does not cover, and a sense that the lemma does not have or that has no
        words.
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
        base = self._base_form(lemma, hops)
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
        base = self._base_form(lemma, 1)
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
        return {_lemma(lemma), self._database.base_form(_lemma(lemma)) or ""}

    def _base_form(self, lemma: str, hops: int) -> str:
        name = _lemma(lemma)
        base = self._database.base_form(name) if name else None
        if self._covered is not None and base not in self._covered:
            problem = f"{lemma!r} is none of the {len(self._covered)} objects in the embedded extract of WordNet"
            raise UnknownWord(problem, self._nearest_covered(name), _FULL)
        if self._covered is not None and hops > (self._hops or 0):
            raise BadInput(
                f"{lemma!r} at {hops} hops is not in the embedded extract of WordNet, which reaches {self._hops}; "
                f"lower hops, or install {_FULL}"
            )
        if base is None:
            raise UnknownWord(f"{lemma!r} is no noun in WordNet ({self.source})", self._nearest(name))
        return base

    def _nearest(self, name: str) -> tuple[str, ...]:
        # a comparison with all 117,000 takes seconds, and similar nouns have similar lengths
        similar = [noun for noun in self._database.lemmas() if abs(len(noun) - len(name)) <= 3]
        # for a compound that WordNet lacks, its last noun is the best description
        head = self._database.base_form(name.rpartition("_")[2]) if "_" in name else None
        nearest = ([head] if head else []) + get_close_matches(name, similar, n=NEAREST, cutoff=0.6)
        return tuple(word.replace("_", " ") for word in dict.fromkeys(nearest))[:NEAREST]

    def _nearest_covered(self, name: str) -> tuple[str, ...]:
        """The covered objects that the word is related to ("filbert" → "hazelnut"), then those of similar spelling."""
        objects = [lemma.replace("_", " ") for lemma in sorted(self._covered or ())]
        spelt = sorted(objects, key=lambda each: -SequenceMatcher(None, each, name).ratio())
        related = [each for each in spelt if name.replace("_", " ") in self.words(each)]
        return tuple(dict.fromkeys([*related, *spelt]))[:NEAREST]


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
    """Open a WordNet: NLTK's data if present, else Debian's, else the embedded extract; or the named source.

    Raises `BadInput` if the named source is not on this machine.
    """
    if source not in get_args(Source):
        raise BadInput(f"unknown WordNet source {source!r}; known: {', '.join(get_args(Source))}")
    for kind in ("nltk", "debian", "extract") if source == "auto" else (source,):
        root = next(filter(holds_nouns, _roots(kind)), None)
        if root is not None:
            return _opened(kind, root)
    where = "in nltk.data.path" if source == "nltk" else f"at {DEBIAN}"
    raise BadInput(f"no WordNet of source {source!r} {where}; use source extract, or install {_FULL}")


def _roots(kind: str) -> list[Path]:
    """Return the possible locations of a source: folders, and folders inside zip archives."""
    if kind != "nltk":
        return [DEBIAN if kind == "debian" else EXTRACT]
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


def _opened(kind: str, root: Path) -> WordNet:
    database = Database(root)
    source = f"{kind} {database.version}"
    if kind != "extract":
        return WordNet(source, database)
    hops, *covered = (EXTRACT / COVERED).read_text(encoding="utf-8").split()
    return WordNet(source, database, frozenset(covered), int(hops))
