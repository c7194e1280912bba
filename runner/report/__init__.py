"""One self-contained HTML page of the studies' results.

``page`` writes the page · ``sections`` has a file for each section of a study's report, listed in ``SECTIONS`` ·
``context`` reads ``--out`` and the store for the sections · ``provenance`` collects where the numbers come from ·
``summary`` describes a study in one sentence · ``drawing`` holds the style of the figures · ``readme`` draws the
picture of the README.
"""

from goodshot.runner.report.page import write_report
from goodshot.runner.report.readme import readme_figure, write_readme_figure

__all__ = ["readme_figure", "write_readme_figure", "write_report"]
