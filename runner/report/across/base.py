"""The interface of a section about a whole experiment, across its studies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from goodshot.runner.report.blocks import Block
from goodshot.runner.report.experiment import ExperimentContext


class AcrossSection(ABC):
    """One part of an experiment's report. ``name`` and ``title`` are as in a study's section."""

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def blocks(self, experiment: ExperimentContext) -> Iterable[Block]:
        """Return the section's blocks; none if the experiment, which has a row at least, has no data for it."""
