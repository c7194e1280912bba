"""WordNet's nouns through NLTK's reader, with cached answers.

Importing NLTK takes a second or more, and reading the files half a second, so both are done only for a question that
`remembered` has no cached answer to.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from goodshot.components.errors import GoodshotError
from goodshot.components.weights import cache_dir

EMBEDDED = Path(__file__).with_name("wordnet_nouns.zip") / "wordnet"
"""The whole noun part of WordNet 3.0, which comes with this package (`embed` writes it)."""


@dataclass(frozen=True)
class Database:
    """The nouns of one WordNet 3. Lemmas are lower-case, with underscores for spaces.

    `root` is a folder, or one inside a zip archive ("…/wordnet.zip/wordnet"). Raises `GoodshotError` if it cannot
    be read.
    """

    root: Path

    @property
    def version(self) -> str:
        """For example "3.0"; read from the licence at the beginning of data.noun."""
        try:
            with self.file("data.noun") as file:
                start = file.read(4000)
        except (OSError, KeyError, zipfile.BadZipFile) as cause:
            raise GoodshotError(f"WordNet at {self.root} cannot be read: {cause}; install it anew") from cause
        found = re.search(rb"WordNet (\d+(?:\.\d+)?) Copyright", start)
        if found is None:
            raise GoodshotError(f"WordNet at {self.root} cannot be read: no version in data.noun; install it anew")
        return found[1].decode()

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """Open one of the database's files. Raises `OSError`, `KeyError` or `zipfile.BadZipFile` if that fails."""
        if _is_zipped(self.root):
            with zipfile.ZipFile(self.root.parent) as archive, archive.open(f"{self.root.name}/{name}") as file:
                yield file
        else:
            with (self.root / name).open("rb") as file:
                yield file

    @property
    def reader(self) -> Any:
        """NLTK's reader, opened once per process."""
        import nltk.data

        # NLTK accepts a database only inside the folders registered here.
        folder = str(self.root.parents[2] if _is_zipped(self.root) else self.root)
        if folder not in nltk.data.path:
            nltk.data.path.append(folder)
        return _reader(self.root)

    def senses(self, lemma: str) -> list[Any]:
        """The lemma's noun synsets, sense 1 first; empty for a word that is not a noun."""
        # NLTK also looks up inflected forms, so a synset counts only if the lemma itself is one of its words.
        return [s for s in self.reader.synsets(lemma, "n") if lemma in map(str.lower, s.lemma_names())]

    def base_form(self, form: str) -> str | None:
        """The first noun that `form` equals or inflects ("pushpins" → "pushpin"), as morphy does; else None."""
        found = self.reader.morphy(form, "n") if form else None
        return str(found) if found else None

    def lemmas(self) -> list[str]:
        """All nouns."""
        return list(self.reader.all_lemma_names(pos="n"))

    def remembered(self, question: Mapping[str, Any], answer: Callable[[], dict[str, str]]) -> dict[str, str]:
        """`answer()`, or its cached value if the same code asked the same files the same question before.

        Kept in the user's cache; a missing or damaged file, or a cache that cannot be written, only costs time.
        """
        file = self.root.parent if _is_zipped(self.root) else self.root / "data.noun"
        stat = file.stat()
        known = [str(file.absolute()), stat.st_size, stat.st_mtime_ns, _code(), question]
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        path = cache_dir() / "wordnet" / f"{digest[:32]}.json"
        with suppress(OSError, ValueError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(kept, dict) and all(isinstance(value, str) for value in kept.values()):
                return kept
        found = answer()
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=path.parent, suffix=".part", encoding="utf-8", delete=False
            ) as part:
                json.dump(found, part)
            Path(part.name).replace(path)
        return found


def holds_nouns(root: Path) -> bool:
    """Whether there is a database at `root`, a folder or a folder inside a zip archive."""
    return root.parent.is_file() if _is_zipped(root) else (root / "data.noun").is_file()


def _is_zipped(root: Path) -> bool:
    return root.parent.suffix == ".zip"


@lru_cache(maxsize=1)
def _code() -> str:
    """A hash of the code that computes the answers, so that another version of goodshot computes them again."""
    files = (Path(__file__), Path(__file__).with_name("wordnet.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@lru_cache(maxsize=4)
def _reader(root: Path) -> Any:
    try:
        return _reader_class()(Database(root))
    except (OSError, ValueError, AssertionError, KeyError, IndexError, zipfile.BadZipFile) as cause:
        raise GoodshotError(f"WordNet at {root} cannot be read: {cause}; install it anew") from cause


class NounIndex(Mapping[str, dict[str, list[int]]]):
    """The text of index.noun as the mapping that NLTK's reader makes of it: noun → {"n": addresses of its senses}.

    A line is parsed when its noun is asked for. NLTK parses all 117,000 at once, which takes seconds.
    """

    def __init__(self, text: str) -> None:
        self._lines = {line.partition(" ")[0]: line for line in text.splitlines() if not line.startswith(" ")}

    def __getitem__(self, noun: str) -> dict[str, list[int]]:
        fields = self._lines[noun].split()
        return {"n": [int(address) for address in fields[-int(fields[2]) :]]}

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


@lru_cache(maxsize=1)
def _reader_class() -> Any:
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class NounReader(WordNetCorpusReader):  # type: ignore[misc]
        """NLTK's reader of nouns alone: it opens no file of another part of speech, and maps no other languages."""

        def __init__(self, database: Database) -> None:
            import warnings

            self._database = database
            # The trailing slash tells NLTK that the root is a folder inside an archive.
            root = f"{database.root}/" if _is_zipped(database.root) else str(database.root)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The multilingual functions")
                super().__init__(root, None)

        def open(self, file: str) -> Any:
            # NLTK's own method refuses files that the user's group may write, as files often are.
            database = self._database
            if file == "lexnames":  # a list of 45 constants that Debian's package lacks
                database = Database(EMBEDDED)
            with database.file(file) as content:
                return io.TextIOWrapper(io.BytesIO(content.read()), encoding="utf-8")

        def _load_lemma_pos_offset_map(self) -> None:
            self._lemma_pos_offset_map = NounIndex(self.open("index.noun").read())

        def _load_exception_map(self) -> None:
            self._exception_map = {"n": {form: bases for form, *bases in map(str.split, self.open("noun.exc"))}}

        def _scan_satellites(self) -> None:
            """No satellites, because these are adjectives."""

        def map_wn(self, version: str = "wordnet") -> None:
            """No mapping, because only English is read."""

    return NounReader
