"""What the runner itself costs a cell: a study of 2,000 cells that measure nothing and only append their rows.

Planning, the broker with its stages and leases, a Ray task, a small file and its compaction, without Tune and W&B;
against the same appends as plain Ray tasks, in the same run on the same Ray. Then the same command again, which
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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from rich.console import Console

from goodshot.components.data import write_demo
from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.generator.config import GeneratorConfig
from goodshot.components.metrics.detection import MetricValue
from goodshot.runner.cells import CellStage, Measured
from goodshot.runner.cluster.broker import Broker, BrokerOptions
from goodshot.runner.cluster.connection import cluster
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.plan.plan import Plan
from goodshot.runner.results.compaction import tidy
from goodshot.runner.results.results import Results
from goodshot.runner.results.tables import Tables
from goodshot.runner.run.execute import plan_studies, run_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.base import Context, Stage
from goodshot.runner.study.study import Study

CELLS, ROWS = 2000, 100_000
LEFT = Measured(
    {"seconds_fit": 0.0, "seconds_score": 0.0, "n_test": 1},
    [{"image_id": "x", "label": 0, "defect_type": "good", "score": 0.0}],
    [MetricValue("all", "ap", 0.0)],
)
"""What each cell leaves besides its row's columns: a score and a metric."""


@dataclass(frozen=True, kw_only=True)
class EmptyCell(CellStage):
    """A cell that leaves a row, a score and a metric, without computing anything."""

    kind = "empty"
    title = "empty cell"
    version = 1
    computes = False

    def run(self, context: Context, wanted: Sequence[Stage]) -> Measured:
        """Measure nothing."""
        return LEFT


def emptied(cell: CellStage) -> EmptyCell:
    """A cell of the same place in the plan and the same row, with nothing to compute."""
    return EmptyCell(**{field.name: getattr(cell, field.name) for field in fields(CellStage)})


def _append(results: Results, cell: CellStage) -> None:
    results.append_cell(cell, LEFT, "cpu")


def append_all(results: Results, cells: Iterable[CellStage]) -> None:
    """The same rows by plain Ray tasks."""
    task = ray.remote(_append)
    ray.get([task.remote(results, cell) for cell in cells])


class WatchedBroker(Broker):
    """A broker that says how much memory it takes."""

    async def peak(self) -> float:
        """MB that this process has taken at most."""
        return _peak()


def main(cells: int = CELLS) -> str:
    """Return milliseconds a cell, the ratio to plain tasks, memory, and the seconds to look through finished rows."""
    with tempfile.TemporaryDirectory() as folder, cluster(None) as available:
        study = _study(write_demo(Path(folder) / "photographs"), cells)
        options = Options(f"{folder}/out")
        # Workers that have imported what they need, for both.
        warm = [emptied(cell) for cell in plan_studies([_study(study.dataset.root, 64)], options).cells.values()]
        append_all(Results(f"{folder}/warm"), warm)
        began = time.perf_counter()
        plan = plan_studies([study], options)
        plan.cells = {fingerprint: emptied(cell) for fingerprint, cell in plan.cells.items()}
        planned = time.perf_counter()
        failed, started, peak = _run(plan, options, available)
        tidy(Results(options.out))
        ended = time.perf_counter()
        memory = f"driver {_peak():.0f} MB, broker {peak:.0f} MB"
        append_all(Results(f"{folder}/plain"), plan.cells.values())
        plain = time.perf_counter() - ended
        finished = len(Results(options.out).finished())
        began_again = time.perf_counter()
        run_studies([study], options, Console(file=io.StringIO()))
        again = time.perf_counter() - began_again
        scan = _scan(Path(folder) / "many")
    if failed or finished != cells or len(plan.cells) != cells:
        raise AssertionError(f"{failed} of {cells} cells failed, {finished} rows")
    ours, each = ended - began, ended - started
    return (
        f"overhead: {cells} cells, {ours / cells * 1000:.1f} ms a cell end to end: {planned - began:.1f} s of "
        f"planning, {started - planned:.1f} s to the first cell, then {each / cells * 1000:.1f} ms each; "
        f"plain Ray tasks {plain / cells * 1000:.1f} ms ({each / plain:.2f} times as long)\n"
        f"  the same command again {again:.1f} s; peak memory: {memory}\n"
        f"  {ROWS:,} finished rows: known in {scan[0]:.2f} s, read in {scan[1]:.2f} s"
    )


def _study(root: Path | str | None, cells: int) -> Study:
    return Study(
        name="overhead",
        dataset=DatasetConfig(name="demo", root=str(root)),
        categories=("coin",),
        shots="full",
        support_seeds=tuple(range(cells)),
        arms=("original",),
        generator=GeneratorConfig(resolution=64),
        detectors=(DetectorConfig(image_size=64),),
    )


def _run(plan: Plan, options: Options, available: dict[str, float]) -> tuple[int, float, float]:
    """Run all cells. Returns how many failed, when the first was finished, and the broker's peak memory in MB."""
    results = Results(options.out_uri)
    actor = ray.remote(num_cpus=0, max_concurrency=100_000)(WatchedBroker)
    broker = actor.remote(BrokerOptions(options.store_uri, results, [available]))
    ray.get(broker.learn.remote(plan))
    # The first cell pays for the broker's own start and for the shard.
    first, *rest = plan.cells
    failed = ray.get(broker.run.remote([first]))
    started = time.perf_counter()
    failed += ray.get(broker.run.remote(rest))
    peak = ray.get(broker.peak.remote())
    ray.get(broker.close.remote())
    ray.kill(broker)
    return failed, started, peak


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _scan(folder: Path) -> tuple[float, float]:
    """Seconds to know the fingerprints of that many compacted rows, and to read all of them."""
    schema = Tables.known().row
    empty = dict.fromkeys(schema.names)
    rows = [{**empty, "fingerprint": f"{i:064x}", "study": "s", "prompt": "a pill with x"} for i in range(ROWS)]
    results = Results(str(folder))
    results.append("one", {**empty, "fingerprint": "one"}, [], [])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
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
