import pytest

from goodshot.components.data import select_support
from goodshot.components.errors import BadInput

IDS = [f"train/good/{i:03d}.png" for i in range(40)]


def test_supports_of_a_seed_are_nested() -> None:
    largest = select_support(IDS, 40, seed=3)
    assert sorted(largest) == IDS
    assert all(select_support(IDS, k, seed=3) == largest[:k] for k in range(1, 40))


def test_the_order_given_does_not_matter_and_the_seed_does() -> None:
    assert select_support(IDS[::-1], 5, seed=0) == select_support(IDS, 5, seed=0)
    assert len({select_support(IDS, 5, seed=s) for s in range(10)}) == 10


def test_a_support_never_changes() -> None:
    assert select_support(IDS, 3, seed=0) == tuple(f"train/good/{i:03d}.png" for i in (11, 27, 4))


def test_full_is_every_image() -> None:
    assert select_support(IDS[::-1], "full", seed=9) == tuple(IDS)


@pytest.mark.parametrize("shots", [0, -1, 41])
def test_impossible_shots_say_how_many_there_are(shots: int) -> None:
    with pytest.raises(BadInput, match="there are 40 train images"):
        select_support(IDS, shots, seed=0)


def test_listed_ids_are_taken_as_they_are() -> None:
    chosen = (IDS[7], IDS[2])
    assert select_support(IDS, chosen, seed=3) == chosen
    with pytest.raises(BadInput, match=r"no train image train/good/7\.png .* did you mean train/good/0.7\.png"):
        select_support(IDS, ("train/good/7.png",), seed=0)
    with pytest.raises(BadInput, match="each once"):
        select_support(IDS, (IDS[1], IDS[1]), seed=0)


def test_repeated_ids_are_refused() -> None:
    with pytest.raises(BadInput, match="repeated id"):
        select_support([*IDS, IDS[0]], 1, seed=0)
