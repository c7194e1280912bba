"""What a section of a study's report is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from runner.report.context import StudyContext

Shown = TypeVar("Shown")


class Section(ABC, Generic[Shown]):
    """One part of a study's report. It reads first what it shows, and draws and writes it then."""

    @abstractmethod
    def gather(self, study: StudyContext) -> Shown | None:
        """What it shows of a study with at least one row, as plain values; None where it has nothing to show.

        What the store no longer holds is read with :meth:`StudyContext.read`, which notes it, and left out.
        """

    @abstractmethod
    def html(self, study: StudyContext, shown: Shown) -> str:
        """That as HTML, with everything escaped that others have written."""
