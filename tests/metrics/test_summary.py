import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from goodshot.components.metrics.declared import METRICS
from goodshot.components.metrics.summary import PairedDifference, mean_std, paired_difference

AUROC = st.floats(0, 1)


def test_mean_std_is_the_sample_deviation() -> None:
    assert mean_std([0.7, 0.8, 0.9]) == pytest.approx((0.8, 0.1))
    mean, std = mean_std([0.7])
    assert mean == 0.7
    assert math.isnan(std)
    assert all(math.isnan(value) for value in mean_std([]))


@given(st.lists(st.tuples(AUROC, AUROC), min_size=3, max_size=20))
def test_the_interval_is_the_paired_t_tests(pairs: list[tuple[float, float]]) -> None:
    a, b = (dict(enumerate(column)) for column in zip(*pairs, strict=True))
    difference = paired_difference(a, b)
    if np.ptp([x - y for x, y in pairs]) < 1e-6:  # the test statistic is 0/0 there
        return
    expected = ttest_rel(list(a.values()), list(b.values())).confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert difference.wins + difference.losses + difference.ties == difference.n == len(pairs)


def test_only_common_seeds_are_paired() -> None:
    difference = paired_difference({0: 0.9, 1: 0.8, 2: 0.7, 5: 0.1}, {2: 0.7, 1: 0.9, 0: 0.7, 9: 1.0})
    assert (difference.n, difference.wins, difference.losses, difference.ties) == (3, 1, 1, 1)
    assert difference.mean == pytest.approx(0.1 / 3)


def test_one_seed_has_no_interval_and_none_has_no_mean() -> None:
    one = paired_difference({0: 0.9}, {0: 0.8})
    assert one.mean == pytest.approx(0.1)
    assert all(math.isnan(value) for value in (one.std, one.low, one.high))
    none = paired_difference({0: 0.9}, {1: 0.8})
    assert none.n == 0
    assert math.isnan(none.mean)


def test_an_undefined_value_is_not_dropped() -> None:
    difference = paired_difference({0: 0.9, 1: math.nan, 2: 0.8}, {0: 0.8, 1: 0.7, 2: 0.8})
    assert math.isnan(difference.mean)
    assert (difference.n, difference.wins, difference.losses, difference.ties) == (3, 1, 0, 1)


def shifted(by: float, spread: float, n: int = 14) -> PairedDifference:
    """The difference of two arms over n seeds: on average `by`, half of the seeds `spread` above it, half below."""
    return paired_difference({i: by + spread * (-1) ** i for i in range(n)}, dict.fromkeys(range(n), 0.0))


@pytest.mark.parametrize(
    ("by", "spread", "said"),
    [
        (0.02, 0.01, "gain"),
        (0.0, 0.01, "no harm"),
        (-0.004, 0.001, "no harm"),
        (0.0, 0.0, "no harm"),
        (0.0, 0.05, "open"),
        (-0.012, 0.02, "harm"),
        (-0.1, 0.01, "harm"),
        (math.nan, 0.01, "open"),
    ],
)
def test_the_verdict_is_read_off_the_interval(by: float, spread: float, said: str) -> None:
    assert shifted(by, spread).verdict == said


def test_nothing_is_claimed_of_fewer_than_fourteen_pairs() -> None:
    assert {shifted(by, 0.001, n=13).verdict for by in (0.1, 0.0, -0.1)} == {"open"}
    assert [shifted(by, 0.001, n=14).verdict for by in (0.1, 0.0, -0.1)] == ["gain", "no harm", "harm"]


def test_no_metric_is_declared_twice() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
