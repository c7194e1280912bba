"""Ends a run soon after the head of the cluster that it joined has died, in one line.

Ray's own client waits a minute for a lost head and then ends the process in Ray's words, so that the run cannot write
how it ended. Here a thread connects to the head's port every two seconds instead.

A head that is only slow ends no run: the kernel of its machine accepts the connection, whatever the head's process
does.
Only what says that nobody listens there counts as a failure: a refused connection, a network or machine that cannot be
reached, or no answer at all for :data:`CONNECT_SECONDS`. One connection that succeeds forgets all failures.
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

LOOK_SECONDS = 2.0
"""Pause between two connections."""
CONNECT_SECONDS = 4.0
"""How long one may take. A kernel whose queue of connections is full is asked again twice in this time."""
FAILURES = 3
"""How many in a row mean that the head is dead. A machine that refuses is given up after 4 to 6 s; one that is silent,
because it lost its power or a firewall came between, after 16 to 18 s."""
GRACE_SECONDS = 4.0
"""How long the run may take to end by itself once its head is given up. Some calls of Ray's client notice no signal,
for example those with which Ray Tune asks for the cluster's resources. After this time the watching thread writes how
the run ended, and ends the process."""
CONCLUDE_SECONDS = 5.0
"""How long that writing may take, which needs the results' folder and not the cluster."""
EXIT_CODE = 3
"""The exit code of a command whose cluster no longer answers."""
RAYS_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's variable for how long its client waits for a head. Whoever runs a head that is started again, such as KubeRay
with fault tolerance of the GCS, sets it; then the head is given up no earlier."""
_NOBODY = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN)
_SIGNAL = signal.SIGUSR2
"""Interrupts the main thread. SIGINT cannot: a command in the background of a shell ignores it."""


class HeadLost(GoodshotError):
    """The head of the joined cluster has died, or can no longer be reached."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the head of the cluster at {address} no longer answers, so this run has ended; everything finished is "
            "kept: start the cluster and run the same command again"
        )


class HeadWatch:
    """Looks from a thread whether a head lives, and interrupts the main thread when it is given up.

    Args:
        address: ``HOST:PORT`` of the head.
        interrupts: whether the main thread is that of the run, and has the handler of the signal.
        conclude: writes how the run ended, if the main thread cannot.
    """

    def __init__(self, address: str, interrupts: bool, conclude: Callable[[], object]) -> None:
        host, _, port = address.rpartition(":")
        self.address = address
        self._endpoint, self._interrupts = (host.strip("[]"), int(port)), interrupts
        self._patience, self._conclude = _rays_patience(), conclude
        self._stop, self._decided, self._is_lost = threading.Event(), threading.Condition(), False
        self._thread = threading.Thread(target=self._loop, name="head watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking: from now on nothing is interrupted and no process is ended."""
        with self._decided:
            self._stop.set()

    @property
    def is_lost(self) -> bool:
        """Whether the head was given up."""
        return self._is_lost

    def reason_of(self, error: BaseException) -> BaseException:
        """Why a run ended with an error: :class:`HeadLost` if its head is dead, otherwise the error itself.

        What runs beside the head is lost with it, so that Ray's errors may come before the head is given up. If the
        head does not answer now, this waits until it does or is given up.
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

    When the head is given up, the main thread gets a KeyboardInterrupt, the only exception that Ray's waiting calls let
    through; :meth:`HeadWatch.reason_of` tells it from Ctrl-C. Outside of the main thread nothing can be interrupted, so
    that a call into Ray may go on until Ray itself ends the process.

    Args:
        is_joined: whether it is a cluster that runs apart from this process; there is nothing to watch otherwise.
        conclude: writes how the run ended, if the main thread cannot within :data:`GRACE_SECONDS`.
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
    """Whether the error, or its direct cause, is a lost head: then a call to Ray that says goodbye would not return."""
    return isinstance(error, HeadLost) or isinstance(error.__cause__, HeadLost)


def leave() -> None:
    """End this process without what Ray does at the end of one, which waits for the head."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(EXIT_CODE)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _main_thread() -> int:
    return threading.main_thread().ident or 0


def _rays_patience() -> float:
    """Seconds for which the environment tells Ray's client to wait for a head; 0 if it does not."""
    try:
        return float(os.environ.get(RAYS_PATIENCE, "0"))
    except ValueError:
        return 0.0


def _answers(endpoint: tuple[str, int]) -> bool:
    """Whether somebody listens there. An error of this machine, such as too many open files, says nothing about it."""
    try:
        socket.create_connection(endpoint, CONNECT_SECONDS).close()
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno not in _NOBODY
    return True
