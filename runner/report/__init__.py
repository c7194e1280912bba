"""One self-contained HTML page of the studies' results.

``page`` writes the page, ``watching`` keeps it up to date · ``sections`` has a file for each section of a study's
report, listed in ``SECTIONS``, which returns ``blocks`` of plain data · ``rendering`` turns blocks into HTML with the
templates and scripts in ``html`` · ``charts`` and ``pictures`` hold the style of charts and pictures · ``answer`` puts
the result into words · ``rows`` embeds the rows behind the numbers · ``context`` reads ``--out`` and the store for the
sections · ``provenance`` and ``cost`` collect the origin and the cost of the numbers · ``readme`` draws the
picture of the README.
"""

from goodshot.runner.report.page import write_report
from goodshot.runner.report.readme import readme_figure, write_readme_figure

__all__ = ["readme_figure", "write_readme_figure", "write_report"]
