"""Words around an object: against a walk of WordNet's own files, and from every source alike."""

import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from goodshot.components.errors import BadInput
from goodshot.components.prompts import (
    RELATIONS,
    PromptConfig,
    UnknownWord,
    WordNet,
    known_objects,
    object_for,
    open_wordnet,
)
from goodshot.components.prompts.extract import write_extract
from goodshot.components.prompts.wordnet import DEBIAN, EXTRACT, Relation

OBJECTS = known_objects()
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


# A goddess is an instance, and has no other name.
WORDLESS = {"nut.n.02"}


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
    with pytest.raises(BadInput, match=r"'cat' is none of the 26 objects in the embedded extract .*wordnet-base"):
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


def test_of_an_uncovered_word_the_covered_ones_nearest_to_it_are_named(extract: WordNet) -> None:
    """By meaning first: a filbert is a hazelnut."""
    for word, nearest in (("filbert", "hazelnut"), ("hazlnut", "hazelnut"), ("Zip fastener", "zipper")):
        with pytest.raises(UnknownWord) as caught:
            extract.words(word)
        assert caught.value.nearest[0] == nearest
        assert len(caught.value.nearest) == 5
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (str(again), again.nearest) == (str(caught.value), caught.value.nearest)


PAPER_CATEGORIES = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile"),
    *("toothbrush", "transistor", "wood", "zipper"),
    *("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"),
    *("01", "02", "03"),
)


@pytest.fixture
def nltk_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """NLTK's own reader on Debian's files, with the two that it insists on and that the package lacks."""
    if not (DEBIAN / "data.noun").is_file():
        pytest.skip(f"no WordNet at {DEBIAN}")
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    root = tmp_path / "corpora" / "wordnet"
    root.mkdir(parents=True)
    kinds = ("noun", "verb", "adj", "adv")
    for name in (*(f"{file}.{kind}" for file in ("index", "data") for kind in kinds), *(f"{k}.exc" for k in kinds)):
        shutil.copyfile(DEBIAN / name, root / name)
    (root / "lexnames").write_text("".join(f"{number:02d}\tfile.{number}\t1\n" for number in range(45)))
    (root / "index.sense").write_text("")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WordNetCorpusReader(str(root), None)


def nltk_words(reader: Any, lemma: str) -> set[str]:
    """One hop by NLTK's own methods; nothing of the code under test."""
    senses = [synset for synset in reader.synsets(lemma, "n") if lemma in map(str.lower, synset.lemma_names())]
    reached = list(senses)
    for synset in senses:
        reached += synset.hypernyms() + synset.hyponyms()
        reached += synset.part_meronyms() + synset.member_meronyms() + synset.substance_meronyms()
        reached += synset.part_holonyms() + synset.member_holonyms() + synset.substance_holonyms()
    return {name.lower().replace("_", " ") for synset in reached for name in synset.lemma_names()} - {lemma}


def test_the_paper_s_23_categories_have_the_words_of_a_walk_by_nltk(nltk_wordnet: Any, extract: WordNet) -> None:
    assert len(PAPER_CATEGORIES) == 15 + 5 + 3
    full = open_wordnet("debian")
    for category in PAPER_CATEGORIES:
        expected = nltk_words(nltk_wordnet, OBJECTS[category])
        assert expected, category
        for source in (full, extract):
            assert set(source.words(OBJECTS[category])) == expected, category


def test_senses_and_base_forms_are_nltk_s(nltk_wordnet: Any) -> None:
    full = open_wordnet("debian")
    for lemma in (*COVERED, "cat", "table", "set", "head"):
        senses = full.senses(lemma)
        synsets = [s for s in nltk_wordnet.synsets(lemma, "n") if lemma in map(str.lower, s.lemma_names())]
        assert [sense.name for sense in senses] == [f"{lemma}.n.{k:02d}" for k in range(1, len(synsets) + 1)]
        for sense, synset in zip(senses, synsets, strict=True):
            assert sense.gloss.startswith(synset.definition().partition(";")[0])
            assert set(sense.words) == {n.lower().replace("_", " ") for n in synset.lemma_names()} - {lemma}
            # NLTK names a synset after its first word: where that is this lemma, the names agree
            if synset.name().startswith(f"{lemma}.n."):
                assert sense.name == synset.name()
    # exceptions before rules, several rules, an own noun that looks inflected, no noun at all
    words = "glasses pushpins hazelnuts mice oxen bases axes data boxes men women leaves buses wishes ies s zipped"
    for word in words.split():
        assert full._database.base_form(word) == nltk_wordnet.morphy(word, "n"), word


@needs_debian
def test_senses_are_the_same_from_every_source(extract: WordNet) -> None:
    full = open_wordnet("debian")
    for lemma in COVERED:
        senses = full.senses(lemma)
        assert senses == extract.senses(lemma)
        for name in (sense.name for sense in senses if sense.name not in WORDLESS):
            for hops in (1, 2):
                assert extract.words(lemma, hops, senses=[name]) == full.words(lemma, hops, senses=[name])


def test_a_sense_keeps_its_own_words_alone(extract: WordNet) -> None:
    seed, hardware = (set(extract.words("nut", senses=[name])) for name in ("nut.n.01", "nut.n.03"))
    assert "edible nut" in seed
    assert {"wing nut", "lock nut"} & hardware
    assert not seed & hardware
    assert set(extract.words("nut", senses=["nut.n.01", "nut.n.03"])) == seed | hardware
    with pytest.raises(BadInput, match=r"nut\.n\.02: WordNet has no words for it by these relations"):
        extract.words("nut", senses=["nut.n.02"])
    assert extract.words("nut", senses=[s.name for s in extract.senses("nut")]) == extract.words("nut")
    assert extract.words("pushpins", senses=["pushpins.n.1"]) == extract.words("pushpin", senses=["pushpin.n.01"])


def test_each_word_has_one_relation(extract: WordNet) -> None:
    found = extract.relations_of("hazelnut")
    assert tuple(sorted(found)) == extract.words("hazelnut")
    assert {w for w, relation in found.items() if relation == "synonyms"} == set(
        extract.words("hazelnut", relations=["synonyms"])
    )
    assert (found["edible nut"], found["beaked hazelnut"], found["corylus"]) == (
        *("hypernyms", "hyponyms"),
        "member_holonyms",
    )


def test_an_unknown_sense_lists_those_that_there_are(extract: WordNet) -> None:
    known = r"choose of nut\.n\.01 usually large hard-shelled seed; nut\.n\.02 Egyptian goddess of the sky; nut\.n\.03 "
    for name in ("nut.n.08", "hazelnut.n.01"):
        with pytest.raises(BadInput, match=f"{name} is no sense of 'nut' in WordNet .*{known}") as caught:
            extract.words("nut", senses=[name])
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match=r"sense 'nut\.v\.01' must read <noun>\.n\.<number>, for example nut\.n\.02"):
        extract.words("nut", senses=["nut.v.01"])


def test_senses_in_a_configuration_have_one_spelling() -> None:
    config = PromptConfig(senses=("Nut.n.3", "metal nut.n.01", "nut.n.03"))
    assert config.senses == ("metal_nut.n.01", "nut.n.03")
    assert PromptConfig.model_validate(config.model_dump(mode="json")) == config
    for wrong in ("nut", "nut.n.0", "nut.n.x", ".n.01", ""):
        with pytest.raises(ValueError, match="must read <noun>"):
            PromptConfig(senses=(wrong,))


def test_of_several_objects_each_has_its_own_senses(extract: WordNet) -> None:
    senses, objects = ["nut.n.03", "pushpin.n.01", "screw.n.04"], ["nut", "pushpins", "pill", "screw"]
    assert [extract.own_senses(lemma, senses, objects) for lemma in objects] == [
        *(("nut.n.03",), ("pushpin.n.01",)),
        *((), ("screw.n.04",)),
    ]
    with pytest.raises(BadInput, match=r"screw\.n\.04 is a sense of none of the study's objects \(nut, pill, push"):
        extract.own_senses("nut", senses, ["pill", "pushpins"])


def test_nltk_is_not_imported_to_find_its_data(tmp_path: Path) -> None:
    code = (
        "import sys; from goodshot.components.prompts.wordnet import nltk_folders, open_wordnet;"
        "found = nltk_folders(); open_wordnet(); assert 'nltk' not in sys.modules;"
        "import nltk.data; print(found == nltk.data.path)"
    )
    environment = {"NLTK_DATA": f"~/somewhere:{tmp_path}", "HOME": str(tmp_path), "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "True"


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

    from goodshot.components.prompts import wordnet

    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path)
    assert open_wordnet().source == "extract 3.0"
    with pytest.raises(BadInput, match="no WordNet of source 'debian'"):
        open_wordnet("debian")


def test_what_fetch_brings_is_read_as_nltks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extract: WordNet) -> None:
    """An archive in goodshot's own cache, where NLTK would not look."""
    import nltk.data

    from goodshot.components.weights import weight

    expected = extract.words("hazelnut")
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setenv("GOODSHOT_CACHE", str(tmp_path / "cache"))
    shutil.copytree(EXTRACT, tmp_path / "wordnet")
    target = Path(weight("wordnet").files[0].describe())
    target.parent.mkdir(parents=True)
    shutil.make_archive(str(target.with_suffix("")), "zip", tmp_path, "wordnet")
    assert weight("wordnet").path == target
    opened = open_wordnet()
    assert opened.source == "nltk 3.0"
    assert opened.words("hazelnut") == expected
