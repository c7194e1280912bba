"""Rows, scores and metrics of finished cells, and what is read out of them.

``from goodshot.runner import results; results.read("OUT")`` gives a pandas frame.
"""

from goodshot.runner.results.frames import read

__all__ = ["read"]
