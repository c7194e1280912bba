"""Run the schedule of a seed, repeat the command until the study is done, and say what happened."""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import checks
from tests.chaos.faults import mounted
from tests.chaos.schedules import Strike, schedule
from tests.chaos.world import Reference, World

MOST_COMMANDS = 8
"""How often the command is repeated at most; fewer than twice as often as faults come."""
PATIENCE_SECONDS = 240.0
"""How long one command may take before the run counts as one that stands still."""
LOOK_SECONDS = 0.25
TARGET_SECONDS = 60.0
"""How long a fault waits for something that it can be done to, such as a process of a kind."""


@dataclass
class Struck:
    """A fault that was done: its kind, when (seconds after the first command), and how long until work went on.

    recovered: seconds until more was made than at the fault; None if nothing was left to make.
    """

    fault: str
    at: float
    made: int
    recovered: float | None = None


@dataclass
class Outcome:
    """What a run under faults left.

    missed: faults that found no target, or for which the study was done too soon.
    exits: the exit code of each command.
    pieces: how many unfinished files are left.
    problems: what did not hold, a line each.
    """

    seed: int
    struck: list[Struck] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    seconds: float = 0.0
    pieces: int = 0
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The outcome as plain values."""
        return asdict(self)


def run(
    seed: int, reference: Reference, folder: Path, strikes: tuple[Strike, ...] | None = None, together: int = 1
) -> Outcome:
    """Run the study under the faults of a seed in an empty folder, which is deleted if all is well.

    together: how many drivers run the command at once.
    """
    strikes = schedule(seed) if strikes is None else strikes
    folder.mkdir(parents=True)
    place = folder / "disk"
    needs_mount = any(strike.fault.mounted for strike in strikes)
    has_mount = needs_mount and mounted(place)
    if needs_mount and not has_mount:
        strikes = tuple(strike for strike in strikes if not strike.fault.mounted)
    world = World(
        reference,
        folder,
        str(place / "out") if has_mount else "",
        str(place / "store") if has_mount else "",
        tracked=any(strike.fault.tracked for strike in strikes),
        together=together,
    )
    outcome, began = Outcome(seed), time.monotonic()
    watch = _Watch(world, outcome, began)
    try:
        with watch:
            _repeat(world, deque(strikes), outcome, watch)
        outcome.seconds = round(time.monotonic() - began, 1)
        outcome.problems += checks.problems(world)
        outcome.pieces = checks.pieces(world)
    except BaseException as error:
        outcome.problems.append(f"harness: {type(error).__name__}: {error}")
        raise
    finally:
        world.close()
        if left := _left_behind(world):
            outcome.problems.append(f"orphans: {len(left)}, such as {left[0]}")
            world.kill_left_behind()
        if has_mount:
            _unmount(place, keep=bool(outcome.problems))
        if not outcome.problems:
            shutil.rmtree(folder)
    return outcome


def _repeat(world: World, strikes: deque[Strike], outcome: Outcome, watch: _Watch) -> None:
    for _ in range(MOST_COMMANDS):
        world.ensure_cluster()
        # Those of several that have ended well are not repeated.
        started = [world.start() for _ in range(1 if outcome.exits else world.together)]
        _strike_while_they_run(world, strikes, outcome, watch)
        if world.running:
            outcome.problems.append(f"stands still: command {len(world.drivers)} for {PATIENCE_SECONDS:g} s")
            return
        outcome.exits += [driver.process.returncode for driver in started]
        if not any(driver.process.returncode for driver in started):
            outcome.missed += [strike.fault.name for strike in strikes]
            return
        world.undo.close()
    outcome.problems.append(f"not done after {MOST_COMMANDS} commands")


def _strike_while_they_run(world: World, strikes: deque[Strike], outcome: Outcome, watch: _Watch) -> None:
    last = began = time.monotonic()
    while world.running and (now := time.monotonic()) - began < PATIENCE_SECONDS:
        if strikes and now - last >= strikes[0].delay:
            made = world.made()
            if strikes[0].fault.strike(world, strikes[0].choice):
                watch.add(Struck(strikes.popleft().fault.name, round(now - watch.began, 1), made))
                last = now
            elif now - last >= strikes[0].delay + TARGET_SECONDS:
                outcome.missed.append(strikes.popleft().fault.name)
                last = now
        time.sleep(0.05)


class _Watch:
    """Notes for each fault when work went on, in a thread."""

    def __init__(self, world: World, outcome: Outcome, began: float) -> None:
        self.world, self.outcome, self.began = world, outcome, began
        self._ended, self._thread = threading.Event(), threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def add(self, struck: Struck) -> None:
        """Watch for the recovery from a fault."""
        self.outcome.struck.append(struck)

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            waiting = [struck for struck in self.outcome.struck if struck.recovered is None]
            if not waiting:
                continue
            made = self.world.made()
            for struck in waiting:
                if made > struck.made:
                    struck.recovered = round(time.monotonic() - self.began - struck.at, 1)


def _left_behind(world: World) -> list[str]:
    """What still runs some seconds after the end of driver and cluster: Ray's processes take a moment to notice it."""
    deadline = time.monotonic() + 10
    while (left := world.left_behind()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def _unmount(place: Path, keep: bool) -> None:
    import subprocess

    if keep:
        shutil.copytree(place, place.with_name("disk.kept"), dirs_exist_ok=True, ignore_dangling_symlinks=True)
    subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)
