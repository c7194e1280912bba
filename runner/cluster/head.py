"""End a run soon after the head of the joined cluster has died, with a message of one line.

Ray's own client waits a minute for a lost head and then ends the process with Ray's messages, so that the run cannot
write its final status. To notice the loss earlier, a thread connects to the head's port every second.

A slow head does not end a run, because the kernel of the head's machine accepts a connection even if the head's process
does not respond. Only these cases count as a failure: a refused connection, an unreachable network or machine, or no
answer at all for :data:`CONNECT_SECONDS`. A successful connection resets the count of failures.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from goodshot.components.errors import GoodshotError

LOOK_SECONDS = 1.0
"""Pause between two connections to the head."""
CONNECT_SECONDS = 2.0
"""Time limit of a connection. It allows one retry of the kernel if the head's queue of connections is full."""
FAILURES = 3
"""Number of consecutive failed connections after which the head counts as dead. That takes 2 to 3 s if the machine
refuses connections, and 8 to 9 s if it does not answer, because of a power loss or a firewall."""
GRACE_SECONDS = 4.0
"""How long a run may take to end by itself after its head counts as dead. Some calls of Ray's client cannot be
interrupted by a signal, for example Ray Tune's requests for the cluster's resources. After this time, the watching
thread writes the final status of the run and ends the process."""
CONCLUDE_SECONDS = 5.0
"""Time limit of writing the final status, which needs only the results' folder and not the cluster."""
EXIT_CODE = 3
"""The exit code of a command whose cluster no longer answers."""
RAYS_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's environment variable for how long its client waits for a lost head. It is set on clusters whose head is
restarted, such as KubeRay with GCS fault tolerance. The head does not count as dead before this time has passed."""
_NOBODY = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN)
_SIGNAL = signal.SIGUSR2
"""The signal that interrupts the main thread. SIGINT is unsuitable, because a shell's background command ignores it."""


class HeadLost(GoodshotError):
    """The head of the joined cluster has died, or can no longer be reached."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the head of the cluster at {address} no longer answers, so this run has ended; everything finished is "
            "kept: start the cluster and run the same command again"
        )


class HeadWatch:
    """Checks from a thread whether a head answers, and interrupts the main thread when the head counts as dead.

    Args:
        address: ``HOST:PORT`` of the head.
        interrupts: whether the run is in the main thread, and the signal's handler is installed.
        conclude: writes the final status of the run, if the main thread cannot.
    """

    def __init__(self, address: str, interrupts: bool, conclude: Callable[[], object]) -> None:
        host, _, port = address.rpartition(":")
        self.address = address
        self._endpoint, self._interrupts = (host.strip("[]"), int(port)), interrupts
        self._patience, self._conclude = _rays_patience(), conclude
        self._stop, self._decided, self._is_lost = threading.Event(), threading.Condition(), False
        self._thread = threading.Thread(target=self._loop, name="head watch", daemon=True)

    def start(self) -> None:
        """Start the thread that checks the head."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the checks. After this call, the thread neither interrupts the main thread nor ends the process."""
        with self._decided:
            self._stop.set()

    @property
    def is_lost(self) -> bool:
        """Whether the head counts as dead."""
        return self._is_lost

    def reason_of(self, error: BaseException) -> BaseException:
        """Return why a run ended with an error: :class:`HeadLost` if its head is dead, otherwise the error itself.

        A dying head takes down other processes of its machine, so Ray's errors may come before the head counts as dead.
        If the head does not answer, this method waits until the head answers or counts as dead.
        """
        with self._decided:
            self._interrupts = False
        while isinstance(error, Exception) and not self._is_lost and not _answers(self._endpoint):
            with self._decided:
                self._decided.wait_for(lambda: self._is_lost, timeout=LOOK_SECONDS)
        return HeadLost(self.address) if self._is_lost else error

    def _loop(self) -> None:
        failures, first = 0, 0.0
        while not self._stop.wait(LOOK_SECONDS):
            began = time.monotonic()
            if _answers(self._endpoint):
                failures = 0
                continue
            first = first if failures else began
            failures += 1
            if failures >= FAILURES and time.monotonic() - first >= self._patience:
                self._give_up()
                return

    def _give_up(self) -> None:
        with self._decided:
            if self._stop.is_set():
                return
            self._is_lost = True
            self._decided.notify_all()
            interrupted = self._interrupts
            if interrupted:
                signal.pthread_kill(_main_thread(), _SIGNAL)
        if not interrupted or self._stop.wait(GRACE_SECONDS):
            return
        with self._decided:
            if self._stop.is_set():
                return
            concluding = threading.Thread(target=self._conclude, name="last status", daemon=True)
            concluding.start()
            concluding.join(CONCLUDE_SECONDS)
            sys.stderr.write(f"goodshot: {HeadLost(self.address)}\n")
            leave()


@contextmanager
def watched_head(is_joined: bool, conclude: Callable[[], object] = lambda: None) -> Iterator[HeadWatch | None]:
    """Watch the head of the cluster that this process is connected to during a ``with`` block.

    When the head counts as dead, the main thread gets a KeyboardInterrupt, the only exception that ends Ray's blocking
    calls; :meth:`HeadWatch.reason_of` distinguishes it from Ctrl-C. Other threads cannot be interrupted, so a run in
    another thread may continue a call into Ray until Ray itself ends the process.

    Args:
        is_joined: whether the cluster runs apart from this process; the head of a local cluster is not watched.
        conclude: writes the final status of the run, if the main thread cannot within :data:`GRACE_SECONDS`.
    """
    if not is_joined:
        yield None
        return
    import ray

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(_SIGNAL, _interrupt) if in_main else None
    watch = HeadWatch(ray.get_runtime_context().gcs_address, in_main, conclude)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
        if in_main:
            signal.signal(_SIGNAL, before if before is not None else signal.SIG_DFL)


def is_head_lost(error: BaseException) -> bool:
    """Return whether the error or its direct cause is a lost head, with which ``ray.shutdown`` would not return."""
    return isinstance(error, HeadLost) or isinstance(error.__cause__, HeadLost)


def leave() -> None:
    """End this process without Ray's exit handlers, which would wait for the head."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(EXIT_CODE)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _main_thread() -> int:
    return threading.main_thread().ident or 0


def _rays_patience() -> float:
    """Return the seconds that :data:`RAYS_PATIENCE` is set to; 0 if the variable is not set or not a number."""
    try:
        return float(os.environ.get(RAYS_PATIENCE, "0"))
    except ValueError:
        return 0.0


def _answers(endpoint: tuple[str, int]) -> bool:
    """Return whether a process listens at ``endpoint``.

    An error of this machine, such as too many open files, counts as an answer.
    """
    try:
        socket.create_connection(endpoint, CONNECT_SECONDS).close()
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno not in _NOBODY
    return True
