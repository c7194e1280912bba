"""One self-contained HTML page of the studies' results.

``page`` writes it · ``sections`` has a file for each part of a study's report, listed in ``SECTIONS`` · ``context`` is
what sections read from: ``--out`` and the store · ``provenance`` says where the numbers come from · ``summary`` is a
study in one sentence · ``drawing`` is how figures look · ``readme`` makes the picture of the README.
"""

from runner.report.page import write_report
from runner.report.readme import readme_figure, write_readme_figure

__all__ = ["readme_figure", "write_readme_figure", "write_report"]
