"""How two outputs differ: in their configuration, in their cells, and in their results.

``outputs`` reads an output · ``configuration`` compares studies and what the rows were made with · ``matching`` finds
the cells of both · ``measured`` compares their metrics · ``contradictions`` finds cells that should be equal and are
not · ``differences`` collects all of it.
"""

from goodshot.runner.differences.differences import Differences, differences_between

__all__ = ["Differences", "differences_between"]
