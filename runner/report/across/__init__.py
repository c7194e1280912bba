"""The sections of an experiment's report across its studies, in the order of the page.

To add one, write a class in a file of its own in this folder and list it in :data:`ACROSS`. A section reads the data of
any experiment and shows nothing where it has nothing to say; no section asks for an experiment's name.
"""

from __future__ import annotations

from goodshot.runner.report.across.arms import Arms
from goodshot.runner.report.across.base import AcrossSection
from goodshot.runner.report.across.methods import Methods
from goodshot.runner.report.across.most_improved import MostImproved
from goodshot.runner.report.across.published import Published
from goodshot.runner.report.across.shots import Shots

__all__ = ["ACROSS", "AcrossSection"]

ACROSS: tuple[AcrossSection, ...] = (Arms(), Methods(), Published(), MostImproved(), Shots())
