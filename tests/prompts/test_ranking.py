"""Ranking prompts: arithmetic on an encoder with known vectors, and real photographs with the real one."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from goodshot.components.encoders import build_encoder
from goodshot.components.errors import BadInput
from goodshot.components.prompts import Candidate, PromptConfig, Ranking, candidates, open_wordnet, rank

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CONFIG = PromptConfig()


class Known:
    """An encoder whose texts have the cosine with (1, 0) that the table says, 0.5 for others."""

    name, dim = "known", 2

    def __init__(self, cosines: dict[str, float]) -> None:
        self.cosines = cosines

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        x = torch.tensor([self.cosines.get(text, 0.5) for text in texts], dtype=torch.float32)
        return torch.stack([x, (1 - x**2).sqrt()], dim=1)

    def encode_images(self, images: Tensor) -> Tensor:
        raise NotImplementedError


IMAGE = torch.tensor([[1.0, 0.0]])
ABC = [Candidate("p a", "a"), Candidate("p b", "b"), Candidate("p c", "c")]
KNOWN = Known({"p a": 0.2, "p b": 0.6, "p c": 0.96, "a nut": 0.1, "a photo of a nut": 0.3})


def test_candidates_read_as_the_paper_prints_them() -> None:
    assert candidates("hazelnut", ["cobnut", "edible nut"]) == [
        Candidate("a hazelnut with cobnut", "cobnut"),
        Candidate("a hazelnut with edible nut", "edible nut"),
    ]


def test_without_words_the_naive_prompt_is_the_only_candidate() -> None:
    assert candidates("nut", []) == [Candidate("a photo of a nut", "")]
    # Stage 1 would drop it by either rule.
    for config in (PromptConfig(threshold=2), PromptConfig(threshold=0, keep="nearer")):
        ranking = rank(IMAGE, candidates("nut", []), KNOWN, "nut", config)
        assert [(row.prompt, row.word, row.kept) for row in ranking.rows] == [("a photo of a nut", "", True)]
        assert ranking.best == ranking.worst == ranking.rows[0]
        assert ranking.prompt("best") == ranking.prompt("worst") == ranking.prompt("naive") == "a photo of a nut"
        assert [(line.name, line.rank) for line in ranking.listed(5)] == [("best", 1), ("only word", None)]
        assert Ranking.from_json(ranking.to_json()) == ranking


def test_rows_fall_by_cosine_and_distances_agree() -> None:
    ranking = rank(IMAGE, ABC, KNOWN, "nut", PromptConfig(threshold=0))
    assert [row.word for row in ranking.rows] == ["c", "b", "a"]
    assert [row.cosine for row in ranking.rows] == pytest.approx([0.96, 0.6, 0.2], abs=1e-6)
    expected = (KNOWN.encode_texts(["p c", "p b", "p a"]) - IMAGE).norm(dim=1)
    assert [row.distance for row in ranking.rows] == pytest.approx(expected.tolist(), abs=1e-6)
    assert [ranking.prompt(kind) for kind in ("best", "worst", "only_word", "naive")] == [
        *("p c", "p a"),
        *("a nut", "a photo of a nut"),
    ]
    assert ranking.naive.cosine == pytest.approx(0.3, abs=1e-6)


def test_stage_1_as_printed_drops_what_is_too_near() -> None:
    """‖f − G‖ of "p c" is √(2 − 2·0.96) = 0.28 < 0.5: the printed rule drops the very best match."""
    ranking = rank(IMAGE, ABC, KNOWN, "nut", CONFIG)
    assert [(row.word, row.kept) for row in ranking.rows] == [("c", False), ("b", True), ("a", True)]
    assert (ranking.best.word, ranking.worst.word) == ("b", "a")
    nearer = rank(IMAGE, ABC, KNOWN, "nut", PromptConfig(threshold=1, keep="nearer"))
    assert (nearer.best.word, nearer.worst.word) == ("c", "b")


def test_nothing_kept_names_the_distances_and_the_field() -> None:
    with pytest.raises(BadInput, match=r"\[0\.283, 1\.265\]; change prompt\.threshold or prompt\.keep"):
        rank(IMAGE, ABC, KNOWN, "nut", PromptConfig(threshold=1.5))


def test_ties_take_the_alphabetically_first_whatever_the_order() -> None:
    flat = Known({})
    for order in (ABC, ABC[::-1], ABC + ABC):
        ranking = rank(IMAGE, order, flat, "nut", CONFIG)
        assert [row.word for row in ranking.rows] == ["a", "b", "c"]
        assert ranking.best == ranking.worst == ranking.rows[0]


def test_a_caption_is_a_comparator_that_stage_1_does_not_drop() -> None:
    texts = Known({**KNOWN.cosines, "A long text.": 0.99})
    config = PromptConfig(threshold=1, caption="A long text.")
    ranking, without = (rank(IMAGE, ABC, texts, "nut", c) for c in (config, PromptConfig(threshold=1)))
    assert [row.kept for row in ranking.rows] == [False, False, True]
    assert ranking.caption is not None
    assert ranking.caption.cosine == pytest.approx(0.99, abs=1e-6)
    assert (ranking.prompt("caption"), ranking.prompt("best")) == ("A long text.", "p a")
    assert [line.name for line in ranking.listed(0)] == ["caption", "naive", "best", "only word"]
    assert Ranking.from_json(ranking.to_json()) == ranking
    # Without a caption nothing else moves, and nothing says that there could be one.
    assert ranking.model_copy(update={"caption": None}).to_json() == without.to_json()
    assert "caption" not in without.to_json()
    assert [*without.prompts] == ["best", "only_word", "naive", "worst"]
    with pytest.raises(BadInput, match="no prompt of the kind 'caption'; it has: best, only_word, naive, worst"):
        without.prompt("caption")


def test_several_originals_count_by_their_mean_direction() -> None:
    two = torch.tensor([[0.6, 0.8], [0.6, -0.8]])
    assert rank(two, ABC, KNOWN, "nut", CONFIG).rows[0].cosine == pytest.approx(0.96, abs=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.empty(0, 2), r"\(K ≥ 1, 2\)"),
        (torch.ones(2), r"\(K ≥ 1, 2\)"),
        (torch.ones(1, 3), r"\(K ≥ 1, 2\)"),
        (torch.tensor([[2.0, 0.0]]), "finite unit rows"),
        (torch.tensor([[float("nan"), 0.0]]), "finite unit rows"),
        (torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), "cancel out"),
    ],
)
def test_unusable_embeddings_are_refused(images: Tensor, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        rank(images, ABC, KNOWN, "nut", CONFIG)


def test_no_candidates_and_unknown_kinds_are_refused() -> None:
    with pytest.raises(BadInput, match="no candidate prompts for 'nut'"):
        rank(IMAGE, [], KNOWN, "nut", CONFIG)
    with pytest.raises(BadInput, match="no prompt of the kind 'median'; it has: best"):
        rank(IMAGE, ABC, KNOWN, "nut", CONFIG).prompt("median")  # type: ignore[arg-type]


def test_json_round_trip_is_exact() -> None:
    ranking = rank(IMAGE, ABC, KNOWN, "nut", CONFIG)
    assert Ranking.from_json(ranking.to_json()) == ranking
    with pytest.raises(BadInput, match="not a prompt ranking"):
        Ranking.from_json("{}")


def test_config_is_checked_at_the_door() -> None:
    for wrong in (
        {"template": "a {object}"},
        {"template": "{object} {word} {x}"},
        {"relations": ()},
        {"hops": 0},
        {"caption": ""},
        {"caption": " \n"},
    ):
        with pytest.raises(ValidationError):
            PromptConfig(**wrong)  # type: ignore[arg-type]
    assert PromptConfig(caption="of a block in YAML\n").caption == "of a block in YAML"
    shuffled = PromptConfig(relations=("hyponyms", "synonyms", "hyponyms"))
    assert shuffled == PromptConfig(relations=("synonyms", "hyponyms"))


@pytest.mark.real
def test_real_hazelnuts_rank_their_own_prompts_over_a_carpets() -> None:
    folder = DATA / "hazelnut_toy" / "train" / "good"
    if not folder.is_dir():
        pytest.skip(f"hazelnut_toy is not at {folder.parent}")
    from PIL import Image
    from torchvision.transforms.functional import to_tensor

    encoder = build_encoder("conse-lite0-minilm")
    files = sorted(folder.iterdir())[:5]
    images = torch.stack([to_tensor(Image.open(file).convert("RGB").resize((256, 256))) for file in files])
    embeddings = encoder.encode_images(images)
    words = open_wordnet("embedded").words("hazelnut")
    ranking = rank(embeddings, candidates("hazelnut", words), encoder, "hazelnut", CONFIG)
    carpet = rank(embeddings, candidates("carpet", words), encoder, "carpet", CONFIG)
    assert len(ranking.rows) == 15
    assert all(row.kept and 0.9 < row.distance < 1.35 for row in ranking.rows)
    assert ranking.best.cosine > ranking.naive.cosine > carpet.naive.cosine + 0.05
    assert ranking.best.cosine > ranking.worst.cosine + 0.05
