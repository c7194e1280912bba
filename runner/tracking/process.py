"""The process that writes W&B runs: it reads messages from its standard input until the driver closes it.

It is a process of its own so that W&B can neither slow down the driver, nor change its environment, nor stop it by not
answering; and one of the driver's machine, so that its files lie beside the driver's others, and the key of W&B, which
is in the driver's environment, has no need to travel.
"""

from __future__ import annotations

import os
import pickle
import queue
import shutil
import sys
import threading
from contextlib import suppress
from typing import Any, BinaryIO

from goodshot.runner.tracking.messages import Started

LOOK_SECONDS = 10.0
"""After how long without a message it looks for newly finished cells."""
NICENESS = 10


def main() -> None:
    """Handle messages until there are no more, then close the runs that are open."""
    os.nice(NICENESS)
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever W&B prints is not for the driver.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from goodshot.runner.tracking.follower import Follower

    messages: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, messages), daemon=True).start()
    first: Started | None = messages.get()
    if first is None:
        return
    follower = Follower(first)
    _answer(answers, follower.logged)
    while True:
        try:
            message = messages.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            follower.look()
        else:
            if message is None:
                break
            follower.handle(message)
        _answer(answers, follower.logged)
    follower.finish()
    _answer(answers, follower.logged)
    follower.tear_down()
    # The driver made this folder, and may have been killed.
    shutil.rmtree(first.temporary, ignore_errors=True)


def _read(source: BinaryIO, messages: queue.Queue[Any]) -> None:
    """Put every message into the queue, and None at the end, which also comes when the driver dies."""
    with suppress(EOFError, pickle.UnpicklingError, OSError):
        while True:
            messages.put(pickle.load(source))  # noqa: S301  The driver alone can write to this pipe.
    messages.put(None)


def _answer(answers: BinaryIO, logged: object) -> None:
    # A driver that has died is not told any more.
    with suppress(OSError):
        pickle.dump(logged, answers)
        answers.flush()


if __name__ == "__main__":
    main()
