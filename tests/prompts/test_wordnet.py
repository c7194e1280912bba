"""Words around an object: against a walk of WordNet's own files, and from every source alike."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from components.errors import BadInput
from components.prompts import OBJECTS, RELATIONS, WordNet, object_for, open_wordnet
from components.prompts.extract import write_extract
from components.prompts.wordnet import DEBIAN, EXTRACT, Relation

COVERED = sorted(set(OBJECTS.values()))
needs_debian = pytest.mark.skipif(not (DEBIAN / "data.noun").is_file(), reason=f"no WordNet at {DEBIAN}")
POINTERS = {
    "hypernyms": "@",
    "hyponyms": "~",
    "part_holonyms": "#p",
    "member_holonyms": "#m",
    "substance_holonyms": "#s",
    "part_meronyms": "%p",
    "member_meronyms": "%m",
    "substance_meronyms": "%s",
}


@pytest.fixture(scope="module")
def extract() -> WordNet:
    return open_wordnet("extract")


def walk(root: Path, lemma: str, symbols: set[str]) -> set[str]:
    """One hop read off the database files by hand: no NLTK, none of the code under test."""
    data = (root / "data.noun").read_bytes()

    def line(offset: int) -> list[str]:
        return data[offset : data.index(b"\n", offset)].decode().split("|")[0].split()

    def words(fields: list[str]) -> set[str]:
        return {word.lower().replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]}

    index = next(row for row in (root / "index.noun").open(encoding="utf-8") if row.startswith(f"{lemma} "))
    found: set[str] = set()
    for offset in index.split()[-int(index.split()[2]) :]:
        sense = line(int(offset))
        found |= words(sense)
        for position, field in enumerate(sense):
            if field in symbols and sense[position + 2] == "n":
                found |= words(line(int(sense[position + 1])))
    return found - {lemma.replace("_", " ")}


@needs_debian
@pytest.mark.parametrize("lemma", ["hazelnut", "pill", "bottle", "wood", "toothbrush", "cat"])
def test_words_equal_a_walk_of_the_files(lemma: str) -> None:
    assert set(open_wordnet("debian").words(lemma)) == walk(DEBIAN, lemma, set(POINTERS.values()))


@needs_debian
@pytest.mark.parametrize("relation", POINTERS)
def test_each_relation_alone(relation: Relation) -> None:
    wordnet = open_wordnet("debian")
    expected = walk(DEBIAN, "wood", {POINTERS[relation]}) - walk(DEBIAN, "wood", set())
    found = set(wordnet.words("wood", relations=[relation]))
    assert expected <= found <= expected | walk(DEBIAN, "wood", set())
    assert set(wordnet.words("wood", relations=["synonyms"])) == walk(DEBIAN, "wood", set())


def test_hazelnut_by_hand(extract: WordNet) -> None:
    words = extract.words("hazelnut")
    assert (len(words), list(words)) == (15, sorted(words))
    assert {"cobnut", "filbert", "corylus", "edible nut", "nut tree"} <= set(words)
    assert len(extract.words("pill")) == 48
    assert set(words) < set(extract.words("hazelnut", hops=2))
    assert set(extract.words("hazelnut", relations=["synonyms"])) == {
        "hazel",
        "hazelnut tree",
        "cob",
        "cobnut",
        "filbert",
    }


@needs_debian
def test_the_extract_equals_the_full_wordnet(extract: WordNet) -> None:
    full = open_wordnet("debian")
    for lemma in COVERED:
        for relations in (RELATIONS, ("hyponyms",), ("part_meronyms", "part_holonyms")):
            assert extract.words(lemma, 1, relations) == full.words(lemma, 1, relations)
        assert extract.words(lemma, 2) == full.words(lemma, 2)


@needs_debian
def test_the_extract_is_what_its_script_writes(tmp_path: Path) -> None:
    write_extract(DEBIAN, tmp_path, [name.replace(" ", "_") for name in OBJECTS.values()])
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in EXTRACT.iterdir()}


def test_every_category_has_words(extract: WordNet) -> None:
    assert len(OBJECTS) == 15 + 5 + 3 + 6
    for category in OBJECTS:
        assert extract.words(object_for(category)), category


def test_object_names() -> None:
    assert object_for("metal_nut") == "nut"
    assert object_for("my_widget") == "my widget"
    assert object_for("01", {"01": "flange"}) == "flange"
    for category, overrides in (("", {}), ("pill", {"pill": " "}), ("pill", {"pill": ""})):
        with pytest.raises(BadInput, match="empty object name"):
            object_for(category, overrides)


def test_an_inflected_name_counts_as_its_base_form(extract: WordNet) -> None:
    assert extract.words("Pushpins") == extract.words("pushpin")


def test_refusals(extract: WordNet) -> None:
    with pytest.raises(BadInput, match=r"'cat' at 1 hops is not in the embedded extract .*apt install wordnet-base"):
        extract.words("cat")
    with pytest.raises(BadInput, match="at 3 hops is not in the embedded extract"):
        extract.words("pill", hops=3)
    with pytest.raises(BadInput, match="hops must be ≥ 1"):
        extract.words("pill", hops=0)
    with pytest.raises(BadInput, match="relations among synonyms"):
        extract.words("pill", relations=["antonyms"])  # type: ignore[list-item]
    with pytest.raises(BadInput, match="unknown WordNet source"):
        open_wordnet("princeton")  # type: ignore[arg-type]


@needs_debian
def test_an_unknown_word_names_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"'hazlnut' is no noun in WordNet .*nearest: hazelnut.*--object"):
        open_wordnet("debian").words("hazlnut")
    with pytest.raises(BadInput, match="nearest: connector,"):
        open_wordnet("debian").words("splicing connectors")


@pytest.mark.parametrize("zipped", [False, True])
def test_nltk_data_comes_first_as_folder_and_as_zip(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extract: WordNet
) -> None:
    import nltk.data

    expected = extract.words("hazelnut")
    path: list[Any] = [str(tmp_path)]
    monkeypatch.setattr(nltk.data, "path", path)
    with pytest.raises(BadInput, match=r"no WordNet of source 'nltk' in nltk\.data\.path"):
        open_wordnet("nltk")
    shutil.copytree(EXTRACT, tmp_path / "corpora" / "wordnet")
    if zipped:
        shutil.make_archive(str(tmp_path / "corpora" / "wordnet"), "zip", tmp_path / "corpora", "wordnet")
        shutil.rmtree(tmp_path / "corpora" / "wordnet")
    for source in ("auto", "nltk"):
        opened = open_wordnet(source)  # type: ignore[arg-type]
        assert opened.source == "nltk 3.0"
        assert opened.words("hazelnut") == expected


def test_without_any_other_the_extract_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk.data

    from components.prompts import wordnet

    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path)
    assert open_wordnet().source == "extract 3.0"
    with pytest.raises(BadInput, match="no WordNet of source 'debian'"):
        open_wordnet("debian")
