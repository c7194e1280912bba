"""Metrics of anomaly maps, exact and within bounded memory.

All values depend only on the distinct scores of marked pixels: how many of them, with what weight, and how many
normal pixels lie above and at each. Scores are therefore processed in blocks of a bounded number of pixels, from the
largest down; a block is a range of scores, found by counting the 16 high bits of each score. Every block takes one
pass over the maps, which may lie on disk.

T images, h × w a map's size, G kinds of images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.metrics.ranking import Counts, Ranking
from goodshot.components.metrics.regions import OverlapCurve, Weights

Maps = NDArray[Any] | Sequence[NDArray[Any]]
"""(T, h, w), possibly memory-mapped, or T arrays (h, w). float32 and float16 use bounded memory; other types are exact
too, but sorted as a whole."""
Masks = NDArray[Any] | Sequence[NDArray[Any]]

BLOCK = 1 << 24
"""Maximum cost of a block, where a normal pixel counts 1: about 300 MB with all arrays derived from it."""
_MARKED = 8
"""The cost of a marked pixel, which has counts and weights besides its score."""
_BUCKETS = 1 << 16


class Pixels:
    """Checked maps and masks, with statistics gathered in one pass.

    masks: bool or 0 and 1, (T, h, w) or T of (h, w). kinds: (T,), 0 for good images and 1 … G − 1 for others.

    Raises:
        BadInput: sizes differ, or a mask holds other values.
        GoodshotError: a score is not finite.
    """

    def __init__(self, maps: Maps, masks: Masks, kinds: Sequence[int] | NDArray[Any] | None = None) -> None:
        shapes = [getattr(a, "shape", None) or (len(a), *(a[0].shape if len(a) else ())) for a in (maps, masks)]
        if shapes[0] != shapes[1] or len(shapes[0]) != 3:
            raise BadInput(f"maps {shapes[0]} and masks {shapes[1]} must both be (T, h, w) of the same size")
        self._maps, self._masks = maps, masks
        self.kinds = np.zeros(len(maps), np.intp) if kinds is None else np.asarray(kinds)
        types = {m.dtype for m in ([maps] if isinstance(maps, np.ndarray) else maps)}
        self.exact: type[np.floating[Any]] = (
            np.float32 if all(t in (np.float16, np.float32) for t in types) else np.float64
        )
        self.marked = np.zeros(len(maps), np.int64)
        self.normal = np.zeros(len(maps), np.int64)
        self.low, self.high = np.zeros((2, len(maps)))
        bad = 0
        for i in range(len(maps)):
            scores, mask = self.map(i), self.mask(i)
            if scores.shape != shapes[0][1:] or mask.shape != scores.shape:
                raise BadInput(f"map {scores.shape} and mask {mask.shape} of image {i} must be {shapes[0][1:]}")
            self.marked[i] = np.count_nonzero(mask)
            self.normal[i] = mask.size - self.marked[i]
            self.low[i], self.high[i] = (scores.min(), scores.max()) if scores.size else (0, 0)
            if not np.isfinite([self.low[i], self.high[i]]).all():
                bad += int((~np.isfinite(scores)).sum())
        if bad:
            raise GoodshotError(f"anomaly maps hold {bad} non-finite values")

    def __len__(self) -> int:
        return len(self._maps)

    def map(self, i: int) -> NDArray[Any]:
        """The scores (h, w) of image i."""
        return np.asarray(self._maps[i]).astype(self.exact, copy=False)

    def mask(self, i: int) -> NDArray[np.bool_]:
        """The mask (h, w) of image i."""
        mask = np.asarray(self._masks[i])
        if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
            raise BadInput("labels and masks must be bool, or 0 and 1")
        return mask.astype(bool, copy=False)


@dataclass
class Subset:
    """The measured values of some kinds of images together."""

    ranking: Ranking
    curves: tuple[OverlapCurve, ...] = ()

    @classmethod
    def empty(cls, *limits: Sequence[float]) -> "Subset":
        """A subset without any defined value, with a curve for each non-empty `limits`."""
        return cls(Ranking(0, 0), tuple(OverlapCurve(0, 0, of_curve) for of_curve in limits if of_curve))


@dataclass(frozen=True)
class Overlaps:
    """The weights of the marked pixels of T images, None for an image without any; and the limits of their curve."""

    weights: Sequence[Weights | None]
    limits: tuple[float, ...]


def measure(pixels: Pixels, overlaps: Sequence[Overlaps] = (), block: int = BLOCK) -> list[Subset]:
    """Return G subsets: first of all images, then of each kind g ≥ 1 together with the good images.

    If there is only one kind besides the good images, it equals all of them and is not measured twice.
    """
    kinds = range(int(pixels.kinds.max(initial=0)) + 1)
    members = [list(kinds), *([0, g] for g in kinds[1:])][: 1 if len(kinds) == 2 else None]
    subsets = [_subset(pixels, overlaps, np.isin(pixels.kinds, m)) for m in members]
    seen = np.zeros(len(kinds), np.int64)
    for scores_in in _blocks(pixels, block):
        content = _Block.read(pixels, overlaps, scores_in, len(kinds))
        good = everything = np.zeros((2, len(content.scores)), np.int64)
        for g in kinds:
            own = content.normals(g, int(seen[g]))
            seen[g] += content.counts[g]
            everything = everything + own
            if g == 0:
                good = own
            elif len(members) > 1:
                content.add_to(subsets[g], (0, g), *(good + own))
        content.add_to(subsets[0], kinds, *everything)
    return [*subsets, *subsets[:1]] if len(kinds) == 2 else subsets


def _subset(pixels: Pixels, overlaps: Sequence[Overlaps], images: NDArray[np.bool_]) -> Subset:
    marked, normal = int(pixels.marked[images].sum()), int(pixels.normal[images].sum())
    regions = [sum(w.regions for w, here in zip(o.weights, images, strict=True) if w and here) for o in overlaps]
    curves = (OverlapCurve(n, normal, o.limits) for n, o in zip(regions, overlaps, strict=True))
    return Subset(Ranking(marked, normal), tuple(curves))


@dataclass(frozen=True)
class _Range:
    """The scores in [low, high). With `one_bucket`, any number of pixels but at most 2¹⁶ scores."""

    low: Any
    high: Any
    one_bucket: bool = False

    def of(self, scores: NDArray[Any], low: float, high: float) -> NDArray[np.bool_] | None:
        """The mask of `scores` in the range, given that they lie between `low` and `high`; None if all are in it."""
        if self.low <= low and high < self.high:
            return None
        inside: NDArray[np.bool_] = (scores >= self.low) & (scores < self.high)
        return inside


def _blocks(pixels: Pixels, block: int) -> Iterator[_Range]:
    """Ranges of scores, from the largest down, that cost at most `block` or are a single bucket."""
    cost = int(pixels.normal.sum() + _MARKED * pixels.marked.sum())
    if cost <= block or pixels.exact is not np.float32:
        yield _Range(-np.inf, np.inf)
        return
    costs = np.zeros(_BUCKETS, np.int64)
    for i in range(len(pixels)):
        scores = pixels.map(i)
        costs += np.bincount(_key(scores.ravel()) >> 16, minlength=_BUCKETS)
        if pixels.marked[i]:
            costs += (_MARKED - 1) * np.bincount(_key(scores[pixels.mask(i)]) >> 16, minlength=_BUCKETS)
    chosen: list[int] = []
    for bucket in np.flatnonzero(costs)[::-1].tolist():
        if chosen and costs[chosen].sum() + costs[bucket] > block:
            yield _range(chosen, costs, block)
            chosen = []
        chosen.append(bucket)
    yield _range(chosen, costs, block)


def _range(buckets: list[int], costs: Counts, block: int) -> _Range:
    low, high = _score(np.array([buckets[-1], buckets[0] + 1], np.int64) << 16)
    return _Range(low, high, bool(costs[buckets].sum() > block))


def _key(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Whole numbers in [0, 2³²) in the order of the scores. −0 and 0, which are equal, get the same number."""
    bits = (scores + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.int64)


def _score(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """The inverse of `_key`."""
    bits = keys.astype(np.uint32)
    return np.where(bits >> 31, bits & np.uint32((1 << 31) - 1), ~bits).view(np.float32)


@dataclass(frozen=True)
class _Sorted:
    """Sorted scores; with `ends`, distinct scores and the number of scores up to and including each."""

    scores: NDArray[Any]
    ends: Counts | None = None

    @property
    def total(self) -> int:
        return len(self.scores) if self.ends is None else int(self.ends[-1:].sum())

    def below(self, scores: NDArray[Any]) -> Counts:
        return self._count(np.searchsorted(self.scores, scores, side="left"))

    def upto(self, scores: NDArray[Any]) -> Counts:
        return self._count(np.searchsorted(self.scores, scores, side="right"))

    def _count(self, distinct: NDArray[np.intp]) -> Counts:
        return distinct if self.ends is None else np.append(0, self.ends)[distinct]


_NO = np.empty(0, np.float32)


class _Block:
    """The pixels whose scores are in a range: normal ones by kind, marked ones by image."""

    def __init__(self, normals: list[_Sorted], marked: list["_Marked"]) -> None:
        self._normals, self._marked = normals, marked
        self.counts = [n.total for n in normals]
        """Normal pixels of each kind."""
        self.scores: NDArray[Any]
        """The distinct scores of marked pixels (K,), ascending."""
        self._which: NDArray[np.intp]
        self.scores, self._which = np.unique(np.concatenate([_NO, *(m.scores for m in marked)]), return_inverse=True)

    @classmethod
    def read(cls, pixels: Pixels, overlaps: Sequence[Overlaps], wanted: _Range, kinds: int) -> "_Block":
        """Read every image that has scores in the range."""
        normals, marked = [_Counter(wanted) if wanted.one_bucket else _Gatherer() for _ in range(kinds)], []
        for i in np.flatnonzero((pixels.high >= wanted.low) & (pixels.low < wanted.high)).tolist():
            scores, kind = pixels.map(i), int(pixels.kinds[i])
            inside = wanted.of(scores, pixels.low[i], pixels.high[i])
            if not pixels.marked[i]:
                normals[kind].add(scores.ravel() if inside is None else scores[inside])
                continue
            mask = pixels.mask(i)
            normals[kind].add(scores[~mask if inside is None else inside & ~mask])
            here = slice(None) if inside is None else inside[mask]
            weights = [w.table[w.codes[here]] for o in overlaps if (w := o.weights[i])]
            marked.append(_Marked.of(kind, scores[mask][here], weights))
        return cls([n.sorted() for n in normals], marked)

    def normals(self, kind: int, seen: int) -> Counts:
        """(2, K): normal pixels of this kind above each of `scores`, and at or above; `seen` of them are above all."""
        normals = self._normals[kind]
        return seen + normals.total - np.stack([normals.upto(self.scores), normals.below(self.scores)])

    def add_to(self, subset: Subset, kinds: Sequence[int], above: Counts, upto: Counts) -> None:
        """Add the marked pixels of `kinds` to a subset, with its counts of normal pixels (K,)."""
        counts, *weights = self._summed(kinds, 1 + len(subset.curves))
        here = np.flatnonzero(counts)[::-1]
        above, upto = above[here], upto[here]
        subset.ranking.add(self.scores[here], counts[here].astype(np.int64), above, upto)
        for curve, weight in zip(subset.curves, weights, strict=True):
            curve.add(weight[here], above, upto)

    def _summed(self, kinds: Sequence[int], columns: int) -> NDArray[np.float64]:
        """(columns, K): the numbers of marked pixels of these kinds, and their weights, summed at each of `scores`."""
        sums, end = np.zeros((columns, len(self.scores))), 0
        for marked in self._marked:
            start, end = end, end + len(marked.scores)
            if marked.kind in kinds:
                # Scores are distinct within an image, so no index occurs twice.
                sums[:, self._which[start:end]] += marked.columns
        return sums


@dataclass(frozen=True)
class _Marked:
    """One image's marked pixels: their distinct scores, and (columns, scores): their number, and the weights' sums."""

    kind: int
    scores: NDArray[Any]
    columns: NDArray[np.float64]

    @classmethod
    def of(cls, kind: int, scores: NDArray[Any], weights: Sequence[NDArray[np.float64]]) -> "_Marked":
        distinct, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
        return cls(kind, distinct, np.stack([counts, *(np.bincount(which, w, len(distinct)) for w in weights)]))


class _Gatherer:
    """Collects scores and sorts them."""

    def __init__(self) -> None:
        self._parts: list[NDArray[Any]] = []

    def add(self, scores: NDArray[Any]) -> None:
        self._parts.append(scores)

    def sorted(self) -> _Sorted:
        scores = np.concatenate([_NO, *self._parts])
        self._parts = []
        scores.sort()
        return _Sorted(scores)


class _Counter:
    """Counts the scores of one bucket, which has at most 2¹⁶ different ones."""

    def __init__(self, bucket: _Range) -> None:
        self._first = _key(np.array([bucket.low], np.float32))
        self._counts = np.zeros(_BUCKETS, np.int64)

    def add(self, scores: NDArray[Any]) -> None:
        self._counts += np.bincount(_key(scores) - self._first, minlength=_BUCKETS)

    def sorted(self) -> _Sorted:
        held = np.flatnonzero(self._counts)
        return _Sorted(_score(self._first + held), np.cumsum(self._counts[held]))
