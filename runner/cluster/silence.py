"""Notice stages that stand still, and kill their processes, so that the stages are run again.

The process of a stage, or of the load of a value that stages share, sends the broker a pulse at its start and every
few seconds. A pulse says whether the stage's own loops have turned since the last one
(:mod:`goodshot.components.heartbeat`). A stage stands still if its process sends no pulse, as after a SIGSTOP or on a
file system that does not answer, or if its loops have turned before and turn no more. A stage without loops of its own
is judged by its process alone.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from goodshot.components.errors import GoodshotError
from goodshot.components.heartbeat import heard
from goodshot.runner.store.processes import started_at

PULSE_SECONDS = 5.0
"""Pause between two pulses."""
LATE_SECONDS = 3 * PULSE_SECONDS
"""If the broker looks so much later than it wanted to, it was stopped itself, and has not read the pulses."""


class StoodStill(GoodshotError):
    """A stage gave no sign of life for too long, and its process was killed."""


@dataclass(frozen=True)
class Pulse:
    """A sign of life of a job.

    node, pid, started: the node's Ray id, the process's id there, and the time at which the process started, in the
        kernel's units: another process may get the same id later.
    has_turned: whether the stage's loops have turned since the last pulse.
    has_ended: whether this is the last pulse of the job.
    """

    ticket: str
    node: str
    pid: int
    started: str
    has_turned: bool
    has_ended: bool = False


@dataclass
class _Watched:
    pulse: Pulse
    seen: float
    turned: float | None = None


class Silence:
    """The jobs that run, with the times of their last signs of life.

    Args:
        clock: the time in seconds, which never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limits: dict[str, float] = {}
        self._watched: dict[str, _Watched] = {}
        self._killed: dict[str, float] = {}
        self._looked = clock()

    def expect(self, ticket: str, limit: float) -> None:
        """Expect a job, which stands still after ``limit`` seconds without a sign; 0 for no limit."""
        self._limits[ticket] = limit

    def heard(self, pulse: Pulse) -> None:
        """Note a pulse."""
        if pulse.ticket not in self._limits:
            return
        if pulse.has_ended:
            self.ended(pulse.ticket)
            return
        now = self._clock()
        watched = self._watched.setdefault(pulse.ticket, _Watched(pulse, now))
        watched.pulse, watched.seen = pulse, now
        if pulse.has_turned:
            watched.turned = now

    def ended(self, ticket: str) -> float | None:
        """Forget a job. Returns after how many silent seconds it was killed; None if it was not."""
        self._limits.pop(ticket, None)
        self._watched.pop(ticket, None)
        return self._killed.pop(ticket, None)

    def standing(self) -> list[Pulse]:
        """Return the last pulse of each job that stands still, which is to be killed.

        A job whose process could not be killed stands still again after as long.
        """
        now, late = self._clock(), self._clock() - self._looked > LATE_SECONDS
        self._looked = now
        found = []
        for ticket, watched in [*self._watched.items()]:
            if late:
                watched.seen, watched.turned = now, None if watched.turned is None else now
            last = min(watched.seen, watched.seen if watched.turned is None else watched.turned)
            if 0 < self._limits[ticket] < now - last:
                self._killed[ticket] = now - last
                watched.seen, watched.turned = now, None
                found.append(watched.pulse)
        return found


@contextmanager
def pulsing(ticket: str, node: str, send: Callable[[Pulse], object]) -> Iterator[None]:
    """Send pulses from this process during a ``with`` block, the first one at once."""
    turned, ended = threading.Event(), threading.Event()
    pid, started = os.getpid(), started_at(os.getpid())

    def pulse(has_ended: bool = False) -> None:
        has_turned = turned.is_set()
        turned.clear()
        with suppress(Exception):  # without a broker there is no run, and Ray ends this process
            send(Pulse(ticket, node, pid, started, has_turned, has_ended))

    def keep() -> None:
        while not ended.wait(PULSE_SECONDS):
            pulse()

    pulse()
    thread = threading.Thread(target=keep, name="pulse", daemon=True)
    thread.start()
    try:
        with heard(turned.set):
            yield
    finally:
        ended.set()
        thread.join()
        pulse(has_ended=True)


def kill(pulse: Pulse) -> None:
    """Kill the process of a job that stands still, from another process on its node. Returns at once."""
    place = NodeAffinitySchedulingStrategy(pulse.node, soft=False)
    _kill.options(name="end a stage that stands still", scheduling_strategy=place).remote(pulse.pid, pulse.started)


@ray.remote(num_cpus=0, max_retries=0)
def _kill(pid: int, started: str) -> None:
    if started_at(pid) == started:
        os.kill(pid, signal.SIGKILL)
