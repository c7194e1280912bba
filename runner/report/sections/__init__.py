"""The sections of a study's report, in the order of the page.

To add one, write a class in a file of its own in this folder and a template next to it, and list it in
:data:`SECTIONS`.
"""

from __future__ import annotations

from typing import Any

from runner.report.sections.anomaly_maps import AnomalyMaps
from runner.report.sections.base import Section
from runner.report.sections.breakdowns import Breakdowns
from runner.report.sections.curves import Curves
from runner.report.sections.galleries import Galleries
from runner.report.sections.headline import Headline
from runner.report.sections.heat_maps import HeatMaps
from runner.report.sections.prompts import Prompts
from runner.report.sections.published import Published
from runner.report.sections.results import ResultsTable
from runner.report.sections.search import Search
from runner.report.sections.supports import Supports

__all__ = ["SECTIONS", "Section"]

SECTIONS: tuple[Section[Any], ...] = (
    Headline(),
    ResultsTable(),
    Published(),
    Supports(),
    HeatMaps(),
    Search(),
    Breakdowns(),
    Galleries(),
    AnomalyMaps(),
    Curves(),
    Prompts(),
)
