"""``python -m tests.chaos``: run seeds and append what happened to a file of JSON lines."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from goodshot.components.data import write_demo
from goodshot.runner.cluster.connection import require_token


def main(arguments: list[str] | None = None) -> int:
    """Returns the number of runs with a problem."""
    require_token()  # Ray reads its mode when it is imported
    from tests.chaos import tables
    from tests.chaos.faults import FAULTS, fault_of
    from tests.chaos.runs import run
    from tests.chaos.schedules import schedule
    from tests.chaos.world import undisturbed

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it runs in the background ignore it
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", default="0-9", help="such as 0-9 or 3,5,8")
    parser.add_argument("--kinds", default="", help=f"only these, with commas: {', '.join(f.name for f in FAULTS)}")
    parser.add_argument("--drivers", type=int, default=1, help="how many run the command at once")
    parser.add_argument("--log", type=Path, help="append an outcome a line to this file")
    parser.add_argument("--folder", type=Path, help="where runs with a problem are kept (default: a temporary one)")
    parser.add_argument("--table", type=Path, help="write the table of --log into this document, and run nothing")
    parser.add_argument("--show", action="store_true", help="print the schedules and run nothing")
    given = parser.parse_args(arguments)
    kinds = [fault_of(name) for name in given.kinds.split(",") if name] or [*FAULTS]
    if given.table:
        tables.replace(given.table, tables.written(tables.read_outcomes(given.log)))
        return 0
    if given.show:
        for seed in _seeds(given.seeds):
            print(seed, "; ".join(f"+{s.delay:.1f} s {s.fault.name}" for s in schedule(seed, kinds)))
        return 0
    os.environ.setdefault("GOODSHOT_CACHE", tempfile.mkdtemp(prefix="goodshot-chaos-cache-"))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path("src").absolute()), os.environ.get("PYTHONPATH")])
    )
    folder = given.folder or Path(tempfile.mkdtemp(prefix="goodshot-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    reference = undisturbed(write_demo(folder / "photographs"), folder)
    print(f"undisturbed: {len(reference.values)} rows; runs with a problem are kept in {folder}", flush=True)
    bad = 0
    for seed in _seeds(given.seeds):
        outcome = run(seed, reference, folder / f"seed-{seed}", schedule(seed, kinds), given.drivers)
        bad += bool(outcome.problems)
        struck = ", ".join(f"{s.fault} at {s.at} s ({s.recovered} s)" for s in outcome.struck)
        print(f"seed {seed}: {struck or 'nothing struck'}; exits {outcome.exits}; {outcome.seconds} s", flush=True)
        for problem in outcome.problems:
            print(f"    {problem}", flush=True)
        if given.log:
            with given.log.open("a") as file:
                file.write(
                    json.dumps({**outcome.as_json(), "kinds": given.kinds.split(","), "drivers": given.drivers}) + "\n"
                )
    return bad


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
