"""The tables and charts of a report as files for a paper: Markdown, LaTeX, CSV, PDF, PNG and SVG.

``export`` collects the blocks and writes the files and their index · ``formats`` lists the formats · ``markdown``,
``latex`` and ``raw_values`` write a table.
"""

from goodshot.runner.export.export import export
from goodshot.runner.export.formats import FORMATS, formats_of

__all__ = ["FORMATS", "export", "formats_of"]
