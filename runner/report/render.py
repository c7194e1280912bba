"""The page itself: plain values and figures into one HTML file that needs nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from components.metrics.summary import mean_std
from runner.console.terminal import difference, mean_std_text, record, seeds_note, tags_note, verdict, verdicts_note
from runner.report import charts, figures, search_charts
from runner.report.breakdown import breakdowns
from runner.report.gather import gather
from runner.report.headline import caution, chosen_point, headlines, notes, summary
from runner.report.page import Gallery, MapPanel, Page, Row, SearchView, StudyView, support_label
from runner.report.search import drawn, sentence, table
from runner.results.comparison import BASELINES, Comparison
from runner.results.results import Results
from runner.run.options import Options
from runner.study.settings import to_yaml

PAGE = "report.html"
HEATMAPS = {"image_auroc": "image AUROC", "similarity": "similarity", "planted": "planted AUROC"}


def write_report(options: Options) -> str:
    """Write ``OUT/report.html`` and return where it is. Raises :class:`BadInput` if OUT holds no study."""
    page = gather(options.out, options.store_uri)
    environment = Environment(
        loader=PackageLoader("runner.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"mean_std": mean_std_text, "difference": difference, "seeds": seeds_note}
    environment.filters |= {"record": record, "verdict": verdict}
    html = environment.get_template("page.html.j2").render(
        sections=[_section(view) for view in page.studies], failures=_failures(page), provenance=_provenance(page)
    )
    files = Results(options.out).files
    files.write(PAGE, html.encode())
    return files.where(PAGE)


def write_readme_figure(options: Options, path: Path) -> None:
    """Write :func:`readme_figure` to a file."""
    path.write_bytes(figures.readme_figure(options))


def _section(view: StudyView) -> dict[str, Any]:
    """Everything one study's part of the template needs."""
    study = view.record.study
    return {
        "view": view,
        "name": study.name,
        "title": study.title or study.name,
        "summary": summary(view),
        "headlines": headlines(view),
        "chosen": chosen_point(view),
        "caution": caution(view),
        "table": _table(view),
        "yaml": to_yaml(study),
        "supports": [] if view.is_sweep or not view.shown else list(_supports(view)),
        "heatmaps": list(_heatmaps(view)) if view.is_sweep else [],
        "search": _search(view.search) if view.search else None,
        "breakdowns": breakdowns(view.shown, view.metrics),
        "galleries": [_gallery(gallery) for gallery in view.galleries],
        "panels": [_panel(panel) for panel in view.panels],
        "curves": list(_curves(view)),
        "prompts": [(prompt, charts.prompt_ranking(prompt)) for prompt in view.prompts],
    }


def _table(view: StudyView) -> dict[str, Any]:
    """Which of the optional columns have anything to say."""
    found = view.comparisons
    return {
        "detectors": len({c.table["detector"] for c in found}) > 1,
        "baselines": [arm for arm in BASELINES if any(arm in c.against for c in found)],
        "verdicts": verdicts_note() if any(v.n > 1 for c in found for v in c.against.values()) else "",
        "tags": tags_note(found),
        "planted": any(not math.isnan(c.planted.mean) for c in found),
        "similarity": any(not math.isnan(c.similarity.mean) for c in found),
    }


def _supports(view: StudyView) -> Iterator[tuple[str, str]]:
    """(title, chart) per category and detector."""
    limits = charts.auroc_range(view.shown)
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for c in view.comparisons:
        groups.setdefault((str(c.table["category"]), str(c.table["detector"])), []).append(c)
    for (category, detector), variants in groups.items():
        title = f"{category}, {detector}" if len(view.record.study.detectors) > 1 else category
        yield title, charts.supports(title, variants, view.shown, limits)


def _heatmaps(view: StudyView) -> Iterator[tuple[str, str]]:
    """(title, chart) per metric and detector, means over categories, supports and whatever else varies."""
    generated = [row for row in view.rows if row["arm"] == "generated"]
    for detector in dict.fromkeys(row["detector"] for row in generated):
        rows = [row for row in generated if row["detector"] == detector]
        for column, title in HEATMAPS.items():
            if all(row[column] is None for row in rows):
                continue
            yield f"{title}, {detector}", charts.heatmaps(rows, column, title)


def _search(view: SearchView) -> dict[str, Any]:
    valued = any(trial.best for trial in view.trials)
    return {
        "sentence": sentence(view),
        "table": table(view),
        "fields": drawn(view),
        "by_field": search_charts.by_field(view) if valued and drawn(view) else "",
        "by_order": search_charts.by_order(view) if valued else "",
        "by_length": search_charts.by_length(view) if valued and view.study.search.scheduler == "asha" else "",
        "partly": any(trial.best and trial.state != "complete" for trial in view.trials),
        "file": view.file,
        "unnoted": view.unnoted,
    }


def _curves(view: StudyView) -> Iterator[tuple[str, str, str]]:
    """(category, similarity chart, losses chart of the category's first training)."""
    for category in dict.fromkeys(curve.category for curve in view.curves):
        own = [curve for curve in view.curves if curve.category == category]
        yield category, charts.similarity(category, own), charts.losses(own[0])


def _gallery(gallery: Gallery) -> dict[str, Any]:
    return {
        "category": gallery.category,
        "support": support_label(gallery.row),
        "label": gallery.label,
        "row": gallery.row,
        "originals": [figures.picture(image) for image in gallery.originals],
        "images": [figures.picture(image) for image in gallery.images],
    }


def _panel(panel: MapPanel) -> dict[str, Any]:
    return {
        "category": panel.category,
        "detector": panel.detector,
        "variants": list(panel.maps),
        "limits": figures.map_range(panel),
        "changes": figures.map_changes(panel),
        "chart": figures.anomaly_maps(panel),
    }


def _failures(page: Page) -> list[dict[str, str]]:
    return [{"cell": row["cell"], "error": (row["error"].splitlines() or [""])[0]} for row in page.failures]


def _provenance(page: Page) -> dict[str, Any]:
    rows = list({row["fingerprint"]: row for view in page.studies for row in view.rows}.values())
    return {
        "notes": notes(rows),
        "rows": len(rows),
        "versions": _versions(rows),
        "commits": sorted({row["commit"] for row in rows if row["commit"]}),
        "devices": sorted({row["device"] for row in rows}),
        "wordnet": sorted({row["wordnet_source"] for row in rows if row["wordnet_source"]}),
        "tests": {row["category"]: row["n_test"] for row in rows},
        "steps": sum(sum(run["generator_steps"].values()) for run in page.runs),
        "runs": len(page.runs),
        "seconds": sum(run["seconds"] for run in page.runs),
        "stages": _seconds(rows),
    }


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
