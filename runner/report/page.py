"""The page itself: the sections of each study and their provenance in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.named import experiment_names
from runner.report import sections
from runner.report.context import StudyContext, read_studies
from runner.report.provenance import provenance
from runner.report.sections import Section
from runner.report.summary import summary
from runner.report.templates import render
from runner.results.record import read_experiments
from runner.run.options import Options
from runner.study.settings import to_yaml

PAGE = "report.html"


def write_report(options: Options) -> str:
    """Write ``OUT/report.html`` and return where it is. Raises :class:`BadInput` if OUT holds no study."""
    studies = read_studies(options)
    results = studies[0].output.results
    html = render(
        "page.html.j2",
        studies=[_study(study) for study in studies],
        failures=[_failure(row) for row in results.read("failures").to_pylist()],
        provenance=provenance(studies),
    )
    results.files.write(PAGE, html.encode())
    return results.files.where(PAGE)


def _study(study: StudyContext) -> dict[str, Any]:
    """One study's part of the page; sections are gathered in their order, as the first one that shows a picture has
    it."""
    parts = []
    for section in (*sections.SECTIONS, *_own_sections(study)) if study.rows else ():
        shown = section.gather(study)
        if shown is not None:
            parts.append(section.html(study, shown))
    return {"context": study, "summary": summary(study), "parts": parts, "yaml": to_yaml(study.study)}


def _own_sections(study: StudyContext) -> Iterator[Section[Any]]:
    """The sections of the experiments that the study was run in, of those that this version knows."""
    known = experiment_names()
    for record in read_experiments(study.output.results):
        if study.study.name in record.studies and record.name in known:
            yield from known[record.name].sections


def _failure(row: dict[str, Any]) -> dict[str, str]:
    return {"cell": row["cell"], "error": (row["error"].splitlines() or [""])[0]}
