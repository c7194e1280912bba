"""Words around an object: against a walk of WordNet's own files, and from every source alike."""

import pickle
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from goodshot.components.errors import BadInput
from goodshot.components.prompts import (
    PromptConfig,
    UnknownWord,
    WordNet,
    known_objects,
    note_on,
    object_for,
    open_wordnet,
    words_of,
)
from goodshot.components.prompts.database import EMBEDDED, Database, NounIndex
from goodshot.components.prompts.embed import NOUN_FILES, write_archive
from goodshot.components.prompts.wordnet import DEBIAN, Relation

OBJECTS = known_objects()
NOUNS = sorted(set(OBJECTS.values()))
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
def embedded() -> WordNet:
    return open_wordnet("embedded")


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded database as a folder named wordnet."""
    folder = tmp_path_factory.mktemp("unpacked")
    shutil.unpack_archive(EMBEDDED.parent, folder)
    return folder / "wordnet"


# A goddess is an instance, and has no other name.
WORDLESS = {"nut.n.02"}


class Files:
    """The database files, read by hand: no NLTK, none of the code under test."""

    def __init__(self, root: Path) -> None:
        self.data = (root / "data.noun").read_bytes()
        rows = (root / "index.noun").read_text(encoding="utf-8").splitlines()
        self.index = {row.split(" ")[0]: row.split() for row in rows if not row.startswith(" ")}

    def senses(self, lemma: str) -> list[int]:
        row = self.index[lemma]
        return [int(address) for address in row[-int(row[2]) :]]

    def line(self, address: int) -> list[str]:
        return self.data[address : self.data.index(b"\n", address)].decode().split("|")[0].split()

    def words(self, address: int) -> set[str]:
        fields = self.line(address)
        return {word.lower().replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]}

    def related(self, address: int, symbols: set[str]) -> set[int]:
        fields = self.line(address)
        return {
            int(to)
            for symbol, to, pos in zip(fields, fields[1:], fields[2:], strict=False)
            if symbol in symbols and pos == "n"
        }

    def walk(self, lemma: str, symbols: set[str], hops: int = 1) -> set[str]:
        """The words within so many hops."""
        reached = set(self.senses(lemma))
        for _ in range(hops):
            reached |= {to for address in reached for to in self.related(address, symbols)}
        return {word for address in reached for word in self.words(address)} - {lemma.replace("_", " ")}


@pytest.fixture(scope="session")
def files(unpacked: Path) -> Files:
    return Files(unpacked)


EVERY = set(POINTERS.values())


@pytest.mark.parametrize("lemma", [*NOUNS, "cat", "cookie", "bracket"])
def test_words_equal_a_walk_of_the_files(lemma: str, embedded: WordNet, files: Files) -> None:
    lemma = lemma.replace(" ", "_")
    for hops in (1, 2):
        assert set(embedded.words(lemma, hops)) == files.walk(lemma, EVERY, hops)


@pytest.mark.parametrize("relation", POINTERS)
def test_each_relation_alone(relation: Relation, embedded: WordNet, files: Files) -> None:
    own = files.walk("wood", set())
    expected = files.walk("wood", {POINTERS[relation]}) - own
    found = set(embedded.words("wood", relations=[relation]))
    assert expected <= found <= expected | own
    assert set(embedded.words("wood", relations=["synonyms"])) == own


def test_no_relation_leads_to_another_part_of_speech(files: Files) -> None:
    """So that the embedded database needs nouns alone."""
    pointer = rb" (?:@|~|[#%][pms]) \d{8} "
    assert len(re.findall(pointer + b"n", files.data)) == len(re.findall(pointer, files.data)) > 190_000


def test_hazelnut_by_hand(embedded: WordNet) -> None:
    words = embedded.words("hazelnut")
    assert (len(words), list(words)) == (15, sorted(words))
    assert {"cobnut", "filbert", "corylus", "edible nut", "nut tree"} <= set(words)
    assert len(embedded.words("pill")) == 48
    assert set(words) < set(embedded.words("hazelnut", hops=2))
    assert set(embedded.words("hazelnut", relations=["synonyms"])) == {
        "hazel",
        "hazelnut tree",
        "cob",
        "cobnut",
        "filbert",
    }


def test_the_archive_is_written_alike_from_the_same_source(unpacked: Path, tmp_path: Path) -> None:
    for name in NOUN_FILES:  # the beginnings, as compressing all of them takes a minute
        lines = (unpacked / name).read_text().splitlines(keepends=True)
        (tmp_path / name).write_text("".join(lines[:50]))
    for name in ("a.zip", "b.zip"):
        write_archive(tmp_path, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert (tmp_path / "a.LICENSE").read_bytes() == EMBEDDED.parent.with_suffix(".LICENSE").read_bytes()
    shutil.unpack_archive(tmp_path / "a.zip", tmp_path / "again")
    for path in unpacked.iterdir():
        source = tmp_path if path.name in NOUN_FILES else unpacked
        assert (tmp_path / "again" / "wordnet" / path.name).read_bytes() == (source / path.name).read_bytes()
    (tmp_path / "data.noun").write_text("00001740 03 n 01 entity 0 000 | that which exists\n")
    with pytest.raises(SystemExit, match="does not begin with WordNet 3"):
        write_archive(tmp_path, tmp_path / "c.zip")


@needs_debian
def test_the_embedded_nouns_are_debian_s(unpacked: Path) -> None:
    for name in NOUN_FILES:
        assert (unpacked / name).read_bytes() == (DEBIAN / name).read_bytes()


def test_every_category_has_words(embedded: WordNet) -> None:
    assert len(OBJECTS) == 15 + 5 + 3 + 6
    for category in OBJECTS:
        assert embedded.words(object_for(category)), category


def test_object_names() -> None:
    assert object_for("metal_nut") == "nut"
    assert object_for("my_widget") == "my widget"
    assert object_for("01", {"01": "flange"}) == "flange"
    for category, overrides in (("", {}), ("pill", {"pill": " "}), ("pill", {"pill": ""})):
        with pytest.raises(BadInput, match="empty object name"):
            object_for(category, overrides)


def test_an_inflected_name_counts_as_its_base_form(embedded: WordNet) -> None:
    assert embedded.words("Pushpins") == embedded.words("pushpin")


def test_refusals(embedded: WordNet) -> None:
    with pytest.raises(BadInput, match="hops must be ≥ 1"):
        embedded.words("pill", hops=0)
    with pytest.raises(BadInput, match="relations among synonyms"):
        embedded.words("pill", relations=["antonyms"])  # type: ignore[list-item]
    with pytest.raises(BadInput, match="unknown WordNet source"):
        open_wordnet("princeton")  # type: ignore[arg-type]


def test_an_unknown_word_names_the_nearest(embedded: WordNet) -> None:
    with pytest.raises(
        UnknownWord, match=r"'hazlnut' is no noun in WordNet .*nearest: hazelnut.*--object.*--no-words"
    ) as caught:
        embedded.words("hazlnut")
    assert len(str(caught.value).splitlines()) == 1
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (str(again), again.nearest) == (str(caught.value), caught.value.nearest)
    # Nouns of the name itself come first.
    with pytest.raises(UnknownWord, match="nearest: pipe,"):
        embedded.words("pipe fryum")


CATEGORY_NOUNS = {
    # VisA
    "candle": "candle",
    "capsules": "capsule",
    "cashew": "cashew",
    "chewinggum": None,
    "fryum": None,
    "macaroni1": "macaroni",
    "pcb4": None,
    "pipe_fryum": None,
    # MPDD, where a colour ends the name of three categories
    "bracket_black": "black",
    "connector": "connector",
    "metal_plate": "plate",
    "tubes": "tube",
    # Magnetic Tile, KolektorSDD, DAGM
    "Magnetic Tile": "tile",
    "commutator": "commutator",
    "Class1": "class",
    # and what people type
    "aluminium hex nut": "hex_nut",
    "hex-nut": "hex_nut",
    "pill bottle": "pill_bottle",
    "ceramic capacitors": "capacitor",
    "bottle_lot2": "bottle",
    "bottle 12 b": "bottle",
    "t-shirt": "t-shirt",
    "pcb 1": None,
    "PCB1": None,
    "a1": None,
    "07": None,
    "- -": None,
}


@pytest.mark.parametrize(("category", "noun"), CATEGORY_NOUNS.items())
def test_a_name_that_is_no_noun_has_the_words_of_its_head_noun(
    category: str, noun: str | None, embedded: WordNet
) -> None:
    name = object_for(category)
    assert embedded.noun_of(name) == embedded.noun_of(category) == noun
    is_whole = noun is not None and name.lower().rstrip("s").replace(" ", "_") == noun
    assert embedded.head_of(name) == (None if is_whole else noun)
    note = note_on(name, PromptConfig(), embedded)
    if noun is None or is_whole:
        assert not note
    else:
        assert note.startswith(f"{name}: not in WordNet, so its words are those of {noun.replace('_', ' ')}; ")
        assert set(embedded.words(name)) == set(embedded.words(noun)) - {name.lower()}


def test_senses_of_the_head_noun_are_the_object_s(embedded: WordNet) -> None:
    first = embedded.words("tile", senses=["tile.n.01"])
    assert embedded.senses("magnetic tile") == embedded.senses("tile")
    config = PromptConfig(senses=("tile.n.01", "coin.n.01"))
    assert words_of("magnetic tile", config, embedded, ["coin"]) == first != embedded.words("tile")
    with pytest.raises(BadInput, match=r"nut\.n\.01 is a sense of none of the study's objects \(coin, magnetic tile\)"):
        embedded.own_senses("magnetic tile", ["nut.n.01"], ["coin"])


def test_an_unknown_object_has_no_words_only_where_that_is_asked_for(embedded: WordNet) -> None:
    asked = PromptConfig(naive_if_unknown=True)
    assert words_of("fryum", asked, embedded, ["fryum", "coin"]) == ()
    assert note_on("fryum", asked, embedded) == "fryum: not in WordNet, so its only prompt is “a photo of a fryum”"
    assert words_of("coin", asked, embedded, ["fryum", "coin"]) == embedded.words("coin")
    assert words_of("magnetic tile", asked, embedded, ["magnetic tile"])
    with pytest.raises(UnknownWord):
        words_of("fryum", PromptConfig(), embedded, ["fryum"])
    # A noun without words by the configured relations is another mistake.
    none = PromptConfig(naive_if_unknown=True, relations=("substance_holonyms",))
    with pytest.raises(BadInput, match=r"'hazelnut' has no words by prompt\.relations"):
        words_of("hazelnut", none, embedded, ["hazelnut"])


def test_the_source_s_earlier_name_is_still_read() -> None:
    assert PromptConfig.model_validate({"wordnet": "extract"}) == PromptConfig(wordnet="embedded")
    with pytest.raises(ValueError, match="'auto', 'nltk', 'debian' or 'embedded'"):
        PromptConfig.model_validate({"wordnet": "princeton"})


PAPER_CATEGORIES = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile"),
    *("toothbrush", "transistor", "wood", "zipper"),
    *("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"),
    *("01", "02", "03"),
)


@pytest.fixture(scope="module")
def nltk_wordnet(unpacked: Path) -> Any:
    """NLTK's own reader, unchanged, on the embedded files."""
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    root = Path(shutil.copytree(unpacked, unpacked.parent / "corpora" / "wordnet"))
    # NLTK reads no file that others may write, and needs one more for its mapping to other languages.
    (root / "index.sense").write_text("")
    for path in root.iterdir():
        path.chmod(0o600)
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        patched.setattr(nltk.data, "path", [str(unpacked.parent)])
        warnings.simplefilter("ignore")
        yield WordNetCorpusReader(str(root), None)


def nltk_words(reader: Any, lemma: str) -> set[str]:
    """One hop by NLTK's own methods; nothing of the code under test."""
    senses = [synset for synset in reader.synsets(lemma, "n") if lemma in map(str.lower, synset.lemma_names())]
    reached = list(senses)
    for synset in senses:
        reached += synset.hypernyms() + synset.hyponyms()
        reached += synset.part_meronyms() + synset.member_meronyms() + synset.substance_meronyms()
        reached += synset.part_holonyms() + synset.member_holonyms() + synset.substance_holonyms()
    return {name.lower().replace("_", " ") for synset in reached for name in synset.lemma_names()} - {lemma}


def test_the_paper_s_23_categories_have_the_words_of_a_walk_by_nltk(nltk_wordnet: Any, embedded: WordNet) -> None:
    assert len(PAPER_CATEGORIES) == 15 + 5 + 3
    for category in PAPER_CATEGORIES:
        expected = nltk_words(nltk_wordnet, OBJECTS[category])
        assert expected, category
        assert set(embedded.words(OBJECTS[category])) == expected, category


def test_senses_and_base_forms_are_nltk_s(nltk_wordnet: Any, embedded: WordNet) -> None:
    for lemma in (*NOUNS, "cat", "table", "set", "head"):
        senses = embedded.senses(lemma)
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
        assert embedded._database.base_form(word) == nltk_wordnet.morphy(word, "n"), word


def test_the_index_is_read_as_nltk_reads_it(nltk_wordnet: Any, embedded: WordNet) -> None:
    reader = embedded._database.reader
    own, expected = reader._lemma_pos_offset_map, nltk_wordnet._lemma_pos_offset_map
    assert isinstance(own, NounIndex)
    assert list(own) == list(expected) == embedded._database.lemmas()
    for lemma in list(expected)[::97]:
        assert own[lemma] == expected[lemma]
        assert [str(s) for s in reader.synsets(lemma, "n")] == [str(s) for s in nltk_wordnet.synsets(lemma, "n")]
    assert "hazlnut" not in own
    assert reader._exception_map["n"] == nltk_wordnet._exception_map["n"]


def test_the_files_are_read_though_the_group_may_write_them(unpacked: Path, tmp_path: Path) -> None:
    """As after a clone with the mask 002, which many systems set."""
    root = Path(shutil.copytree(unpacked, tmp_path / "wordnet"))
    for path in root.iterdir():
        path.chmod(0o664)
    assert Database(root).base_form("coins") == "coin"


@needs_debian
def test_senses_are_the_same_from_every_source(embedded: WordNet) -> None:
    full = open_wordnet("debian")
    for lemma in NOUNS:
        senses = full.senses(lemma)
        assert senses == embedded.senses(lemma)
        for name in (sense.name for sense in senses if sense.name not in WORDLESS):
            for hops in (1, 2):
                assert embedded.words(lemma, hops, senses=[name]) == full.words(lemma, hops, senses=[name])


def test_a_sense_keeps_its_own_words_alone(embedded: WordNet) -> None:
    seed, hardware = (set(embedded.words("nut", senses=[name])) for name in ("nut.n.01", "nut.n.03"))
    assert "edible nut" in seed
    assert {"wing nut", "lock nut"} & hardware
    assert not seed & hardware
    assert set(embedded.words("nut", senses=["nut.n.01", "nut.n.03"])) == seed | hardware
    with pytest.raises(BadInput, match=r"nut\.n\.02: WordNet has no words for it by these relations"):
        embedded.words("nut", senses=["nut.n.02"])
    assert embedded.words("nut", senses=[s.name for s in embedded.senses("nut")]) == embedded.words("nut")
    assert embedded.words("pushpins", senses=["pushpins.n.1"]) == embedded.words("pushpin", senses=["pushpin.n.01"])


def test_each_word_has_one_relation(embedded: WordNet) -> None:
    found = embedded.relations_of("hazelnut")
    assert tuple(sorted(found)) == embedded.words("hazelnut")
    assert {w for w, relation in found.items() if relation == "synonyms"} == set(
        embedded.words("hazelnut", relations=["synonyms"])
    )
    assert (found["edible nut"], found["beaked hazelnut"], found["corylus"]) == (
        *("hypernyms", "hyponyms"),
        "member_holonyms",
    )


def test_an_unknown_sense_lists_those_that_there_are(embedded: WordNet) -> None:
    known = r"choose of nut\.n\.01 usually large hard-shelled seed; nut\.n\.02 Egyptian goddess of the sky; nut\.n\.03 "
    for name in ("nut.n.08", "hazelnut.n.01"):
        with pytest.raises(BadInput, match=f"{name} is no sense of 'nut' in WordNet .*{known}") as caught:
            embedded.words("nut", senses=[name])
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match=r"sense 'nut\.v\.01' must read <noun>\.n\.<number>, for example nut\.n\.02"):
        embedded.words("nut", senses=["nut.v.01"])


def test_senses_in_a_configuration_have_one_spelling() -> None:
    config = PromptConfig(senses=("Nut.n.3", "metal nut.n.01", "nut.n.03"))
    assert config.senses == ("metal_nut.n.01", "nut.n.03")
    assert PromptConfig.model_validate(config.model_dump(mode="json")) == config
    for wrong in ("nut", "nut.n.0", "nut.n.x", ".n.01", ""):
        with pytest.raises(ValueError, match="must read <noun>"):
            PromptConfig(senses=(wrong,))


def test_of_several_objects_each_has_its_own_senses(embedded: WordNet) -> None:
    senses, objects = ["nut.n.03", "pushpin.n.01", "screw.n.04"], ["nut", "pushpins", "pill", "screw"]
    assert [embedded.own_senses(lemma, senses, objects) for lemma in objects] == [
        *(("nut.n.03",), ("pushpin.n.01",)),
        *((), ("screw.n.04",)),
    ]
    with pytest.raises(BadInput, match=r"screw\.n\.04 is a sense of none of the study's objects \(nut, pill, push"):
        embedded.own_senses("nut", senses, ["pill", "pushpins"])


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
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: WordNet, unpacked: Path
) -> None:
    import nltk.data

    expected = embedded.words("hazelnut")
    path: list[Any] = [str(tmp_path)]
    monkeypatch.setattr(nltk.data, "path", path)
    with pytest.raises(BadInput, match=r"no WordNet of source 'nltk' in nltk\.data\.path"):
        open_wordnet("nltk")
    if zipped:
        (tmp_path / "corpora").mkdir()
        shutil.copy(EMBEDDED.parent, tmp_path / "corpora" / "wordnet.zip")
    else:
        shutil.copytree(unpacked, tmp_path / "corpora" / "wordnet")
    for source in ("auto", "nltk"):
        opened = open_wordnet(source)  # type: ignore[arg-type]
        assert opened.source == "nltk 3.0"
        assert opened.words("hazelnut") == expected


def test_without_any_other_the_embedded_one_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk.data

    from goodshot.components.prompts import wordnet

    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path)
    assert open_wordnet().source == "embedded 3.0"
    with pytest.raises(BadInput, match="no WordNet of source 'debian'"):
        open_wordnet("debian")


def test_what_fetch_brings_is_read_as_nltks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: WordNet) -> None:
    """An archive in goodshot's own cache, where NLTK would not look."""
    import nltk.data

    from goodshot.components.weights import weight

    expected = embedded.words("hazelnut")
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setenv("GOODSHOT_CACHE", str(tmp_path / "cache"))
    target = Path(weight("wordnet").files[0].describe())
    target.parent.mkdir(parents=True)
    shutil.copy(EMBEDDED.parent, target)
    assert weight("wordnet").path == target
    opened = open_wordnet()
    assert opened.source == "nltk 3.0"
    assert opened.words("hazelnut") == expected
