"""The clean split: a third trains, the rest is tested, and nothing is in both."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodshot.components.data import Sample, read_dataset
from goodshot.components.defects.thirds import split_thirds
from goodshot.components.errors import BadInput
from tests.data.conftest import SHARED


def sample(kind: str, number: int, label: int = 1, split: str = "test", content: str = "") -> Sample:
    image_id = f"{split}/{kind}/{number:03d}.png"
    path = Path("set") / "part" / image_id
    return Sample(image_id, "mvtec_ad", "part", split, kind, label, path, 8, 8, content or image_id)  # type: ignore[arg-type]


COUNTS = st.dictionaries(st.sampled_from(["crack", "cut", "hole", "scratch"]), st.integers(3, 40), min_size=1)


@settings(deadline=None)
@given(counts=COUNTS, good=st.integers(0, 9), seed=st.randoms(use_true_random=False))
def test_a_third_of_each_type_trains_and_nothing_is_in_both(counts: dict[str, int], good: int, seed: object) -> None:
    defective = [sample(kind, i) for kind, n in counts.items() for i in range(n)]
    normal = [sample("good", i, label=0) for i in range(good)] + [sample("good", 0, label=0, split="train")]
    given_in_any_order = [*defective, *normal]
    seed.shuffle(given_in_any_order)  # type: ignore[attr-defined]
    split = split_thirds(given_in_any_order)
    parts = [{s.image_id for s in part} for part in (split.fit, split.validation, split.test, split.good)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == sum(counts.values()) + good
    assert {s.image_id for s in split.train} == parts[0] | parts[1]
    assert [*split.types] == sorted(counts)
    for kind, n in counts.items():
        train, test = ([s.image_id for s in part if s.defect_type == kind] for part in (split.train, split.test))
        assert train == [s.image_id for s in defective if s.defect_type == kind][: n // 3]
        assert len(test) == n - n // 3 > 0
        assert len([s for s in split.validation if s.defect_type == kind]) == (n // 3) // 3
        assert max(train) < min(test)


def test_good_test_images_stay_test_images_and_training_ones_are_in_no_part() -> None:
    samples = [*(sample("cut", i) for i in range(3)), sample("good", 0, 0), sample("good", 1, 0, "train")]
    split = split_thirds(samples)
    assert [s.image_id for s in split.good] == ["test/good/000.png"]
    assert split.validation == ()


@pytest.mark.parametrize(("count", "words"), [(1, "a single image"), (2, "2 images")])
def test_a_type_with_too_few_images_is_refused_unless_it_is_left_out_by_name(count: int, words: str) -> None:
    samples = [*(sample("cut", i) for i in range(6)), *(sample("hole", i) for i in range(count))]
    line = rf"part/test/hole: defect type hole has {words}, .* name it in synthesis.leave_out$"
    with pytest.raises(BadInput, match=line):
        split_thirds(samples)
    # A type that other categories of the study have is no mistake here.
    assert split_thirds(samples, leave_out=["hole", "dent"]).types == ("cut",)


def test_without_defective_images_the_line_names_what_needs_none() -> None:
    with pytest.raises(BadInput, match=r"no defective image .* cutpaste and draem"):
        split_thirds([sample("good", 0, 0)])


def test_a_test_image_that_is_a_training_image_too_is_refused() -> None:
    samples = [sample("cut", 0, content="a"), sample("cut", 1), sample("cut", 2, content="a")]
    with pytest.raises(BadInput, match=r"cut/002.png: is the training image test/cut/000.png too"):
        split_thirds(samples)


@pytest.mark.real
@pytest.mark.parametrize(
    ("category", "parts"), [("pill", (33, 12, 96, 26)), ("bottle", (14, 6, 43, 20))], ids=lambda v: str(v)
)
def test_the_real_categories(shared: Path, category: str, parts: tuple[int, ...]) -> None:
    split = split_thirds(read_dataset("mvtec_ad", SHARED / "mvtec_ad_256", category))
    assert (len(split.fit), len(split.validation), len(split.test), len(split.good)) == parts
