"""The process that writes W&B runs: it reads messages from its standard input until the driver closes it.

With a separate process, W&B can neither slow down the driver, nor change the driver's environment, nor block the driver
by not answering. The process runs on the driver's machine, so that W&B's files lie beside the driver's other files, and
W&B's API key, which is in the driver's environment, is not sent to another machine.
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
"""How long the process waits for a message before it looks for newly finished cells."""
NICENESS = 10


def main() -> None:
    """Handle messages until there are no more, then close the runs that are open."""
    os.nice(NICENESS)
    answers = os.fdopen(os.dup(1), "wb")
    # The driver reads answers from the original standard output, so the output that W&B prints is discarded.
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
    # The driver has made this folder, but may have been killed before it could delete the folder.
    shutil.rmtree(first.temporary, ignore_errors=True)


def _read(source: BinaryIO, messages: queue.Queue[Any]) -> None:
    """Put every message into the queue, and None at the end of the input, which ends even if the driver is killed."""
    with suppress(EOFError, pickle.UnpicklingError, OSError):
        while True:
            messages.put(pickle.load(source))  # noqa: S301  The driver alone can write to this pipe.
    messages.put(None)


def _answer(answers: BinaryIO, logged: object) -> None:
    # Writing fails if the driver has died.
    with suppress(OSError):
        pickle.dump(logged, answers)
        answers.flush()


if __name__ == "__main__":
    main()
