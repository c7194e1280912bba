"""The coreset: the same patches as the plain loop and as anomalib choose, ties and all."""

import numpy as np
import pytest
import torch
from torch import Tensor

from goodshot.components.detectors.coreset import farthest_first, select_coreset


def the_plain_loop(features: Tensor, count: int, first: int) -> list[int]:
    chosen, nearest = [first], torch.full((len(features),), torch.inf)
    while len(chosen) < count:
        nearest = torch.minimum(nearest, torch.linalg.norm(features - features[chosen[-1]], dim=1))
        chosen.append(int(nearest.argmax()))
    return chosen


@pytest.mark.parametrize(("rows", "channels", "count"), [(3000, 64, 300), (2500, 8, 2500), (2100, 3, 900)])
@pytest.mark.parametrize("grid", [None, 4.0])
def test_the_choice_is_the_plain_loops(rows: int, channels: int, count: int, grid: float | None) -> None:
    features = torch.randn(rows, channels, generator=torch.Generator().manual_seed(rows))
    if grid is not None:  # many equal rows, and many equal distances
        features = (features * grid).round() / grid
    assert farthest_first(features, count, 5).tolist() == the_plain_loop(features, count, 5)


def test_small_sets_of_active_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = (torch.randn(600, 6, generator=torch.Generator().manual_seed(0)) * 3).round()
    for name, value in (("ACTIVE", 7), ("ROWS", 50), ("PENDING", 3), ("PAIRS", 11)):
        monkeypatch.setattr(f"goodshot.components.detectors.coreset.{name}", value)
    assert farthest_first(features, 200, 9).tolist() == the_plain_loop(features, 200, 9)


def test_equal_rows_are_chosen_as_the_plain_loop_chooses_them() -> None:
    assert farthest_first(torch.ones(50, 4), 6, 3).tolist() == the_plain_loop(torch.ones(50, 4), 6, 3)


def test_the_coreset_is_anomalibs() -> None:
    from anomalib.models.components import KCenterGreedy

    patches = torch.randn(2600, 40, generator=torch.Generator().manual_seed(1)).square()
    torch.manual_seed(4)
    np.random.seed(4)
    ours = select_coreset(patches, 0.15)
    torch.manual_seed(4)
    np.random.seed(4)
    theirs = KCenterGreedy(patches, 0.15).select_coreset_idxs()
    assert ours.tolist() == [int(index) for index in theirs]
