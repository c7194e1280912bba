"""What the runner itself costs a cell: a study of 2,000 cells whose detection does nothing but append its rows.

Planning, the broker's flights and leases, a Ray task, a small file and its compaction, without Tune and
W&B; against the same appends as plain Ray tasks, in the same run on the same Ray. Then the same command again, which
finds nothing to do, the memory that driver and broker have taken, and how long it takes to see that a study of 100,000
rows is finished. A disk on which many files were just deleted is slow to make new ones: give ``TMPDIR`` a fresh place.

    python -m benchmarks.overhead [cells]
"""

from __future__ import annotations

import io
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from rich.console import Console

from components.data import write_demo
from components.detectors.config import DetectorConfig
from components.generator.config import GeneratorConfig
from runner.cluster.broker import Broker
from runner.cluster.connection import cluster
from runner.data.config import DatasetConfig
from runner.plan.plan import PlannedCell
from runner.results.compaction import tidy
from runner.results.results import Results
from runner.results.tables import ROW
from runner.run.execute import plan_studies, run_studies
from runner.run.options import Options
from runner.study.study import Study

CELLS, ROWS = 2000, 100_000


@ray.remote
def append(out: str, fingerprint: str) -> tuple[dict[str, Any], None]:
    """What a cell leaves, without having computed anything."""
    row: dict[str, Any] = {"fingerprint": fingerprint, "seconds_fit": 0.0, "seconds_score": 0.0, "n_test": 1}
    row |= {"copies": 0, "device": "cpu"}
    score = {"fingerprint": fingerprint, "image_id": "x", "label": 0, "defect_type": "good", "score": 0.0}
    Results(out).append(fingerprint, row, [score], [{"fingerprint": fingerprint, "metric": "ap", "value": 0.0}])
    return row, None


class NoOp(Broker):
    """The broker, with cells that do nothing."""

    def _detection(self, planned: PlannedCell) -> Any:
        return append.remote(self.out, planned.fingerprint)

    async def peak(self) -> float:
        """MB that this process has taken at most."""
        return _peak()


def main(cells: int = CELLS) -> str:
    """Return milliseconds a cell, the ratio to plain tasks, memory, and the seconds to look through finished rows."""
    with tempfile.TemporaryDirectory() as folder, cluster(None) as available:
        root = write_demo(Path(folder) / "photographs")
        study = Study(
            name="overhead",
            dataset=DatasetConfig(name="demo", root=str(root)),
            categories=("coin",),
            shots="full",
            support_seeds=tuple(range(cells)),
            arms=("original",),
            generator=GeneratorConfig(resolution=64),
            detectors=(DetectorConfig(image_size=64),),
        )
        options = Options(f"{folder}/out")
        # Workers that have imported what they need, for both.
        ray.get([append.remote(f"{folder}/warm", str(i)) for i in range(64)])
        began = time.perf_counter()
        plan = plan_studies([study], options)
        planned = time.perf_counter()
        actor = ray.remote(num_cpus=0, max_concurrency=100_000)(NoOp)
        broker = actor.remote(plan, options.store_uri, options.out_uri, study.resources, [available])
        # The first cell pays for the broker's own start and for the shard.
        first, *rest = plan.cells
        failed = ray.get(broker.run.remote([first]))
        started = time.perf_counter()
        failed += ray.get(broker.run.remote(rest))
        peak = ray.get(broker.peak.remote())
        ray.get(broker.close.remote())
        tidy(Results(options.out))
        ended = time.perf_counter()
        memory = f"driver {_peak():.0f} MB, broker {peak:.0f} MB"
        names = list(plan.cells)
        ray.get([append.remote(f"{folder}/plain", name) for name in names])
        plain = time.perf_counter() - ended
        finished = len(Results(options.out).finished())
        began_again = time.perf_counter()
        run_studies([study], options, Console(file=io.StringIO()))
        again = time.perf_counter() - began_again
        scan = _scan(Path(folder) / "many")
    if failed or finished != cells or len(names) != cells:
        raise AssertionError(f"{failed} of {cells} cells failed, {finished} rows")
    ours, each = ended - began, ended - started
    return (
        f"overhead: {cells} cells, {ours / cells * 1000:.1f} ms a cell end to end: {planned - began:.1f} s of "
        f"planning, {started - planned:.1f} s to the first cell, then {each / cells * 1000:.1f} ms each; "
        f"plain Ray tasks {plain / cells * 1000:.1f} ms ({each / plain:.2f} times as long)\n"
        f"  the same command again {again:.1f} s; peak memory: {memory}\n"
        f"  {ROWS:,} finished rows: known in {scan[0]:.2f} s, read in {scan[1]:.2f} s"
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _scan(folder: Path) -> tuple[float, float]:
    """Seconds to know the fingerprints of that many compacted rows, and to read all of them."""
    empty = dict.fromkeys(ROW.names)
    rows = [{**empty, "fingerprint": f"{i:064x}", "study": "s", "prompt": "a pill with x"} for i in range(ROWS)]
    results = Results(str(folder))
    results.append("one", {**empty, "fingerprint": "one"}, [], [])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=ROW), sink)
    results.files.write("results/part-1-000000000000.parquet", sink.getvalue().to_pybytes())
    began = time.perf_counter()
    known = len(Results(str(folder)).finished())
    middle = time.perf_counter()
    read = len(Results(str(folder)).rows())
    if (known, read) != (ROWS + 1, ROWS + 1):
        raise AssertionError(f"{known} known, {read} read")
    return middle - began, time.perf_counter() - middle


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
