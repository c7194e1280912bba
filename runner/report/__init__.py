"""One self-contained HTML page of a study's results.

``page`` is what it shows · ``gather`` reads that from ``--out`` and the store · ``headline`` says what the rows say ·
``breakdown`` makes tables of the long metrics, ``search`` one of the trials · ``charts``, ``search_charts`` and
``figures`` draw · ``render`` puts all of it into ``page.html.j2``.
"""

from runner.report.figures import readme_figure
from runner.report.render import write_readme_figure, write_report

__all__ = ["readme_figure", "write_readme_figure", "write_report"]
