"""Typed handles of Ray actors.

The methods of a handle run in the actor's process. A method that returns nothing or a reference only sends a message;
any other method waits for its result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray import ObjectRef
from ray.actor import ActorHandle
from ray.exceptions import RayError

from goodshot.runner.cluster.silence import Pulse
from goodshot.runner.executor.progress import Progress
from goodshot.runner.plan.plan import Plan, Trial
from goodshot.runner.stages.base import Stage

CLOSE_SECONDS = 5.0
"""How long the handle waits for the broker to release its leases."""
Outcome = Mapping[str, Any] | None
"""The columns of a cell's row that the value of a trial is computed from; None for a failed or skipped cell."""


def _answer(reference: ObjectRef[Any], timeout: float | None = None) -> Any:
    """Wait for the result of a method of an actor. Ray does not know its type: it takes methods for functions."""
    return ray.get(reference, timeout=timeout)


class Listener:
    """Sends the reports of a running stage to the broker."""

    def __init__(self, broker: ActorHandle[Any]) -> None:
        self._broker = broker

    def announce(self, key: str) -> None:
        """Report an artifact that is committed while its stage continues."""
        self._broker.announce.remote(key)

    def stepped(self, stage: str, steps: int, seconds: float) -> None:
        """Report training steps of a stage, and the seconds that they took."""
        self._broker.stepped.remote(stage, steps, seconds)

    def pulse(self, pulse: Pulse) -> None:
        """Report that a running stage lives."""
        self._broker.pulse.remote(pulse)


def own_listener() -> Listener | None:
    """Return what sends reports to the broker that this process is; None if this process is no actor."""
    context = ray.get_runtime_context()
    return None if context.get_actor_id() is None else Listener(context.current_actor)


class Gate:
    """Asks the broker whether a node may run stages, because Ray may use a new node before it has been checked."""

    def __init__(self, broker: ActorHandle[Any]) -> None:
        self._broker = broker

    def may_run(self, node: str, ticket: str) -> bool:
        """Wait until the node with this Ray id has been checked. Returns whether it may get work.

        Args:
            ticket: the ticket of the job that Ray has placed on the node.
        """
        return bool(ray.get(self._broker.may_run.remote(node, ticket)))


class Running:
    """Cells that the broker runs in the background."""

    def __init__(self, reference: ObjectRef[Any]) -> None:
        self._reference = reference

    def wait(self) -> None:
        """Wait until all cells have ended."""
        ray.get(self._reference)


class BrokerHandle:
    """A handle of the broker for the driver and for trials. It can be sent to other processes."""

    def __init__(self, actor: ActorHandle[Any]) -> None:
        self._actor = actor
        self._begun: dict[str, Trial] = {}

    def __reduce__(self) -> tuple[type[BrokerHandle], tuple[ActorHandle[Any]]]:
        """Return the handle without the begun trials for pickling, because only the driver restores the broker."""
        return BrokerHandle, (self._actor,)

    def run(self, fingerprints: Sequence[str]) -> Running:
        """Start running these cells in the background."""
        return Running(self._actor.run.remote(list(fingerprints)))

    def cells(self, fingerprints: Sequence[str]) -> list[Outcome]:
        """Wait until these cells have ended and return their outcomes, in order."""
        outcomes: list[Outcome] = _answer(self._actor.cells.remote(list(fingerprints)))
        return outcomes

    def admit(self, checked: frozenset[str], faulty: frozenset[str]) -> None:
        """Send the broker the Ray ids of the checked nodes, and of the faulty nodes, which must get no work."""
        self._actor.admit.remote(checked, faulty)

    def learn(self, part: Plan) -> None:
        """Add cells and stages to the broker's plan, and wait until they are in it."""
        _answer(self._actor.learn.remote(part))

    def at_once(self, stages: Sequence[Stage]) -> int:
        """Return how many of these stages run at once on the nodes that the cluster has now; at least one."""
        count: int = _answer(self._actor.at_once.remote(stages))
        return count

    def begin(self, trial: Trial) -> None:
        """Publish the cells of a trial that Ray Tune has begun, for :meth:`trial`."""
        self._begun[trial.key] = trial
        self._actor.begin.remote(trial)

    def trial(self, key: str) -> Mapping[int, tuple[str, ...]]:
        """Wait for :meth:`begin`, and return the fingerprints of the trial's cells by L; empty for an invalid point."""
        cells: Mapping[int, tuple[str, ...]] = _answer(self._actor.trial.remote(key))
        return cells

    def progress(self, timeout: float | None = None) -> Progress:
        """Return the progress of the run. Raises RayError if the cluster is gone or ``timeout`` seconds have passed."""
        progress: Progress = _answer(self._actor.snapshot.remote(), timeout)
        return progress

    def restore(self, plan: Plan, progress: Progress) -> None:
        """Send the state of the run to a broker whose process was lost and that Ray has started again.

        Args:
            plan: all cells and stages that the driver has planned.
            progress: the last counts that the driver has seen.
        """
        # Copied, because another thread may plan a further point during the call; copying a dictionary is atomic.
        known = Plan(dict(plan.stages), dict(plan.cells), dict(plan.cells_of))
        ray.get(self._actor.restore.remote(known, list(self._begun.values()), progress))

    def close(self) -> None:
        """Release the broker's leases, so that other drivers need not wait until the leases expire; end the actor."""
        with suppress(RayError):
            ray.get(self._actor.close.remote(), timeout=CLOSE_SECONDS)
        # On a cluster that stays up, this also ends the tasks and actors that the broker has started.
        with suppress(RayError):
            ray.kill(self._actor)
