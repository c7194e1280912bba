"""Eq. 4 and 5: choosing an image set."""

import math

import numpy as np
import pytest

from goodshot.components.errors import BadInput
from goodshot.components.integrator import EMPTY, Trace, choose, similarities


def unit(*angles: float) -> np.ndarray:
    return np.array([[math.cos(a), math.sin(a)] for a in angles], dtype=np.float32)


TEXT = unit(0.0)[0]
TRACE = Trace(np.array([10, 20, 30]), np.stack([unit(0.9, 0.5), unit(0.1, 1.2), unit(0.4, 0.4)]))


def test_similarity_is_the_cosine_of_the_mean_embedding() -> None:
    mean = TRACE.embeddings[:, :2].mean(axis=1)
    expected = mean[:, 0] / np.linalg.norm(mean, axis=1)
    np.testing.assert_allclose(similarities(TRACE, TEXT, 2), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("copies", "iterations", "chosen"), [(1, 30, 20), (1, 10, 10), (2, 30, 30), (2, 20, 20), (1, 29, 20)]
)
def test_choice_is_the_best_up_to_l_for_the_first_copies(copies: int, iterations: int, chosen: int) -> None:
    assert choose(TRACE, TEXT, copies, iterations, "text").iteration == chosen


def test_ties_take_the_earliest() -> None:
    trace = Trace(np.array([1, 2]), np.stack([unit(0.3), unit(0.3)]))
    assert choose(trace, TEXT, 1, 2, "text").iteration == 1


def test_last_ignores_the_text_but_reports_the_similarity() -> None:
    choice = choose(TRACE, TEXT, 1, 30, "last")
    assert choice.iteration == 30
    assert choice.similarity == pytest.approx(math.cos(0.4), rel=1e-6)
    assert math.isnan(choose(TRACE, None, 1, 30, "last").similarity)


def test_growing_a_trace_never_changes_an_earlier_choice() -> None:
    grown = EMPTY
    for iteration, embeddings in zip(TRACE.iterations, TRACE.embeddings, strict=True):
        grown = grown.extended(int(iteration), embeddings)
        assert choose(grown, TEXT, 2, int(iteration), "text") == choose(TRACE, TEXT, 2, int(iteration), "text")


def test_bad_queries() -> None:
    with pytest.raises(BadInput, match="holds 2 samples"):
        similarities(TRACE, TEXT, 3)
    with pytest.raises(BadInput, match="score_every"):
        choose(TRACE, TEXT, 1, 5, "text")
