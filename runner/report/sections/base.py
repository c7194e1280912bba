"""The interface of a section of a study's report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from goodshot.runner.report.blocks import Block
from goodshot.runner.report.context import StudyContext


class Section(ABC):
    """One part of a study's report.

    name: its name in snake case, with which the names of exported files begin. title: its heading on the page; empty
    for a section that continues the one before it.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def blocks(self, study: StudyContext) -> Iterable[Block]:
        """Return the section's texts, tables, charts and galleries; none if there is nothing to show.

        The study may have no finished cell yet. Artifacts are read with :meth:`StudyContext.read`, which lists a
        missing one on the page; it is then left out.
        """
