"""Tasks and actors that Ray has not begun, which are submitted again when a node is admitted.

The nodes that a task or an actor avoids are fixed when it is submitted. A task that was submitted during the check of a
node avoids that node forever, and would never run if no other node is left.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable


class Withdrawn(Exception):
    """A job was cancelled before it began, and has to be submitted again."""


class Submissions:
    """The submitted tasks and actors that avoid nodes which may still be admitted, each identified by a ticket."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[frozenset[str], Callable[[], object]]] = {}
        self._withdrawn: set[str] = set()
        self._jobs: dict[str, bool] = {}
        """The jobs that have not ended, by ticket: whether the job's node was found sound and let the job run."""

    def ticket(self) -> str:
        """Return a new ticket. Tickets are unique, even after a restart of the broker."""
        return uuid.uuid4().hex

    def job(self) -> str:
        """Return a new ticket of a job, which is kept until :meth:`ended` is called."""
        ticket = self.ticket()
        self._jobs[ticket] = False
        return ticket

    def wait(self, ticket: str, avoided: frozenset[str], withdraw: Callable[[], object]) -> None:
        """Note that the task or actor of a ticket was submitted, unless the ticket is noted already.

        Args:
            avoided: Ray ids of the nodes that the submission avoids because they have not been checked yet.
            withdraw: cancels the submission, so that the process that waits for its result gets an error.
        """
        if avoided:
            self._waiting.setdefault(ticket, (avoided, withdraw))

    def began(self, ticket: str) -> None:
        """Note that Ray runs the task or actor of a ticket, so that it is not cancelled any more."""
        self._waiting.pop(ticket, None)

    def passed(self, ticket: str) -> None:
        """Note that the node of a job was found sound and let the job run."""
        if ticket in self._jobs:
            self._jobs[ticket] = True

    def has_passed(self, ticket: str) -> bool:
        """Return whether a job has not ended and its node was found sound and let the job run."""
        return self._jobs.get(ticket, False)

    def ended(self, ticket: str) -> bool:
        """Forget a ticket. Returns whether its submission was cancelled here, which then explains its error."""
        self._waiting.pop(ticket, None)
        self._jobs.pop(ticket, None)
        is_withdrawn = ticket in self._withdrawn
        self._withdrawn.discard(ticket)
        return is_withdrawn

    def admit(self, nodes: frozenset[str]) -> None:
        """Cancel the submissions that avoid one of these nodes and that have not begun."""
        for ticket, (avoided, withdraw) in [*self._waiting.items()]:
            if avoided & nodes:
                del self._waiting[ticket]
                self._withdrawn.add(ticket)
                withdraw()
