"""The interface of a section of a study's report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from goodshot.runner.report.context import StudyContext

Shown = TypeVar("Shown")


class Section(ABC, Generic[Shown]):
    """One part of a study's report: ``gather`` reads the values to show, then ``html`` renders them."""

    @abstractmethod
    def gather(self, study: StudyContext) -> Shown | None:
        """Return the values to show of a study with at least one row, as plain data; None if there is nothing to show.

        Artifacts are read with :meth:`StudyContext.read`, which lists a missing one on the page; it is then left out.
        """

    @abstractmethod
    def html(self, study: StudyContext, shown: Shown) -> str:
        """Render the gathered values as HTML. Texts from users and files have to be escaped."""
