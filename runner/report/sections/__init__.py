"""The sections of a study's report, in the order of the page.

To add one, write a class in a file of its own in this folder, and list it in :data:`SECTIONS`.
"""

from __future__ import annotations

from goodshot.runner.report.sections.anomaly_maps import AnomalyMaps
from goodshot.runner.report.sections.base import Section
from goodshot.runner.report.sections.breakdowns import Breakdowns
from goodshot.runner.report.sections.curves import Curves
from goodshot.runner.report.sections.galleries import Galleries
from goodshot.runner.report.sections.headline import Headline
from goodshot.runner.report.sections.heat_maps import HeatMaps
from goodshot.runner.report.sections.latents import Latents
from goodshot.runner.report.sections.made_defects import MadeDefectGalleries
from goodshot.runner.report.sections.parallel import ParallelCoordinates
from goodshot.runner.report.sections.prompts import Prompts
from goodshot.runner.report.sections.results import ResultsTable
from goodshot.runner.report.sections.scatter import Scatter
from goodshot.runner.report.sections.search import Search
from goodshot.runner.report.sections.supports import Supports
from goodshot.runner.report.sections.sweep import Sweep
from goodshot.runner.report.sections.unfinished import Unfinished

__all__ = ["SECTIONS", "Section"]

SECTIONS: tuple[Section, ...] = (
    Headline(),
    Unfinished(),
    ResultsTable(),
    Supports(),
    Sweep(),
    HeatMaps(),
    ParallelCoordinates(),
    Search(),
    Scatter(),
    Breakdowns(),
    Galleries(),
    MadeDefectGalleries(),
    AnomalyMaps(),
    Curves(),
    Latents(),
    Prompts(),
)
