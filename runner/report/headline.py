"""What the rows say, in words that a reader may quote: the study in a sentence, and its honest headline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.data import datasets
from components.metrics.summary import CLAIM_SEEDS, PairedDifference, mean_std, paired_difference
from runner.console.terminal import difference
from runner.report.page import Row, StudyView, variant_label
from runner.report.search import point_text
from runner.results.comparison import BASELINES

# (category, support_seed, seed): what two arms are paired by.
Unit = tuple[Any, ...]
Scores = Mapping[Unit, float]

SUBSTITUTES = {
    "patchcore-lite0": "PatchCore stands on EfficientNet-Lite0 features, the embedded substitute for the paper's "
    "wide ResNet-50: its numbers are not comparable with published ones.",
    "conse-lite0-minilm": "Texts and images are compared by ConSE (EfficientNet-Lite0 and MiniLM), the embedded "
    "substitute for CLIP; it is weak on textures.",
}
OBJECTIVES = {"similarity": "Similarity to the text", "planted": "AUROC against planted defects"}
"""Those that look at no test label."""
ORACLE = "Test labels took part in choosing hyperparameters (oracle): no number of those rows is a fair result."


@dataclass(frozen=True)
class Headline:
    """One detector's mean image AUROC by variant, over the cells that all variants have, and the paired verdicts."""

    detector: str
    means: tuple[tuple[str, float], ...]
    over: str
    verdicts: tuple[str, ...]


def summary(view: StudyView) -> str:
    """The study in one sentence."""
    study = view.record.study
    points = len(view.search.trials) if view.search else len(study.points)
    named = (*(cell.category for cell in view.record.cells), *(str(row["category"]) for row in view.rows))
    categories = list(dict.fromkeys(named))
    detectors = " and ".join(f"{d.label} at {d.image_size} px" for d in study.detectors)
    originals = "all originals" if study.shots == "full" else _count(study.shots, "original")
    listed = f" (of {_listed(list(study.support))} those listed)" if study.support else ""
    arms = [arm.label for arm in study.own_arms]
    text = f", images chosen by {study.encoder}" if study.uses_text else ""
    return (
        f"{detectors} on {study.dataset.name} ({', '.join(categories)}), trained on {originals} per category{listed}: "
        f"{_listed(arms)}{text}; {_count(len(study.support_seeds), 'support')}, "
        f"{_count(points, 'hyperparameter point')}, {len(view.rows)} of {view.asked} cells finished."
    )


def headlines(view: StudyView) -> list[Headline]:
    """A headline per detector at one point; none of a sweep, and where no cell is shared by all variants."""
    if view.is_sweep:
        return []
    by_detector: dict[str, dict[str, dict[Unit, float]]] = {}
    for row in view.shown:
        arms = by_detector.setdefault(str(row["detector"]), {})
        arms.setdefault(variant_label(row), {})[_unit(row)] = float(row["image_auroc"])
    found = (_headline(detector, arms) for detector, arms in by_detector.items())
    return [headline for headline in found if headline is not None]


def caution(view: StudyView) -> str:
    """What the number of supports allows one to say."""
    supports = len({(row["support_seed"], row["seed"]) for row in view.shown})
    pairs = "Pairs of one category share its test images, so the pooled interval may be too narrow."
    if supports >= CLAIM_SEEDS:
        return pairs
    few = f"{_count(supports, 'support')} per category, fewer than {CLAIM_SEEDS}: a report, not a claim."
    return f"{few} {pairs}" if supports > 1 and not view.is_sweep else few


def chosen_point(view: StudyView) -> str:
    """Of several points: the one that the study's objective prefers. Empty if none has a value."""
    objective = view.record.study.objective
    found = _chosen_trial(view) if view.search else _chosen_rows(view)
    if found is None:
        return ""
    auroc = mean_std(row["image_auroc"] for row in found.rows).mean
    originals = [row["image_auroc"] for row in view.shown if row["arm"] == "original"]
    baseline = f", original {mean_std(originals).mean:.3f}" if originals else ""
    return (
        f"{OBJECTIVES.get(objective, objective)}, the study's objective, prefers {point_text(found.point)} "
        f"({objective} {found.value:.3f}) among {found.among} points: image AUROC {auroc:.3f}{baseline}. "
        + ("Test labels chose nothing." if objective in OBJECTIVES else "Test labels chose it (oracle).")
    )


@dataclass(frozen=True)
class _Chosen:
    """A point, its objective, its generated rows, and among how many points it is the best."""

    point: Mapping[str, Any]
    value: float
    rows: Sequence[Row]
    among: int


def _chosen_trial(view: StudyView) -> _Chosen | None:
    """As the trials tell it."""
    search = view.search
    if search is None or search.chosen is None or search.chosen.best is None:
        return None
    own = {*search.chosen.best.fingerprints}
    rows = [row for row in view.rows if row["fingerprint"] in own and row["arm"] == "generated"]
    return _Chosen(search.chosen.point, search.chosen.best.value, rows, len(search.trials))


def _chosen_rows(view: StudyView) -> _Chosen | None:
    """As the rows of a declared sweep tell it that left no trials."""
    if not view.is_sweep:
        return None
    objective, columns = view.record.study.objective, ("vq_weight", "copies", "iterations")
    points: dict[tuple[Any, ...], list[Row]] = {}
    for row in view.rows:
        if row["arm"] == "generated" and row[objective] is not None:
            points.setdefault(tuple(row[c] for c in columns), []).append(row)
    if not points:
        return None
    means = {point: mean_std(row[objective] for row in own).mean for point, own in points.items()}
    best = max(means, key=lambda point: means[point])
    return _Chosen(dict(zip(columns, best, strict=True)), means[best], points[best], len(points))


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader must know before comparing these numbers with others."""
    used = {str(row[column]) for row in rows for column in ("detector", "encoder")}
    found = [text for name, text in SUBSTITUTES.items() if name in used]
    named = {row["dataset"] for row in rows}
    found += [dataset.caution for dataset in datasets.DATASETS if dataset.caution and dataset.name in named]
    return found + ([ORACLE] if any(row["oracle"] for row in rows) else [])


def _headline(detector: str, arms: Mapping[str, Scores]) -> Headline | None:
    common = set.intersection(*(set(scores) for scores in arms.values()))
    if not common:
        return None
    categories = sorted({unit[0] for unit in common})
    means = tuple((label, _mean_over(categories, scores, common)) for label, scores in arms.items())
    over = f"{_count(len(categories), 'category', 'categories')}, {_count(len(common), 'cell')} per arm"
    pairs = ((a, b) for a in arms if a not in BASELINES for b in BASELINES if b in arms)
    verdicts = tuple(_verdict(a, b, paired_difference(arms[a], arms[b])) for a, b in pairs)
    return Headline(detector, means, over, verdicts)


def _mean_over(categories: Sequence[str], scores: Scores, common: set[Unit]) -> float:
    """The mean over categories of the mean over their supports."""
    by_category = ([scores[unit] for unit in sorted(common, key=str) if unit[0] == c] for c in categories)
    return mean_std(mean_std(values).mean for values in by_category).mean


def _verdict(arm: str, baseline: str, value: PairedDifference) -> str:
    counts = f"{value.wins} better, {value.losses} worse, {value.ties} equal"
    if value.n < 2:
        return f"{arm} vs {baseline}: {difference(value) or '–'} in {_count(value.n, 'pair')}, so without an interval."
    reading = "includes" if value.low <= 0 <= value.high else "excludes"
    return (
        f"{arm} vs {baseline}: {difference(value)} over {value.n} pairs ({counts}); the 95 % interval {reading} zero."
    )


def _unit(row: Row) -> Unit:
    return row["category"], row["support_seed"], row["seed"]


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
