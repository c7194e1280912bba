"""Write the embedded WordNet: the nouns of WordNet 3.0 as one archive, in WordNet's own database format (wndb(5WN)).

`python -m goodshot.components.prompts.embed --source /usr/share/wordnet --out components/prompts/wordnet_nouns.zip`

The files of nouns are the source's, byte for byte. NLTK's own reader insists on files for other parts of speech, so the
archive has them too, without words. The same source gives the same archive.
"""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path

NOUN_FILES = ("data.noun", "index.noun", "noun.exc")
EMPTY_FILES = (
    *("index.adj", "index.adv", "index.verb", "data.adv", "data.verb"),
    *("adj.exc", "adv.exc", "verb.exc"),
)
_LICENCE_LINES = 29
_NOUN_NAMES = (
    "Tops act animal artifact attribute body cognition communication event feeling food group location "
    "motive object person phenomenon plant possession process quantity relation shape state substance time"
)
_VERB_NAMES = (
    "body change cognition communication competition consumption contact creation emotion motion perception "
    "possession social stative weather"
)


def write_archive(source: Path, out: Path) -> None:
    """Write the archive `out`, and the licence beside it with the suffix .LICENSE, from WordNet 3.0 at `source`.

    Raises `SystemExit` if data.noun does not begin with WordNet 3.0's licence, and `OSError` if a file is missing.
    """
    nouns = {name: (source / name).read_bytes() for name in NOUN_FILES}
    licence = nouns["data.noun"].decode().splitlines(keepends=True)[:_LICENCE_LINES]
    if not re.match(r" +1 This software and database", licence[0]) or not licence[-1].startswith("  29 "):
        raise SystemExit(f"{source}/data.noun does not begin with WordNet 3.0's licence in {_LICENCE_LINES} lines")
    plain_licence = "".join(re.sub(r"^ *\d+ ?", "", line).rstrip() + "\n" for line in licence).encode()
    files = {
        **nouns,
        "data.adj": "".join(licence).encode(),  # NLTK reads the version there
        "lexnames": _lexnames().encode(),
        "LICENSE": plain_licence,
        **dict.fromkeys(EMPTY_FILES, b""),
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(f"wordnet/{name}")  # dated 1980, whenever it is written
            member.compress_type = zipfile.ZIP_LZMA if content else zipfile.ZIP_STORED
            member.create_system, member.external_attr = 3, 0o644 << 16
            archive.writestr(member, content)
    out.with_suffix(".LICENSE").write_bytes(plain_licence)


def _lexnames() -> str:
    """Return lexnames(5WN), the file that Debian's package leaves out: 45 lexicographer files by number."""
    nouns = [f"noun.{name}" for name in _NOUN_NAMES.split()]
    verbs = [f"verb.{name}" for name in _VERB_NAMES.split()]
    parts = {"adj": 3, "adv": 4, "noun": 1, "verb": 2}
    names = ["adj.all", "adj.pert", "adv.all", *nouns, *verbs, "adj.ppl"]
    return "".join(f"{i:02d}\t{name}\t{parts[name.split('.')[0]]}\n" for i, name in enumerate(names))


def main() -> None:
    """Write the archive from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, required=True, help="a folder with WordNet 3.0's database files")
    parser.add_argument("--out", type=Path, required=True, help="the archive to write")
    arguments = parser.parse_args()
    write_archive(arguments.source, arguments.out)


if __name__ == "__main__":
    main()
