"""Write the embedded extract of WordNet 3.0, in WordNet's own database format (wndb(5WN)).

`python -m goodshot.components.prompts.extract --source /usr/share/wordnet --out components/prompts/wordnet_extract`

It contains every noun sense of the datasets' objects (`known_objects`) and all synsets within two
relations of them, without pointers to synsets outside the extract or to other parts of speech. Synset addresses
are byte offsets in data.noun, so they are assigned anew. The same source gives the same bytes.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from goodshot.components.prompts.objects import known_objects

HOPS = 2
NOUN_RELATIONS = ("@", "~", "%p", "%m", "%s", "#p", "#m", "#s")
"""Hypernyms, hyponyms, then part, member and substance meronyms and holonyms."""

EMPTY_FILES = (
    *("index.adj", "index.adv", "index.verb", "data.adv", "data.verb"),
    *("adj.exc", "adv.exc", "verb.exc"),
)
_LICENCE_LINES = 29
_NOUN_FILES = (
    "Tops act animal artifact attribute body cognition communication event feeling food group location "
    "motive object person phenomenon plant possession process quantity relation shape state substance time"
)
_VERB_FILES = (
    "body change cognition communication competition consumption contact creation emotion motion perception "
    "possession social stative weather"
)


@dataclass(frozen=True)
class Synset:
    """One line of data.noun. `head` is the text between offset and pointer count: file, type, words."""

    head: str
    words: tuple[str, ...]
    pointers: tuple[tuple[str, int], ...]
    gloss: str

    def line(self, offsets: Mapping[int, int], own: int) -> str:
        """Return the database line with the addresses of `offsets`; `own` is this synset's new one."""
        kept = [f"{symbol} {offsets[to]:08d} n 0000" for symbol, to in self.pointers if to in offsets]
        return " ".join([f"{own:08d}", self.head, f"{len(kept):03d}", *kept, self.gloss])


def write_extract(source: Path, out: Path, lemmas: Iterable[str]) -> None:
    """Write the extract around `lemmas` (underscores for spaces) from the full database at `source`."""
    covered = sorted(set(lemmas))
    index = _read_index(source / "index.noun")
    synsets = _read_neighbourhood(source / "data.noun", [index[lemma] for lemma in covered])
    licence = _licence(source / "data.noun")
    offsets = _assign_offsets(synsets, len(licence.encode()))
    lines = [synsets[old].line(offsets, new) for old, new in offsets.items()]
    files = {
        "data.noun": licence + "".join(f"{line}\n" for line in lines),
        "index.noun": licence + "".join(_index_lines(index, synsets, offsets)),
        "data.adj": licence,
        "noun.exc": _exceptions(source / "noun.exc", index, offsets),
        "lexnames": _lexnames(),
        "LICENSE": "".join(f"{_unnumbered(line)}\n" for line in licence.splitlines()),
        "covered": "\n".join([str(HOPS), *covered]) + "\n",
    } | dict.fromkeys(EMPTY_FILES, "")
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_text(content, encoding="utf-8", newline="\n")


def _read_index(path: Path) -> dict[str, tuple[int, ...]]:
    """Return lemma → the offsets of its senses, most frequent first."""
    index = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            lemma, _, senses, *rest = line.split()
            index[lemma] = tuple(map(int, rest[-int(senses) :]))
    return index


def _read_neighbourhood(path: Path, starts: Iterable[tuple[int, ...]]) -> dict[int, Synset]:
    """Return the synsets within `HOPS` relations of the starting ones, by old offset, ascending."""
    data = path.read_bytes()
    found: dict[int, Synset] = {}
    frontier = {offset for senses in starts for offset in senses}
    for _ in range(HOPS + 1):
        found |= {offset: _read_synset(data, offset) for offset in frontier}
        frontier = {to for offset in frontier for _, to in found[offset].pointers} - found.keys()
    return dict(sorted(found.items()))


def _read_synset(data: bytes, offset: int) -> Synset:
    columns, gloss = data[offset : data.index(b"\n", offset)].decode().split("|", 1)
    fields = columns.split()
    end = 4 + 2 * int(fields[3], 16)
    pointers = [fields[i : i + 4] for i in range(end + 1, len(fields), 4)]
    return Synset(
        head=" ".join(fields[1:end]),
        words=tuple(fields[4:end:2]),
        pointers=tuple((symbol, int(to)) for symbol, to, *_ in pointers if symbol in NOUN_RELATIONS),
        gloss=f"| {gloss.strip()}  ",
    )


def _assign_offsets(synsets: Mapping[int, Synset], first: int) -> dict[int, int]:
    """Return old → new offset. An address always has 8 digits, so the lengths are known beforehand."""
    placeholder = dict.fromkeys(synsets, 0)
    offsets, position = {}, first
    for old, synset in synsets.items():
        offsets[old] = position
        position += len(synset.line(placeholder, 0).encode()) + 1
    return offsets


def _index_lines(
    index: Mapping[str, tuple[int, ...]], synsets: Mapping[int, Synset], offsets: Mapping[int, int]
) -> list[str]:
    symbols: dict[str, set[str]] = defaultdict(set)
    for synset in synsets.values():
        for word in synset.words:
            symbols[word.lower()] |= {symbol for symbol, to in synset.pointers if to in offsets}
    lines = []
    for lemma in sorted(symbols):
        senses = [offsets[old] for old in index[lemma] if old in offsets]
        pointers = sorted(symbols[lemma])
        fields = [lemma, "n", len(senses), len(pointers), *pointers, len(senses), 0]
        lines.append(" ".join([*map(str, fields), *(f"{offset:08d}" for offset in senses)]) + "  \n")
    return lines


def _exceptions(path: Path, index: Mapping[str, tuple[int, ...]], offsets: Mapping[int, int]) -> str:
    """Keep the irregular plurals of the extract's own nouns."""
    kept = {lemma for lemma, senses in index.items() if any(old in offsets for old in senses)}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if any(base in kept for base in line.split()[1:]))


def _licence(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        licence = [next(lines) for _ in range(_LICENCE_LINES)]
    if not re.match(r" +1 This software and database", licence[0]) or not licence[-1].startswith("  29 "):
        raise SystemExit(f"{path} does not begin with WordNet 3.0's licence in {_LICENCE_LINES} numbered lines")
    return "".join(licence)


def _unnumbered(line: str) -> str:
    return re.sub(r"^ *\d+ ?", "", line).rstrip()


def _lexnames() -> str:
    """Return lexnames(5WN), the file that Debian's package leaves out: 45 lexicographer files by number."""
    nouns = [f"noun.{name}" for name in _NOUN_FILES.split()]
    verbs = [f"verb.{name}" for name in _VERB_FILES.split()]
    parts = {"adj": 3, "adv": 4, "noun": 1, "verb": 2}
    names = ["adj.all", "adj.pert", "adv.all", *nouns, *verbs, "adj.ppl"]
    return "".join(f"{i:02d}\t{name}\t{parts[name.split('.')[0]]}\n" for i, name in enumerate(names))


def main() -> None:
    """Write the extract from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, required=True, help="a folder with WordNet 3.0's database files")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    lemmas = [name.replace(" ", "_") for name in known_objects().values()]
    write_extract(arguments.source, arguments.out, lemmas)


if __name__ == "__main__":
    main()
