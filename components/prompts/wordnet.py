"""The words that WordNet relates to an object (§4.1.1): from NLTK's data, Debian's, or the embedded extract.

Every source is read by NLTK's own WordNet reader; only the folder differs. For the objects that the extract
covers the three give the same words, as all hold WordNet 3.0. Nothing is downloaded, and nothing is
written: the one file that Debian's package lacks (lexnames, a list of 45 constants) is read from the
extract.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from components.errors import BadInput, GoodshotError

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
"""All relations. Instance relations are left out on purpose: they lead to proper names."""

DEBIAN = Path("/usr/share/wordnet")
EXTRACT = Path(__file__).with_name("wordnet_extract")
COVERED = "covered"
"""The extract's list of covered lemmas; its first line is the number of hops covered around them."""

_FULL = "a full WordNet: apt install wordnet-base, or python -m nltk.downloader wordnet"


@dataclass(frozen=True)
class WordNet:
    """An opened WordNet. `source` names it with its version ("nltk 3.0", "debian 3.0", "extract 3.0")."""

    source: str
    _reader: Any = field(repr=False)
    _covered: frozenset[str] | None = None
    _hops: int | None = None

    def words(self, lemma: str, hops: int = 1, relations: Sequence[Relation] = RELATIONS) -> tuple[str, ...]:
        """Return the words within `hops` relations of any noun sense of `lemma`, sorted and unique.

        Lower-cased, spaces for underscores, the lemma itself excluded. "synonyms" adds the words of the
        senses themselves; the other relations are followed `hops` times. An inflected lemma ("pushpins")
        counts as its base form, and both are excluded.

        Raises `BadInput` for a word that is no noun of this WordNet (with the nearest ones), for `hops` <
        1, an unknown relation, and what the extract does not cover.
        """
        if hops < 1 or not set(relations) <= set(RELATIONS):
            raise BadInput(f"hops must be ≥ 1 and relations among {', '.join(RELATIONS)}; got {hops}, {relations}")
        base = self._base_form(lemma, hops)
        senses = [s for s in self._reader.synsets(base, "n") if base in map(str.lower, s.lemma_names())]
        found = _names(senses) if "synonyms" in relations else set()
        reached, frontier = set(senses), set(senses)
        for _ in range(hops):
            frontier = _related(frontier, relations) - reached
            reached |= frontier
            found |= _names(frontier)
        return tuple(sorted(found - {base.replace("_", " "), lemma.lower().replace("_", " ")}))

    def _base_form(self, lemma: str, hops: int) -> str:
        name = lemma.strip().lower().replace(" ", "_")
        base = self._reader.morphy(name, "n") if name else None
        if self._covered is not None and (base not in self._covered or hops > (self._hops or 0)):
            raise BadInput(
                f"{lemma!r} at {hops} hops is not in the embedded extract of WordNet "
                f"({self._hops} hops around {', '.join(sorted(self._covered))}); "
                f"name one of these as the object, or install {_FULL}"
            )
        if base is None:
            raise BadInput(
                f"{lemma!r} is no noun in WordNet ({self.source}); nearest: {self._nearest(name)}; "
                "name the object by another noun (the study's objects: {category: noun}, or --object)"
            )
        return str(base)

    def _nearest(self, name: str) -> str:
        nouns = self._reader.all_lemma_names(pos="n")
        # a comparison with all 117,000 takes seconds; the nearest are of a similar length
        similar = [noun for noun in nouns if abs(len(noun) - len(name)) <= 3]
        # of a compound that WordNet lacks, its last noun says best what it is
        head = self._reader.morphy(name.rpartition("_")[2], "n") if "_" in name else None
        nearest = ([head] if head else []) + get_close_matches(name, similar, n=5, cutoff=0.6)
        return ", ".join(word.replace("_", " ") for word in nearest[:5]) or "none"


def _names(synsets: Iterable[Any]) -> set[str]:
    return {name.lower().replace("_", " ") for synset in synsets for name in synset.lemma_names()}


def _related(synsets: Iterable[Any], relations: Sequence[Relation]) -> set[Any]:
    pointers = [relation for relation in relations if relation != "synonyms"]
    return {other for synset in synsets for pointer in pointers for other in getattr(synset, pointer)()}


def open_wordnet(source: Source = "auto") -> WordNet:
    """Open a WordNet: NLTK's data where present, else Debian's, else the embedded extract; or the one named.

    It is read once per process. Raises `BadInput` where the named one is not on this machine.
    """
    if source not in get_args(Source):
        raise BadInput(f"unknown WordNet source {source!r}; known: {', '.join(get_args(Source))}")
    for kind in ("nltk", "debian", "extract") if source == "auto" else (source,):
        root = _root(kind)
        if root is not None:
            return _read(kind, root)
    where = "in nltk.data.path" if source == "nltk" else f"at {DEBIAN}"
    raise BadInput(f"no WordNet of source {source!r} {where}; use source extract, or install {_FULL}")


def _root(kind: str) -> str | None:
    """Return the folder of one source, or the path into a zip archive (NLTK reads both), if it is here."""
    if kind == "nltk":
        return _nltk_root()
    folder = DEBIAN if kind == "debian" else EXTRACT
    return str(folder) if (folder / "data.noun").is_file() else None


def _nltk_root() -> str | None:
    import nltk.data

    for name in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):
        try:
            root = str(nltk.data.find(name))
            # str() drops the slash by which NLTK knows a folder inside an archive
            return f"{root}/" if ".zip" in root else root
        except LookupError:
            continue
    return None


@lru_cache(maxsize=4)
def _read(kind: str, root: str) -> WordNet:
    import nltk.data

    # NLTK opens no file outside the folders registered here; its own data is inside one already
    if kind != "nltk" and root not in nltk.data.path:
        nltk.data.path.append(root)
    try:
        reader = _reader_class()(root, None)
    except (OSError, ValueError, AssertionError) as cause:
        raise GoodshotError(f"WordNet at {root} cannot be read: {cause}") from cause
    source = f"{kind} {reader.get_version()}"
    if kind != "extract":
        return WordNet(source, reader)
    hops, *covered = (EXTRACT / COVERED).read_text(encoding="utf-8").split()
    return WordNet(source, reader, frozenset(covered), int(hops))


@lru_cache(maxsize=1)
def _reader_class() -> Any:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader, WordNetError

    class NounReader(WordNetCorpusReader):  # type: ignore[misc]
        """NLTK's reader without its mapping to other languages, which needs index.sense and costs seconds."""

        def __init__(self, root: Any, omw_reader: Any) -> None:
            import warnings

            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The multilingual functions")
                try:
                    super().__init__(root, omw_reader)
                except WordNetError as cause:
                    raise ValueError(str(cause)) from cause

        def map_wn(self, version: str = "wordnet") -> None:
            """No mapping: only English is read."""

        def open(self, file: str) -> Any:
            if file == "lexnames":
                return (EXTRACT / file).open(encoding="utf-8")
            return super().open(file)

    return NounReader
