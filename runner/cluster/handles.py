"""The seam to Ray: actors as typed objects.

What is called on a handle runs in another process. A method that returns nothing only sends a message; one that returns
a value waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from runner.executor.progress import Progress
from runner.plan.plan import Plan, Trial

CLOSE_SECONDS = 5.0
Outcome = Mapping[str, Any] | None
"""What trials are judged by of one cell; None of a cell that failed."""


class Listener:
    """What a running stage tells the broker."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker

    def announce(self, key: str) -> None:
        """An artifact is in the store, though the stage that makes it goes on."""
        self._broker.announce.remote(key)

    def stepped(self, stage: str, steps: int, seconds: float) -> None:
        """A stage has made training steps."""
        self._broker.stepped.remote(stage, steps, seconds)


class Running:
    """Cells that the broker runs meanwhile."""

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def wait(self) -> None:
        """Wait for all of them."""
        ray.get(self._reference)


class BrokerHandle:
    """The broker, as the driver and trials see it. It can be sent to other processes."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def run(self, fingerprints: Sequence[str]) -> Running:
        """Begin to run these cells."""
        return Running(self._actor.run.remote(list(fingerprints)))

    def cells(self, fingerprints: Sequence[str]) -> list[Outcome]:
        """The outcomes of cells, in order, as soon as all are finished."""
        found: list[Outcome] = ray.get(self._actor.cells.remote(list(fingerprints)))
        return found

    def outcomes(self, fingerprints: Sequence[str]) -> Any:
        """A reference to what :meth:`cells` returns, for an actor that is given it."""
        return self._actor.cells.remote(list(fingerprints))

    def learn(self, part: Plan) -> None:
        """More cells and stages, of a point that was chosen just now."""
        self._actor.learn.remote(part)

    def begin(self, trial: Trial) -> None:
        """Ray Tune has begun a trial of this point, all of whose cells are known."""
        self._actor.begin.remote(trial)

    def trial(self, key: str) -> Mapping[int, tuple[str, ...]]:
        """The cells of a trial by L, as soon as they are known; none of a point that cannot be."""
        cells: Mapping[int, tuple[str, ...]] = ray.get(self._actor.trial.remote(key))
        return cells

    def progress(self, timeout: float | None = None) -> Progress:
        """Where the run is. Raises RayError if the cluster is gone."""
        progress: Progress = ray.get(self._actor.snapshot.remote(), timeout=timeout)
        return progress

    def close(self) -> None:
        """Give every lease back, now and not when it looks dead, and end the actor."""
        with suppress(RayError):
            ray.get(self._actor.close.remote(), timeout=CLOSE_SECONDS)
        # Where the cluster stays, what it has started goes with it.
        with suppress(RayError):
            ray.kill(self._actor)
