"""Write the page: the sections of each study and their provenance, in one HTML file that loads no other file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from goodshot.runner.named import experiment_names
from goodshot.runner.report import sections
from goodshot.runner.report.charts import CONFIG, drawing_script
from goodshot.runner.report.context import StudyContext, read_studies
from goodshot.runner.report.provenance import provenance
from goodshot.runner.report.rendering import Renderer, script_json
from goodshot.runner.report.sections import Section
from goodshot.runner.report.summary import summary
from goodshot.runner.report.templates import render
from goodshot.runner.results.record import read_experiments
from goodshot.runner.run.options import Options
from goodshot.runner.study.settings import to_yaml

PAGE = "report.html"


def write_report(options: Options) -> str:
    """Write ``OUT/report.html`` and return its location. Raises :class:`BadInput` if OUT holds no study."""
    studies = read_studies(options)
    results = studies[0].output.results
    renderer = Renderer()
    shown = [_study(study, renderer) for study in studies]
    html = render(
        "page.html.j2",
        studies=shown,
        failures=[_failure(row) for row in results.read("failures").to_pylist()],
        provenance=provenance(studies),
        rows=script_json(renderer.rows.as_json()),
        config=script_json(CONFIG) if renderer.has_charts else "",
        drawing_script=drawing_script() if renderer.has_charts else "",
    )
    results.files.write(PAGE, html.encode())
    return results.files.where(PAGE)


def _study(study: StudyContext, renderer: Renderer) -> dict[str, Any]:
    """Return the values of one study for the page's template.

    Sections are rendered in page order, because only the first one that shows a picture includes it.
    """
    renderer.rows.of(study.output)
    parts = []
    for section in study_sections(study):
        if html := renderer.html(section.blocks(study)):
            parts.append({"name": section.name, "title": section.title, "html": html})
    return {"context": study, "summary": summary(study), "parts": parts, "yaml": to_yaml(study.study)}


def study_sections(study: StudyContext) -> Iterator[Section]:
    """Yield the sections of every report, then those of the experiments that the study belongs to.

    An experiment that this version does not have adds none.
    """
    yield from sections.SECTIONS
    known = experiment_names()
    for record in read_experiments(study.output.results):
        if study.study.name in record.studies and record.name in known:
            yield from known[record.name].sections


def _failure(row: dict[str, Any]) -> dict[str, str]:
    return {"cell": row["cell"], "error": (row["error"].splitlines() or [""])[0]}
