"""Write every table and chart of a report as files, and an index of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.export.formats import Format
from goodshot.runner.export.markdown import escaped
from goodshot.runner.report import across
from goodshot.runner.report.blocks import Block, Chart, Table
from goodshot.runner.report.context import StudyContext, read_studies
from goodshot.runner.report.experiment import ExperimentContext, read_experiment_contexts
from goodshot.runner.report.page import study_sections
from goodshot.runner.report.summary import summary
from goodshot.runner.run.options import Options
from goodshot.runner.store.files import Files, public
from goodshot.runner.study.problems import did_you_mean

INDEX = "index.md"
Listed = tuple[str, str, Sequence[str]]
"""The titles of a section and of one of its blocks, and the names of the block's files."""


@dataclass(frozen=True)
class Exported:
    """The result of an export: the location of the index, and the names of the written files.

    left: remaining files of the same formats that an earlier export has written and this export has not.
    """

    index: str
    names: Sequence[str]
    left: Sequence[str]


def export(options: Options, to: str, formats: Sequence[Format], study: str | None = None) -> Exported:
    """Write the tables and charts of every study to ``<to>/<study>/<name>.<format>``, and ``<to>/index.md``.

    The tables and charts of an experiment go to ``<to>/experiment-<name>/``, unless only one study is exported.

    The files depend only on the rows and artifacts. Except for PDF files, equal rows and artifacts give files with
    equal bytes. Each file is written atomically.

    Args:
        to: a folder or URI, which is created.
        study: the name of the only study to export; None for all.

    Raises:
        BadInput: ``--out`` has no study, or no study with this name.
        GoodshotError: there is nothing to export.
    """
    studies = _chosen(read_studies(options), study, options)
    files = Files(to)
    index, names = ["# Tables and figures"], []
    parts = [*map(_of_study, studies)]
    if study is None:
        parts = [*map(_of_experiment, read_experiment_contexts(studies)), *parts]
    for part in parts:
        listed = [*_write_blocks(files, part, formats)]
        names += [name for _, _, own in listed for name in own]
        index += _listing(part, listed) if listed else []
    if not names:
        raise GoodshotError(_why_nothing(studies, formats, options))
    files.write(INDEX, ("\n".join(index) + "\n").encode())
    return Exported(files.where(INDEX), names, _left(files, [part.folder for part in parts], formats, names))


def _chosen(studies: Sequence[StudyContext], name: str | None, options: Options) -> Sequence[StudyContext]:
    known = [context.study.name for context in studies]
    if name is not None and name not in known:
        raise BadInput(
            f"--study {name}: {public(options.out)} holds no study of this name; {did_you_mean(name, known)}"
        )
    return [context for context in studies if name in (None, context.study.name)]


@dataclass(frozen=True)
class _Part:
    """The contents of one folder of the export: blocks with their sections' titles, and the texts of its index."""

    folder: str
    title: str
    description: str
    blocks: Iterable[tuple[str, Block]]


def _of_study(context: StudyContext) -> _Part:
    """Return the blocks of a study; no blocks if the study has no rows."""
    commits = sorted({row["commit"] for row in context.rows if row["commit"]})
    description = escaped(summary(context)) + (f" Commit: {', '.join(commits)}." if commits else "")
    sections = study_sections(context) if context.rows else ()
    blocks = ((section.title, block) for section in sections for block in section.blocks(context))
    return _Part(context.study.name, context.title, description, blocks)


def _of_experiment(experiment: ExperimentContext) -> _Part:
    """Return the blocks of an experiment, which cover several studies."""
    studies = ", ".join(context.study.name for context in experiment.studies)
    blocks = ((section.title, block) for section in across.ACROSS for block in section.blocks(experiment))
    name = experiment.record.name
    return _Part(f"experiment-{name}", experiment.record.title, escaped(f"Across {studies}."), blocks)


def _write_blocks(files: Files, part: _Part, formats: Sequence[Format]) -> Iterator[Listed]:
    """Write the tables and charts of a part, each in the formats for its kind of block."""
    for section, block in _unique(part):
        names = []
        for format in formats:
            if isinstance(block, format.block):
                names.append(f"{part.folder}/{block.name}.{format.name}")
                files.write(names[-1], format.render(block, f"{part.folder}-{block.name}"))
        if names:
            yield section, block.title, names


def _unique(part: _Part) -> Iterator[tuple[str, Table | Chart]]:
    """Yield the tables and charts of a part, each with its section's title. Raises TypeError if two have one name."""
    seen: set[str] = set()
    for section, block in part.blocks:
        if isinstance(block, Table | Chart):
            if block.name in seen:
                raise TypeError(f"section {section}: {part.folder} has another block called {block.name}")
            seen.add(block.name)
            yield section, block


def _listing(part: _Part, listed: Sequence[Listed]) -> Iterator[str]:
    """Yield the lines of a part in the index."""
    yield f"\n## {escaped(part.title)}\n"
    yield part.description
    yield "\n| section | contents | files |\n| --- | --- | --- |"
    for section, title, names in listed:
        links = (f"[{name.rpartition('.')[2]}]({name})" for name in names)
        yield f"| {escaped(section)} | {escaped(title)} | {' · '.join(links)} |"


def _why_nothing(studies: Sequence[StudyContext], formats: Sequence[Format], options: Options) -> str:
    where = f"{public(options.out)}: nothing to export: "
    if not any(context.rows for context in studies):
        return f"{where}no cell is finished yet"
    return f"{where}the report has no block for {', '.join(format.name for format in formats)}; try other --formats"


def _left(files: Files, folders: Sequence[str], formats: Sequence[Format], written: Sequence[str]) -> list[str]:
    suffixes = tuple(f".{format.name}" for format in formats)
    there = [name for folder in folders for name in files.names(folder)]
    return [name for name in there if name.endswith(suffixes) and name not in {*written}]
