"""Compare two outputs: their configuration, their cells, and their results.

``outputs`` reads an output · ``configuration`` compares studies, and the code, device and weights behind the rows ·
``matching`` finds the cells of both outputs · ``measured`` compares their metrics · ``contradictions`` finds cells that
should be equal and are not · ``differences`` collects all differences.
"""

from goodshot.runner.differences.differences import Differences, differences_between

__all__ = ["Differences", "differences_between"]
