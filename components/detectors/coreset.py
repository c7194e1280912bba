"""PatchCore's coreset: the same patches as anomalib's k-center-greedy selection, in a fraction of its time.

Greedy selection repeatedly takes the patch farthest from all chosen ones (Roth et al. 2022, §3.2). The plain loop
measures every patch's distance to every chosen one, a pass over all memory for each choice. Here most patches are
updated later: a distance known before some choices is an upper bound after them, so only patches whose bound reaches
the largest distance can be next. The others are updated for many choices at once, by one matrix product that finds the
nearest choice; its distance is then measured as in the plain loop, so that the same patches are chosen, ties included.

Legend: N patches, C channels, K chosen.
"""

import torch
from torch import Tensor

from goodshot.components.heartbeat import beat

# Patches that are updated at every choice; their features (2 MB at 256 channels) stay in a core's cache.
ACTIVE = 2048
# Patches updated later at a time, and the most choices they are updated for at once: 32 MB of distances.
ROWS, PENDING = 4096, 2048
# Distances measured at a time: a patch's nearest choice and all choices equally near within the slack.
PAIRS = 1 << 16
# Relative to the squared norms; well above the rounding of a matrix product in float32.
SLACK = 1e-5


def select_coreset(patches: Tensor, ratio: float) -> Tensor:
    """Return the chosen rows of `patches`, float32 (N, C): int64 (K,), K = ⌊ratio · N⌋, in the order of choice.

    Distances are those after anomalib's sparse random projection. The projection and the first patch are drawn from
    torch's and numpy's global random states, in the order in which anomalib draws them: seed both before.
    """
    from anomalib.models.components.dimensionality_reduction import SparseRandomProjection

    projection = SparseRandomProjection(eps=0.9)
    projection.fit(patches)
    features = projection.transform(patches)
    first = torch.randint(len(features), (1,), device=features.device)
    return farthest_first(features, int(len(features) * ratio), int(first))


def farthest_first(features: Tensor, count: int, first: int) -> Tensor:
    """Choose `count` rows of `features` (N, C), each the farthest from those before it; of equal ones, the first."""
    chosen = [first]
    distances = torch.linalg.norm(features - features[first], dim=1)
    norms = features.square().sum(1)
    while len(chosen) < count:
        beat()
        # Rows whose distance ties with the last one are included: among equal distances the first row has to win.
        least = distances.topk(min(ACTIVE, len(distances))).values[-1]
        active = distances >= least
        new = _choose(features, distances, active.nonzero().squeeze(1), least, min(count - len(chosen), PENDING))
        chosen += new
        if len(chosen) < count:
            waiting = (~active).nonzero().squeeze(1)
            centers = torch.tensor(new, device=features.device)
            for rows in torch.split(waiting, ROWS):
                distances[rows] = _caught_up(distances[rows], features[rows], norms[rows], features[centers])
    return torch.tensor(chosen, device=features.device)


def _choose(features: Tensor, distances: Tensor, rows: Tensor, least: Tensor, count: int) -> list[int]:
    """Choose at most `count` of `rows` while the farthest patch is among them, and write their distances back."""
    own, nearest = features[rows], distances[rows]
    difference = torch.empty_like(own)
    chosen: list[int] = []
    while len(chosen) < count:
        distance, at = nearest.max(0)
        if distance < least:
            break
        chosen.append(int(rows[at]))
        torch.sub(own, own[at], out=difference)
        torch.minimum(nearest, torch.linalg.norm(difference, dim=1), out=nearest)
        nearest[at] = 0
    distances[rows] = nearest
    return chosen


def _caught_up(distances: Tensor, features: Tensor, norms: Tensor, centers: Tensor) -> Tensor:
    """The rows' distances, updated for the choices `centers`."""
    center_norms = centers.square().sum(1)
    squared = torch.addmm(center_norms.expand(len(features), -1), features, centers.T, alpha=-2).add_(norms[:, None])
    slack = SLACK * (norms + center_norms.max())
    limit = torch.minimum(squared.amin(1), distances.square()) + slack
    row, center = (squared <= limit[:, None]).nonzero(as_tuple=True)
    for r, c in zip(torch.split(row, PAIRS), torch.split(center, PAIRS), strict=True):
        distances = distances.scatter_reduce(0, r, torch.linalg.norm(features[r] - centers[c], dim=1), "amin")
    return distances
