"""One self-contained HTML page of a study's results.

``gather`` reads ``--out`` and the store · ``figures`` draws · ``render`` puts both into ``page.html.j2``.
"""

from runner.report.render import write_readme_figure, write_report

__all__ = ["write_readme_figure", "write_report"]
