"""What must hold after a run under faults; each check yields a line for what does not."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from goodshot.runner.results.results import Results
from goodshot.runner.store.files import TEMPORARY
from goodshot.runner.store.leases import FOLDER
from tests.chaos.world import World, environment, measured
from tests.runner.loopback_nodes import ROOT


def problems(world: World) -> Iterator[str]:
    """Compare the rows with those of the undisturbed run, and look for what faults may have left behind."""
    yield from _rows(world)
    yield from _verify(world)
    yield from _leases(world)
    yield from _printed(world)


def _rows(world: World) -> Iterator[str]:
    found, wanted = measured(Results(world.out).rows()), world.reference.values
    if lost := wanted.keys() - found.keys():
        yield f"lost: {len(lost)} rows"
    if more := found.keys() - wanted.keys():
        yield f"more: {len(more)} rows that nobody asked for"
    for fingerprint in sorted(wanted.keys() & found.keys()):
        if different := [a[0] for a, b in zip(found[fingerprint], wanted[fingerprint], strict=True) if a != b]:
            yield f"different: {fingerprint[:12]} in {', '.join(different)}"
    counts: Counter[str] = Counter()
    for path in Path(world.out).glob("results/*.parquet"):
        counts.update(pq.read_table(path, columns=["fingerprint"])["fingerprint"].to_pylist())
    if doubled := [fingerprint for fingerprint, count in counts.items() if count > 1]:
        yield f"doubled: {len(doubled)} rows in the Parquet files"
    if unmoved := wanted.keys() - counts.keys():
        yield f"unmoved: {len(unmoved)} rows are not in the Parquet files"


def _verify(world: World) -> Iterator[str]:
    command = [sys.executable, "-m", "goodshot.runner.cli", "verify", world.out, "--store", world.store]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"verify: {(done.stdout + done.stderr).strip().splitlines()[0]}"


def _leases(world: World) -> Iterator[str]:
    for place in {world.out, world.store}:
        left = [path for path in (Path(place) / FOLDER).glob("*.json")]
        if left:
            yield f"leases: {len(left)} in {Path(place).name}"


def pieces(world: World) -> int:
    """How many unfinished files killed processes have left. Nobody reads them; they are deleted when they are old."""
    places = {*map(Path, (world.out, world.store))}
    return len({path for place in places for path in place.rglob(f"*{TEMPORARY}*") if path.is_file()})


def _printed(world: World) -> Iterator[str]:
    for number, driver in enumerate(world.drivers):
        if "Traceback (most recent call last)" in driver.text:
            yield f"traceback: in what command {number + 1} printed"
