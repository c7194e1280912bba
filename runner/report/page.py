"""Write the page: the sections of each study and their provenance, in one HTML file that loads no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from goodshot.components.errors import BadInput
from goodshot.runner.named import experiment_names
from goodshot.runner.report import across, sections
from goodshot.runner.report.charts import CONFIG, drawing_script
from goodshot.runner.report.context import StudyContext, read_studies
from goodshot.runner.report.cost import cost_table
from goodshot.runner.report.experiment import ExperimentContext, read_experiment_contexts
from goodshot.runner.report.provenance import notes, provenance
from goodshot.runner.report.rendering import Renderer, script_json
from goodshot.runner.report.sections import Section
from goodshot.runner.report.summary import summary
from goodshot.runner.report.templates import render
from goodshot.runner.results.prices import Prices
from goodshot.runner.run.options import Options
from goodshot.runner.store.files import Files
from goodshot.runner.study.settings import to_yaml

PAGE = "report.html"
SHOWN_FAILURES = 20


def write_report(*outputs: Options, file: str | None = None, prices: Prices | None = None) -> str:
    """Write the page of one or several ``--out`` and return its location.

    Args:
        file: where to write the page; None for ``OUT/report.html`` of the only output.
        prices: the prices of computing, from which the page states what the study cost.

    Raises:
        BadInput: an output holds no study that can be read, or there are several outputs and no ``file``.
    """
    place = page_file(outputs, file)
    return write_page([read_studies(options) for options in outputs], place, prices or Prices())


def page_file(outputs: Sequence[Options], file: str | None) -> tuple[Files, str]:
    """Return the folder and the name of the page; see :func:`write_report`."""
    if file is None and len(outputs) > 1:
        raise BadInput(f"a report of {len(outputs)} folders needs a file; add --html FILE")
    if file is None:
        return Files(outputs[0].out), PAGE
    if Path(file).is_dir():
        raise BadInput(f"--html {file}: is a folder; give a file's name")
    folder, _, name = file.rpartition("/")
    return Files(folder or "."), name


def write_page(
    outputs: Sequence[Sequence[StudyContext]], place: tuple[Files, str], prices: Prices, reload: int = 0
) -> str:
    """Write the page of the studies of each output, and return its location.

    Args:
        reload: seconds after which an open page loads itself anew, while a study goes on; 0 for never.
    """
    files, name = place
    files.write(name, page(outputs, prices, reload).encode())
    return files.where(name)


def page(outputs: Sequence[Sequence[StudyContext]], prices: Prices, reload: int) -> str:
    """Return the page of the studies of each output as HTML."""
    renderer, several = Renderer(), len(outputs) > 1
    across_studies = [_experiment(each, renderer) for own in outputs for each in read_experiment_contexts(own)]
    studies = [_study(study, renderer, several) for own in outputs for study in own]
    provenances = [_provenance(own, renderer, prices, several) for own in outputs]
    rows = [row for own in outputs for study in own for row in study.rows]
    return render(
        "page.html.j2",
        experiments=[each for each in across_studies if each["parts"]],
        studies=studies,
        provenances=provenances,
        cautions=notes(rows),
        failures=[failure for own in outputs for failure in _failures(own[0])],
        shown_failures=SHOWN_FAILURES,
        unread=[line for own in outputs for line in own[0].output.unread],
        rows=script_json(renderer.rows.as_json()),
        config=script_json(CONFIG) if renderer.has_charts else "",
        drawing_script=drawing_script() if renderer.has_charts else "",
        reload=reload,
    )


def _experiment(experiment: ExperimentContext, renderer: Renderer) -> dict[str, Any]:
    """Return the values of one experiment for the page's template: its sections across its studies."""
    for study in experiment.studies:
        renderer.rows.of(study.output)
    parts = [
        {"name": section.name, "title": section.title, "html": html}
        for section in across.ACROSS
        if (html := renderer.html(section.blocks(experiment)))
    ]
    return {"name": experiment.record.name, "title": experiment.record.title, "parts": parts}


def _study(study: StudyContext, renderer: Renderer, several: bool) -> dict[str, Any]:
    """Return the values of one study for the page's template.

    Sections are rendered in page order, because only the first one that shows a picture includes it.
    """
    renderer.rows.of(study.output)
    parts = []
    for section in study_sections(study):
        if html := renderer.html(section.blocks(study)):
            parts.append({"name": section.name, "title": section.title, "html": html})
    title = f"{study.title} ({study.output.shown})" if several else study.title
    return {"context": study, "title": title, "summary": summary(study), "parts": parts, "yaml": to_yaml(study.study)}


def study_sections(study: StudyContext) -> Iterator[Section]:
    """Yield the sections of every report, then those of the experiments that the study belongs to.

    An experiment that this version does not have adds none.
    """
    yield from sections.SECTIONS
    known = experiment_names()
    for record in study.output.experiments:
        if study.study.name in record.studies and record.name in known:
            yield from known[record.name].sections


def _provenance(studies: Sequence[StudyContext], renderer: Renderer, prices: Prices, several: bool) -> dict[str, Any]:
    output = studies[0].output
    title = f"Provenance of {output.shown}" if several else "Provenance"
    cost = renderer.html([cost_table(output, studies, prices)])
    return {"title": title, "cost": cost, "failures": len(output.failures), **provenance(studies)}


def _failures(study: StudyContext) -> list[dict[str, str]]:
    rows = study.output.failures.values()
    return [{"cell": row["cell"], "error": (row["error"].splitlines() or [""])[0]} for row in rows]
