"""The schedule of a seed: which faults, how long after one another, and to which of several targets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.faults import FAULTS, Fault

MOST_FAULTS = 4
SHORTEST, LONGEST = 0.3, 7.0
"""Seconds between two faults. A run without faults takes about half a minute, of which ten seconds are its start."""
START_SECONDS = 6.0
"""Before this many seconds, a driver has not begun to work; a quarter of all first faults come earlier."""


@dataclass(frozen=True)
class Strike:
    """One fault of a schedule: seconds after the one before it, or after the driver's start, and a choice in [0, 1)."""

    delay: float
    fault: Fault
    choice: float


def schedule(seed: int, kinds: Sequence[Fault] = FAULTS) -> tuple[Strike, ...]:
    """The faults of a seed. Seeds go through all kinds: the first fault of seed s is kind s modulo their number."""
    draw = random.Random(seed)  # noqa: S311
    count = draw.randint(1, MOST_FAULTS)
    faults = [kinds[seed % len(kinds)], *(draw.choice(kinds) for _ in range(count - 1))]
    first = draw.uniform(0, START_SECONDS) if draw.random() < 0.25 else START_SECONDS + draw.uniform(0, 2 * LONGEST)
    delays = [first, *(draw.uniform(SHORTEST, LONGEST) for _ in range(count - 1))]
    return tuple(Strike(delay, fault, draw.random()) for delay, fault in zip(delays, faults, strict=True))
