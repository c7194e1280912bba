"""Where a page's numbers come from, and what a reader must know before comparing them with others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from components.data import datasets
from components.metrics.summary import mean_std
from runner.report.context import StudyContext
from runner.results.comparison import Row

SUBSTITUTES = {
    "patchcore-lite0": "PatchCore stands on EfficientNet-Lite0 features, the embedded substitute for the paper's "
    "wide ResNet-50: its numbers are not comparable with published ones.",
    "conse-lite0-minilm": "Texts and images are compared by ConSE (EfficientNet-Lite0 and MiniLM), the embedded "
    "substitute for CLIP; it is weak on textures.",
}
ORACLE = "Test labels took part in choosing hyperparameters (oracle): no number of those rows is a fair result."


def provenance(studies: Sequence[StudyContext]) -> dict[str, Any]:
    """The values of the page's last part, and its ``notes``."""
    rows = list({row["fingerprint"]: row for study in studies for row in study.rows}.values())
    runs = studies[0].output.runs
    return {
        "notes": notes(rows),
        "rows": len(rows),
        "versions": _versions(rows),
        "commits": sorted({row["commit"] for row in rows if row["commit"]}),
        "devices": sorted({row["device"] for row in rows}),
        "wordnet": sorted({row["wordnet_source"] for row in rows if row["wordnet_source"]}),
        "tests": {row["category"]: row["n_test"] for row in rows if row["n_test"] is not None},
        "steps": sum(sum(run["generator_steps"].values()) for run in runs),
        "runs": len(runs),
        "seconds": sum(run["seconds"] for run in runs),
        "stages": _seconds(rows),
    }


def notes(rows: Sequence[Row]) -> list[str]:
    """A sentence for each substitute, each dataset that has a caution, and an oracle."""
    used = {str(row[column]) for row in rows for column in ("detector", "encoder")}
    found = [text for name, text in SUBSTITUTES.items() if name in used]
    named = {row["dataset"] for row in rows}
    found += [dataset.caution for dataset in datasets.DATASETS if dataset.caution and dataset.name in named]
    return found + ([ORACLE] if any(row["oracle"] for row in rows) else [])


def _versions(rows: Sequence[Row]) -> dict[str, str]:
    """Every version that made one of these rows, by package."""
    found: dict[str, set[str]] = {}
    for versions in {row["versions"] for row in rows}:
        for name, version in json.loads(versions).items():
            found.setdefault(name, set()).add(version)
    return {name: " and ".join(sorted(versions)) for name, versions in found.items()}


def _seconds(rows: Sequence[Row]) -> dict[str, float]:
    """Mean seconds of a stage, over the rows that recorded it."""
    stages = ("prompt", "generator", "fit", "score")
    values = {stage: [v for row in rows if (v := row[f"seconds_{stage}"]) is not None] for stage in stages}
    return {stage: mean_std(own).mean for stage, own in values.items() if own}
