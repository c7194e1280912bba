"""The page itself: plain values and figures into one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from components.errors import BadInput
from components.metrics.summary import PairedDifference, mean_std, paired_difference
from runner.comparison import CLAIM_SEEDS
from runner.execute import Options
from runner.report import figures
from runner.report.gather import Page, StudyView, gather
from runner.results import Results
from runner.settings import to_yaml
from runner.terminal import difference, mean_std_text, seeds_note

PAGE = "report.html"


def write_report(options: Options) -> str:
    """Write ``OUT/report.html`` and return where it is. Raises :class:`BadInput` if OUT holds no study."""
    page = gather(options.out, options.store_uri)
    environment = Environment(
        loader=PackageLoader("runner.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"mean_std": mean_std_text, "difference": difference, "seeds": seeds_note}
    html = environment.get_template("page.html.j2").render(
        page=page, sections=[_section(view) for view in page.studies], provenance=_provenance(page)
    )
    Results(options.out).files.write(PAGE, html.encode())
    return f"{options.out.rstrip('/')}/{PAGE}"


def write_readme_figure(options: Options, path: Path) -> None:
    """Write the README's picture of the first study that has galleries and maps, as PNG."""
    for view in gather(options.out, options.store_uri).studies:
        plain = [g for g in view.galleries if g.row["detail"] == "none"]
        if plain and view.panels:
            path.write_bytes(figures.readme_figure(plain, view.panels))
            return
    raise BadInput(f"{options.out}: no study here has both generated images and anomaly maps")


def _section(view: StudyView) -> dict[str, Any]:
    """Everything one study's part of the template needs."""
    study = view.record.study
    categories = list(dict.fromkeys(row["category"] for row in view.rows))
    sweep = len(study.points) > 1
    return {
        "view": view,
        "study": study,
        "title": study.title or study.name,
        "sweep": sweep,
        "facts": _facts(view, categories),
        "headline": _headline(view),
        "finished": f"{len(view.rows)} of {len(view.record.cells)}",
        "yaml": to_yaml(study),
        "supports": [] if sweep else [(c, figures.supports(c, view.comparisons, view.rows)) for c in categories],
        "heatmaps": _heatmaps(view) if sweep else [],
        "galleries": [] if sweep else [_gallery(g) for g in view.galleries],
        "maps": [] if sweep else [(p.category, figures.anomaly_maps(p)) for p in view.panels],
        "curves": [
            (c, figures.curves(c, [curve for curve in view.curves if curve.category == c]))
            for c in dict.fromkeys(curve.category for curve in view.curves)
        ],
        "prompts": [] if sweep else [(p, figures.prompt_ranking(p)) for p in view.prompts],
    }


def _gallery(gallery: Any) -> dict[str, Any]:
    return {
        "category": gallery.category,
        "row": gallery.row,
        "originals": [figures.picture(image) for image in gallery.originals],
        "images": [figures.picture(image) for image in gallery.images],
    }


def _heatmaps(view: StudyView) -> list[tuple[str, str]]:
    if not any(row["arm"] == "generated" for row in view.rows):
        return []
    wanted = {"image_auroc": "image AUROC", "similarity": "similarity"}
    return [(title, figures.heatmaps(view.rows, column, title)) for column, title in wanted.items()]


def _facts(view: StudyView, categories: Sequence[str]) -> list[tuple[str, str]]:
    """The study in a few labelled words."""
    study = view.record.study
    facts = [
        ("dataset", f"{study.dataset.name}: {', '.join(categories)}"),
        ("originals per category", f"{study.shots}; supports: {len(study.support_seeds)}"),
        ("detector", ", ".join(f"{d.label} at {d.image_size} px" for d in study.detectors)),
    ]
    if "generated" in study.arms:
        generator = f"variance-aware VQGAN at {study.generator.resolution} px, {study.augmentation} augmentation"
        facts += [("generator", generator), ("text", f"{study.encoder}, words from WordNet")]
    return facts


def _headline(view: StudyView) -> list[str]:
    """What the rows say over all categories, without overselling: means per arm, pooled paired differences."""
    by_arm: dict[str, dict[tuple[Any, ...], float]] = {}
    for row in view.rows:
        if row["detail"] in (None, "none"):
            key = (row["category"], row["support_seed"], row["seed"], row["detector"])
            by_arm.setdefault(row["arm"], {})[key] = row["image_auroc"]
    if len(view.record.study.points) > 1 or not by_arm:
        return []
    means = ", ".join(f"{arm} {mean_std(values.values()).mean:.3f}" for arm, values in by_arm.items())
    lines = [f"Mean image AUROC: {means}."]
    for baseline in ("original", "augmented"):
        if baseline in by_arm and "generated" in by_arm:
            lines.append(_verdict(baseline, paired_difference(by_arm["generated"], by_arm[baseline])))
    if len(view.record.study.support_seeds) < CLAIM_SEEDS:
        lines.append(f"Fewer than {CLAIM_SEEDS} supports per category: a report, not a claim.")
    return lines


def _verdict(baseline: str, value: PairedDifference) -> str:
    return (
        f"Generated − {baseline}: {difference(value)} over {value.n} pairs "
        f"({value.wins} better, {value.losses} worse, {value.ties} equal)."
    )


def _provenance(page: Page) -> dict[str, Any]:
    rows = [row for view in page.studies for row in view.rows]
    substitutes = [
        text for used, text in SUBSTITUTES.items() if any(used in (row["detector"], row["encoder"]) for row in rows)
    ]
    notes = substitutes + ([PLANTED] if any(row["dataset"] == "demo" for row in rows) else [])
    return {
        "notes": notes,
        "versions": json.loads(rows[0]["versions"]) if rows else {},
        "commits": sorted({row["commit"] for row in rows if row["commit"]}),
        "devices": sorted({row["device"] for row in rows}),
        "wordnet": sorted({row["wordnet_source"] for row in rows if row["wordnet_source"]}),
        "tests": _counts(rows),
        "steps": sum(sum(run["generator_steps"].values()) for run in page.runs),
        "seconds": sum(run["seconds"] for run in page.runs),
    }


def _counts(rows: Sequence[Mapping[str, Any]]) -> str:
    counts = {row["category"]: row["n_test"] for row in rows}
    return ", ".join(f"{category} {n}" for category, n in counts.items())


SUBSTITUTES = {
    "patchcore-lite0": "PatchCore stands on EfficientNet-Lite0 features, the embedded substitute for the paper's "
    "wide ResNet-50: its numbers are not comparable with published ones.",
    "conse-lite0-minilm": "Texts and images are compared by ConSE (EfficientNet-Lite0 and MiniLM), the embedded "
    "substitute for CLIP; it is weak on textures.",
}
PLANTED = (
    "The demo's defects are planted in photographs that ship with scikit-image, and their difficulty was set on these "
    "very images: the demo shows the pipeline, it is no evidence for the method."
)
