"""Rows, scores and metrics of finished cells: write, read and compare them.

``from goodshot.runner import results; results.read("OUT")`` gives a pandas frame.
"""

from goodshot.runner.results.frames import read

__all__ = ["read"]
