"""Run studies: plan, execute what is not finished yet, account for it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from components.errors import BadInput, GoodshotError
from components.weights import cache_dir, forbid_downloads
from runner.catalogue import Category, read_catalogue
from runner.costs import Cost, remember_costs
from runner.external import supply
from runner.files import absolute, below, public
from runner.fingerprint import fingerprint
from runner.needs import require_all
from runner.plan import Plan, make_plan, unshared_steps
from runner.record import write_record
from runner.results import Results
from runner.store import Store
from runner.study import DatasetConfig, Resources, Study

SNAPSHOT_SECONDS = 5.0
MOST_TRIES = 3
"""A cell that failed so often is left alone: it would fail for ever, and take its time each time."""


@dataclass(frozen=True)
class Run:
    """What one call of :func:`run_studies` did."""

    executed: Mapping[str, int] = field(default_factory=dict)
    generator_steps: Mapping[str, int] = field(default_factory=dict)
    cells: int = 0
    reused: int = 0
    failed: int = 0
    left_alone: int = 0
    halted: bool = False
    seconds: float = 0.0
    tracked: int = 0
    untracked: int = 0
    tracking_error: str = ""
    costs: Mapping[str, Cost] = field(default_factory=dict)

    @property
    def stages(self) -> int:
        """Stages executed, of all kinds."""
        return sum(self.executed.values())


@dataclass(frozen=True)
class Options:
    """How a run is executed; nothing of it changes a number."""

    out: str
    store: str | None = None
    address: str | None = None
    cpus: int | None = None
    retry: bool = False
    """Whether cells that have failed `MOST_TRIES` times are tried once more."""
    fail_fast: bool = False
    """Whether the first failed cell ends the run."""

    @property
    def out_uri(self) -> str:
        """``--out`` as every process of a cluster can read it."""
        return absolute(self.out)

    @property
    def store_uri(self) -> str:
        """Where artifacts go: ``--store``, or ``store`` below ``--out``."""
        return absolute(self.store) if self.store else below(self.out_uri, "store")

    @property
    def local_folder(self) -> Path:
        """A local folder for what needs one (Tune's and W&B's own files, the demo's photographs)."""
        if "://" not in self.out:
            return Path(self.out).expanduser()
        return cache_dir() / "runs" / fingerprint("out", 1, {"uri": public(self.out)}, {})[:16]


def plan_studies(studies: Sequence[Study], options: Options) -> Plan:
    """Scan the data and expand the studies; writes nothing but the demo's photographs.

    Raises:
        BadInput: the first problem of the studies, their data or weights.
    """
    forbid_downloads()
    require_all(studies)
    demo_root = options.local_folder / "photographs"
    if any(d.name == "demo" and d.root is None for s in studies for d in (s.dataset, *s.sources)):
        Results(options.out).files.check_writable()
    catalogues: dict[str, dict[str, Category]] = {}

    def read(dataset: DatasetConfig, categories: tuple[str, ...], tested: bool) -> dict[str, Category]:
        key = json.dumps([dataset.model_dump(), categories, tested])
        if key not in catalogues:
            catalogues[key] = read_catalogue(dataset, categories, demo_root, tested)
        return catalogues[key]

    pairs = [(study, read(study.dataset, study.categories, True)) for study in studies]
    sources = {s.name: [c for d in s.sources for c in read(d, (), False).values()] for s in studies}
    return make_plan(pairs, sources)


def run_studies(studies: Sequence[Study], options: Options, console: Console) -> tuple[Plan, Run]:
    """Execute every cell that is not finished, sharing stages among all the studies given.

    A study with more than one point runs through Ray Tune, one trial a point. Rerunning executes what is missing.
    """
    began = time.perf_counter()
    plan = plan_studies(studies, options)
    results = Results(options.out)
    results.files.check_writable()
    for study in studies:
        write_record(study, plan, results)
    finished = results.finished()
    missing = [f for f in plan.cells if f not in finished]
    tries = {} if options.retry else results.tries()
    left_alone = {f for f in missing if tries.get(f, 0) >= MOST_TRIES}
    missing = [f for f in missing if f not in left_alone]
    reused = len(plan.cells) - len(missing) - len(left_alone)
    console.print(
        f"{len(plan.cells)} cells of {len(plan.cells_of)} studies: {reused} finished, {len(missing)} to run"
        + f", {len(left_alone)} left alone after {MOST_TRIES} failures (--retry tries them)" * bool(left_alone)
        + f"; {len(plan.generators)} generators",
        highlight=False,
    )
    run = Run(cells=len(plan.cells), reused=reused, left_alone=len(left_alone))
    try:
        if missing:
            wanted = {plan.cells[f].image_set for f in missing}
            supply((s for s in plan.external.values() if s.key in wanted), Store(options.store_uri))
            run = replace(_execute(plan, studies, missing, options, console), left_alone=len(left_alone), reused=reused)
    except _Stopped as stopped:
        run = stopped.run
        raise stopped.reason from None
    finally:
        run = replace(run, seconds=time.perf_counter() - began)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        results.files.write(f"runs/{stamp}.json", json.dumps(asdict(run), indent=1).encode())
        remember_costs(run.costs)
        with suppress(GoodshotError):
            results.compact()
    return plan, run


class _Stopped(Exception):
    """An execution that ended early, with what it had done: its generator steps count as much as any others."""

    def __init__(self, run: Run, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.run, self.reason = run, reason


def _execute(plan: Plan, studies: Sequence[Study], missing: list[str], options: Options, console: Console) -> Run:
    # Imported here: a finished study is reported without starting Ray.
    from runner.cluster import cluster

    with cluster(options.address, options.cpus) as available:
        import ray
        from ray.exceptions import RayError

        _check_room(studies[0].resources, ray.nodes())

        from runner.broker import BrokerActor
        from runner.progress import shown

        cpus = available.get("CPU", 1)
        broker = BrokerActor.remote(
            plan,
            options.store_uri,
            options.out_uri,
            studies[0].resources,
            cpus,
            available.get("GPU", 0),
            options.fail_fast,
        )
        tracker = _tracker(options)
        logged: tuple[int, int, str] = (0, 0, "")

        def done() -> Run:
            run = Run(cells=len(plan.cells), reused=len(plan.cells) - len(missing), tracked=logged[0])
            run = replace(run, untracked=logged[1], tracking_error=logged[2])
            # Where the cluster is what failed, its counts went with it.
            with suppress(RayError):
                progress = ray.get(broker.snapshot.remote(), timeout=SNAPSHOT_SECONDS)
                run = replace(
                    run,
                    executed=dict(progress.executed),
                    generator_steps=dict(progress.steps_of),
                    failed=progress.cells_failed,
                    halted=options.fail_fast and progress.cells_failed > 0,
                    costs=dict(progress.costs),
                )
            return run

        everything = broker.run.remote(_longest_first(plan, missing))
        try:
            with shown(console, lambda: ray.get(broker.snapshot.remote()), cpus):
                for study in studies:
                    _sweep_or_wait(study, plan, missing, broker, tracker, options)
                ray.get(everything)
                if tracker is not None:
                    logged = ray.get(tracker.finish.remote())
        except BaseException as reason:
            raise _Stopped(done(), reason) from reason
        finally:
            # What this driver was at is free for another one, now and not when its leases look dead.
            with suppress(RayError):
                ray.get(broker.close.remote(), timeout=SNAPSHOT_SECONDS)
        return done()


def _check_room(resources: Resources, nodes: Sequence[Mapping[str, Any]]) -> None:
    """A stage that no node has room for would wait for ever. Raises :class:`BadInput`."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    for kind in ("generator", "detector"):
        cpus, gpus = getattr(resources, f"{kind}_cpus"), getattr(resources, f"{kind}_gpus")
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in alive):
            most = ", ".join(sorted({f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in alive}))
            raise BadInput(
                f"resources: a {kind} asks for {cpus:g} CPUs and {gpus:g} GPUs, and the nodes have {most}; "
                f"lower resources.{kind}_cpus or resources.{kind}_gpus"
            )


def _sweep_or_wait(study: Study, plan: Plan, missing: list[str], broker: Any, tracker: Any, options: Options) -> None:
    """Several points: Ray Tune. One point: wait for the rows without Tune's cost, and log them as one run."""
    import ray

    fingerprints = plan.cells_of[study.name]
    if not set(fingerprints) & set(missing):
        return
    if len(study.points) > 1:
        from runner.sweep import run_sweep

        planned = [plan.cells[f] for f in fingerprints]
        cells = {point: [p for p in planned if p.cell.serves(point)] for point in study.points}
        run_sweep(study, cells, broker, tracker, options.store_uri, options.local_folder / "tune")
        return
    rows = ray.get(broker.cells.remote(fingerprints))
    if tracker is not None:
        from runner.tracking import trial_of

        planned = [plan.cells[f] for f in fingerprints]
        tracker.log.remote(trial_of(study.name, study.points[0], planned, rows, Store(options.store_uri)))


def _longest_first(plan: Plan, fingerprints: list[str]) -> list[str]:
    """Cells whose generator trains longest come first: they decide when the study ends."""

    def steps(f: str) -> int:
        flight = plan.cells[f].generator
        return plan.generators[flight].iterations if flight else 0

    return sorted(fingerprints, key=steps, reverse=True)


def _tracker(options: Options) -> Any:
    from runner.tracking import Tracker, tracking_mode

    mode = tracking_mode()
    if mode == "disabled":
        return None
    if mode not in ("online", "offline"):
        raise BadInput(f"WANDB_MODE={mode}: use online, offline or disabled")
    options.local_folder.mkdir(parents=True, exist_ok=True)
    return Tracker.remote(str(options.local_folder.absolute()), mode)


@dataclass(frozen=True)
class Sharing:
    """Generator steps of a study: in this run, over all runs recorded in ``out``, and without any sharing."""

    this_run: int
    all_runs: int
    unshared: int


def sharing(study: Study, plan: Plan, run: Run, out: str) -> Sharing:
    """Count the steps executed for a study's generators, those shared with other studies included."""
    planned = [plan.cells[f] for f in plan.cells_of[study.name]]
    flights = {p.generator for p in planned if p.generator}
    files = Results(out).files
    recorded = [json.loads(files.read(name))["generator_steps"] for name in files.names("runs", ".json")]
    return Sharing(
        this_run=sum(run.generator_steps.get(f, 0) for f in flights),
        all_runs=sum(steps.get(f, 0) for steps in recorded for f in flights),
        unshared=unshared_steps(planned),
    )
