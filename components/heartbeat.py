"""Signs of life of long computations.

The loops of trainings, detectors, encoders and metrics call :func:`beat` at each turn, some seconds apart at most.
Whoever runs a computation may listen, and so can tell one that is slow from one that stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listener: Callable[[], object] | None = None


def beat() -> None:
    """Give a sign of life. It costs a function call if nobody listens."""
    if _listener is not None:
        _listener()


@contextmanager
def heard(listener: Callable[[], object]) -> Iterator[None]:
    """Call ``listener`` at each sign of life in this process during a ``with`` block."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before
