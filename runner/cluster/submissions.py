"""What Ray has been given and has not begun, so that it can be given again when a node is admitted.

A task or an actor keeps the nodes that it avoids from its submission on. One that was submitted while a node was being
checked would avoid that node for ever, and wait without end if it is the only one left.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable


class Withdrawn(Exception):
    """A job was taken back before it began, to be submitted again."""


class Submissions:
    """The tasks and actors that avoid nodes which may still be admitted, by a ticket of their own."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[frozenset[str], Callable[[], object]]] = {}
        self._withdrawn: set[str] = set()
        self._jobs: dict[str, bool] = {}
        """Whether a sound node let each job run that has not ended."""

    def ticket(self) -> str:
        """A new ticket. None is given twice, also by a later life of the broker."""
        return uuid.uuid4().hex

    def job(self) -> str:
        """A new ticket of a job, which ends with :meth:`ended`."""
        ticket = self.ticket()
        self._jobs[ticket] = False
        return ticket

    def wait(self, ticket: str, avoided: frozenset[str], withdraw: Callable[[], object]) -> None:
        """Note what was just submitted, unless it has been noted already.

        Args:
            avoided: Ray ids of the nodes that it avoids only until they have been checked.
            withdraw: takes it back from Ray, so that whoever waits for it gets an error.
        """
        if avoided:
            self._waiting.setdefault(ticket, (avoided, withdraw))

    def began(self, ticket: str) -> None:
        """Note that it runs."""
        self._waiting.pop(ticket, None)

    def passed(self, ticket: str) -> None:
        """Note that its node was sound and let it run."""
        if ticket in self._jobs:
            self._jobs[ticket] = True

    def has_passed(self, ticket: str) -> bool:
        """Whether a sound node let a job run that has not ended."""
        return self._jobs.get(ticket, False)

    def ended(self, ticket: str) -> bool:
        """Forget it. Returns whether it was taken back, so that an error of it says nothing else."""
        self._waiting.pop(ticket, None)
        self._jobs.pop(ticket, None)
        is_withdrawn = ticket in self._withdrawn
        self._withdrawn.discard(ticket)
        return is_withdrawn

    def admit(self, nodes: frozenset[str]) -> None:
        """Take back what avoids one of these nodes and has not begun."""
        for ticket, (avoided, withdraw) in [*self._waiting.items()]:
            if avoided & nodes:
                del self._waiting[ticket]
                self._withdrawn.add(ticket)
                withdraw()
