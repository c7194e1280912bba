"""The provenance of a page's numbers, and the cautions to read before comparing them with other numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from goodshot.components.data import datasets
from goodshot.components.detectors.backbones import backbone_caution
from goodshot.components.encoders import encoder_caution
from goodshot.components.metrics.summary import mean_std
from goodshot.runner.plan.plan import point_key
from goodshot.runner.report.context import StudyContext
from goodshot.runner.results.comparison import Row
from goodshot.runner.tracking.record import read_run_records

SECONDS = "seconds_"
"""The beginning of the names of the columns that state how long a part of a row's work took."""
MOST_LINKS = 10
"""Maximum number of links to the W&B runs of a study; the first run leads to the others."""
ORACLE = "Test labels took part in choosing hyperparameters (oracle): no number of those rows is a fair result."


def provenance(studies: Sequence[StudyContext]) -> dict[str, Any]:
    """Return the values of the page's part "Provenance"."""
    rows = list({row["fingerprint"]: row for study in studies for row in study.rows}.values())
    runs = studies[0].output.runs
    return {
        "rows": len(rows),
        "versions": _versions(rows),
        "commits": sorted({row["commit"] for row in rows if row["commit"]}),
        "devices": sorted({row["device"] for row in rows if row["device"]}),
        "wordnet": sorted({row["wordnet_source"] for row in rows if row["wordnet_source"]}),
        "tests": {row["category"]: row["n_test"] for row in rows if row["n_test"] is not None},
        "steps": sum(sum(run.get("generator_steps", {}).values()) for run in runs),
        "runs": len(runs),
        "seconds": sum(run.get("seconds", 0.0) for run in runs),
        "stages": _mean_seconds(rows),
        "tracked": _tracked(studies),
    }


def notes(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each substitute that the rows use, for each dataset with a caution, and for oracle rows."""
    cautions = [backbone_caution({str(row["backbone"]) for row in rows})]
    cautions += [encoder_caution({str(row["encoder"]) for row in rows})]
    cautions = [caution for caution in cautions if caution]
    dataset_names = {row["dataset"] for row in rows}
    cautions += [dataset.caution for dataset in datasets.DATASETS if dataset.caution and dataset.name in dataset_names]
    return cautions + ([ORACLE] if any(row["oracle"] for row in rows) else [])


def _tracked(studies: Sequence[StudyContext]) -> list[dict[str, str]]:
    """Return label and address of W&B runs that were sent: each study's, that of its best point, then others."""
    links = []
    records = read_run_records(studies[0].output.results.files)
    for study in studies:
        best = study.chosen.values if study.chosen else None
        own = [r for r in records if r.study == study.study.name and r.url.startswith(("https://", "http://"))]
        own.sort(key=lambda r: (bool(r.point), best is None or r.point != point_key(best), r.label))
        links += [{"label": f"{r.study} {r.label}".strip(), "url": r.url} for r in own[:MOST_LINKS]]
    return links


def _versions(rows: Sequence[Row]) -> dict[str, str]:
    """Return the versions of each package that computed these rows: name → ``1.2 and 1.3``."""
    by_package: dict[str, set[str]] = {}
    for recorded in {row["versions"] for row in rows if row["versions"]}:
        for name, version in json.loads(recorded).items():
            by_package.setdefault(name, set()).add(version)
    return {name: " and ".join(sorted(versions)) for name, versions in by_package.items()}


def _mean_seconds(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean seconds of each stage, over the rows that recorded it."""
    columns = [name for name in (rows[0] if rows else ()) if name.startswith(SECONDS)]
    seconds = {name: [value for row in rows if (value := row[name]) is not None] for name in columns}
    return {name.removeprefix(SECONDS): mean_std(values).mean for name, values in seconds.items() if values}
