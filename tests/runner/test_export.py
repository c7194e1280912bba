"""``goodshot export``: a report's tables and charts as files, and what LaTeX and Markdown make of any text."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from goodshot.components.errors import GoodshotError
from goodshot.runner.cli import main
from goodshot.runner.export import export, formats_of
from goodshot.runner.export.latex import LONGEST, latex
from goodshot.runner.export.markdown import markdown
from goodshot.runner.export.raw_values import raw_values
from goodshot.runner.report import sections
from goodshot.runner.report.blocks import Block, Column, Table, Value
from goodshot.runner.report.context import StudyContext
from goodshot.runner.report.sections import Section
from goodshot.runner.results.compaction import forget
from goodshot.runner.results.results import Results
from goodshot.runner.run.options import Options
from tests.runner.report_pages import redeclare, write_small_study

EVIL = r"""a_b & c % d # e $ f {g} \h ~ ^ <b> "q" | `t` -- --- “x” ‘y’ – — … λ ≤ ≥ ± − × · σ ° ² é ü ß ł č [x] *y*"""
TEXTS = (EVIL, "[x]", "*", "e\u0301", "\x00\u202e", "?` !` << >> ,,", "two\n\nlines", "")
NUMBERS = {
    "0.737 ± 0.005": r"$0.737 \pm 0.005$",
    "+0.012 [−0.030, +0.054]": r"$+0.012\ [-0.030, +0.054]$",
    "1e-06": r"$1 \times 10^{-6}$",
    "2.5e+10": r"$2.5 \times 10^{10}$",
    "–": "--",
    "9:4": "$9$:$4$",
    "x1 v0.5": "x1 v0.5",
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return write_small_study(tmp_path / "out")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(lines: list[list[str | Value | None]], **fields: object) -> Table:
    columns = [Column("first", "first"), Column("second", "− original")]
    return Table("toy", str(fields.pop("title", "Toy")), columns, lines, **fields)  # type: ignore[arg-type]


def test_every_table_and_chart_is_written_and_listed(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(out), "--to", str(tmp_path / "to")]) == 0
    written = files(tmp_path / "to")
    assert capsys.readouterr().out == f"written: {len(written) - 1} files, listed in {tmp_path}/to/index.md\n"
    by_format = {name: {path for path in written if path.endswith(f".{name}")} for name in ("tex", "csv", "pdf", "svg")}
    assert "tiny/results.tex" in by_format["tex"]
    assert "tiny/similarity_coin.svg" in by_format["svg"]
    assert {path[:-4] for path in by_format["tex"]} == {path[:-4] for path in by_format["csv"]}
    assert {path[:-4] for path in by_format["pdf"]} == {path[:-4] for path in by_format["svg"]}
    index = written["index.md"].decode()
    listed = re.findall(r"\]\((.*?)\)", index)
    assert len(listed) == len(written) - 1
    assert {*listed, "index.md"} == written.keys()
    assert "| Results | Results of each category | [md](tiny/results.md) · " in index
    assert "12 of 12 cells finished. Commit: abc." in index
    starts = {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<svg"}
    assert all(written[f"tiny/similarity_coin.{name}"].startswith(start) for name, start in starts.items())


def test_equal_rows_give_equal_bytes(out: Path, tmp_path: Path) -> None:
    formats = formats_of("md,tex,csv,svg")
    export(Options(str(out)), str(tmp_path / "a"), formats)
    export(Options(str(out)), str(tmp_path / "b"), formats)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_numbers_are_those_of_the_rows(out: Path, tmp_path: Path) -> None:
    export(Options(str(out)), str(tmp_path / "to"), formats_of("csv,tex"))
    with (tmp_path / "to/tiny/results.csv").open() as file:
        lines = [*csv.DictReader(file)]
    rows = [row for row in Results(str(out)).rows().values() if (row["category"], row["arm"]) == ("coin", "generated")]
    (line,) = [line for line in lines if line["category"] == "coin" and line["trained_on"].startswith("generated")]
    assert float(line["image_auroc"]) == sum(row["image_auroc"] for row in rows) / 2
    assert float(line["minus_original"]) == pytest.approx(0.1)
    assert r"$0.805 \pm 0.007$" in (tmp_path / "to/tiny/results.tex").read_text()


def test_some_formats_of_one_study(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    redeclare(out, "tiny_again")
    assert (
        main(["export", str(out), "--to", str(tmp_path / "to"), "--formats", "CSV, md", "--study", "tiny_again"]) == 0
    )
    written = files(tmp_path / "to")
    assert {Path(name).parts[0] for name in written} == {"index.md", "tiny_again"}
    assert {Path(name).suffix for name in written} == {".md", ".csv"}
    capsys.readouterr()
    (tmp_path / "to/tiny_again/gone.csv").write_text("of an earlier export")
    assert main(["export", str(out), "--to", str(tmp_path / "to"), "--formats", "csv", "--study", "tiny_again"]) == 0
    assert "left as an earlier export wrote it: 1 file: tiny_again/gone.csv" in capsys.readouterr().out


def test_without_its_store_a_study_still_has_its_tables(out: Path, tmp_path: Path) -> None:
    shutil.rmtree(out / "store")
    written = export(Options(str(out)), str(tmp_path / "to"), formats_of("md,svg")).names
    assert "tiny/results.md" in written
    assert "tiny/similarity_coin.svg" not in written


class ToySection(Section):
    """A table with any text."""

    name = "toy"
    title = "Toy section"

    def blocks(self, study: StudyContext) -> Iterator[Block]:
        yield table([[EVIL, Value(0.1, "0.100 ± 0.010")]], title=EVIL)


def test_a_section_is_exported_by_its_entry_alone(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "SECTIONS", (ToySection(),))
    names = export(Options(str(out)), str(tmp_path / "to"), formats_of("md,tex,csv,pdf,png,svg")).names
    assert names == ["tiny/toy.md", "tiny/toy.tex", "tiny/toy.csv"]
    assert (tmp_path / "to/tiny/toy.csv").read_text().splitlines()[1].endswith(",0.1")
    with pytest.raises(GoodshotError, match="nothing to export: the report has no block for svg; try other --formats"):
        export(Options(str(out)), str(tmp_path / "to"), formats_of("svg"))
    monkeypatch.setattr(sections, "SECTIONS", (ToySection(), ToySection()))
    with pytest.raises(TypeError, match="another block called toy"):
        export(Options(str(out)), str(tmp_path / "to"), formats_of("md"))


def test_what_cannot_be_exported_is_one_line(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = ["--to", str(tmp_path / "to"), "--formats"]
    (tmp_path / "empty").mkdir()
    for arguments, code, problem in (
        ([str(tmp_path / "empty"), *to, "md"], 2, "holds no study"),
        ([str(out), *to, "md,doc"], 2, "doc is no format; there are: md,tex,csv,pdf,png,svg"),
        ([str(out), *to, ","], 2, "nothing is no format"),
        ([str(out), *to, "md", "--study", "tyni"], 2, "holds no study of this name; there are: tiny"),
    ):
        assert main(["export", *arguments]) == code
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert problem in line
    forget(Results(str(out)), Results(str(out)).finished())
    assert main(["export", str(out), *to, "md"]) == 1
    assert "nothing to export: no cell is finished yet" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(("text", "written"), NUMBERS.items())
def test_numbers_in_latex(text: str, written: str) -> None:
    assert f"a & {written} " in latex(table([["a", Value(0.5, text)]]), "toy").decode()


def test_latex_has_caption_label_and_notes() -> None:
    text = latex(table([["a_b", Value(0.5, "0.5")], ["c", None]], notes=["50 %"], marked=[1]), "study-toy").decode()
    for part in (
        r"\caption{Toy}\label{tab:study-toy}",
        r"\begin{tabular}{lr}",
        "\\toprule\nfirst & $-$ original \\\\\n\\midrule\na\\_b & $0.5$ \\\\\n",
        "\\textbf{\\boldmath c} &  \\\\\n\\bottomrule\n",
        r"{\footnotesize 50 \%\par}",
    ):
        assert part in text
    assert r"\begin{longtable}{ll}" in latex(table([["a", "b"]] * (LONGEST + 1)), "toy").decode()


def test_latex_compiles_whatever_the_texts_are(out: Path, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no LaTeX on this machine")
    lines: list[list[str | Value | None]] = [
        [text, Value(0.5, number)] for text, number in zip(TEXTS, NUMBERS, strict=False)
    ]
    toys = [table(lines, title=EVIL, notes=TEXTS, marked=[0, 1]), table([*lines] * 10, title=EVIL, notes=TEXTS)]
    written = export(Options(str(out)), str(tmp_path), formats_of("tex")).names
    for i, toy in enumerate(toys):
        (tmp_path / f"{i}.tex").write_bytes(latex(toy, f"tiny-{i}"))
    inputs = "".join(rf"\input{{{name}}}" for name in (*written, "0.tex", "1.tex"))
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx,longtable}"
    (tmp_path / "paper.tex").write_text(
        rf"\documentclass{{article}}{packages}\begin{{document}}{inputs}\end{{document}}"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=batchmode", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, (tmp_path / "paper.log").read_text(errors="replace")


def test_markdown_shows_each_character() -> None:
    text = markdown(
        table([["a|b *c* [d](e)", Value(0.7, "0.70")], ["f", None]], notes=["<b>"], marked=[1]), "toy"
    ).decode()
    assert text.startswith("**Toy**\n\n| first ")
    assert r"| a\|b \*c\* \[d\](e) |" in text
    assert re.search(r"\|\s+0\.70 \|", text)
    assert "| **f** " in text
    assert text.endswith("\n\n\\<b\\>\n")


def test_csv_has_full_precision_and_no_undefined_numbers() -> None:
    lines: list[list[str | Value | None]] = [
        ['a,"b"', Value(1 / 3, "0.333")],
        ["c", Value(float("nan"), "–")],
        [None, Value(None, "–")],
    ]
    assert raw_values(table(lines), "toy").decode() == f'first,second\n"a,""b""",{1 / 3!r}\nc,\n,\n'
