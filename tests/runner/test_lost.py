"""What is told apart when a stage is lost, how often it is run again, and limits that follow the nodes."""

from __future__ import annotations

import asyncio
import json
import time
from copy import copy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayTaskError,
    WorkerCrashedError,
)

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.cluster import failures, stages
from goodshot.runner.cluster.admission import Admission, Places
from goodshot.runner.cluster.elastic import Nodes
from goodshot.runner.cluster.failures import (
    GPU_MEMORY,
    LIMITS,
    MEMORY,
    NODE,
    PROCESS,
    UNBEGUN,
    Attempts,
    GPUMemoryFull,
    NeverRan,
    NoCuda,
    reason_of,
)
from goodshot.runner.cluster.leased import LeasedJob, LeasedWork
from goodshot.runner.cluster.silence import Silence
from goodshot.runner.cluster.stages import StageMaker
from goodshot.runner.cluster.submissions import Submissions
from goodshot.runner.cluster.worker import Job, JobReport
from goodshot.runner.declaration.resources import Resources
from goodshot.runner.executor.progress import Progress
from goodshot.runner.plan.scheduling import Share, Shares
from goodshot.runner.run.options import Run
from goodshot.runner.run.run_record import RunRecord, followed
from goodshot.runner.store.files import Files


def raised(cause: Exception) -> RayTaskError:
    return RayTaskError("run_job", "a traceback", cause)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WorkerCrashedError(), PROCESS),
        (ActorUnavailableError("its connection is lost", None), PROCESS),
        (ActorDiedError(), PROCESS),
        (NodeDiedError("the node is gone"), NODE),
        (OutOfMemoryError("killed"), MEMORY),
        # A task that could not be given its input, which was lost.
        (raised(NodeDiedError("the node is gone")), NODE),
        (raised(ValueError("what the stage says")), None),
        (raised(BadInput("what the stage says")), None),
        (GoodshotError("stopped before it began"), None),
        # An actor whose __init__ raised.
        (ActorDiedError(raised(ValueError("in __init__"))), None),
    ],
)
def test_what_was_lost_is_told_from_what_the_stage_raised(error: Exception, reason: str | None) -> None:
    assert reason_of(error) == reason


def test_a_stage_is_run_again_up_to_a_limit_and_its_own_error_not_at_all() -> None:
    losses: list[float] = []
    attempts = Attempts(losses)
    for _ in range(LIMITS[PROCESS]):
        attempts.lost(WorkerCrashedError())
    # Lost nodes are counted apart.
    attempts.lost(NodeDiedError("gone"))
    assert attempts.reasons == {PROCESS: LIMITS[PROCESS], NODE: 1}
    with pytest.raises(GoodshotError, match=r"run 4 times, and each time a process was lost: The worker died"):
        attempts.lost(WorkerCrashedError())
    own = raised(ValueError("its own"))
    with pytest.raises(RayTaskError) as caught:
        Attempts(losses).lost(own)
    assert caught.value is own
    # The loss of their node is noticed later than that of its processes.
    losses.append(time.monotonic())
    assert attempts.reasons == {NODE: LIMITS[PROCESS] + 1}
    attempts.lost(WorkerCrashedError())


def run(monkeypatch: pytest.MonkeyPatch, *errors: Exception, nodes: list[dict[str, float]]) -> tuple[list[Share], Any]:
    """The shares of all attempts at a stage, whose first ones end with these errors, and its maker."""
    attempts: list[Share] = []

    async def run_once(job: Job, lease: LeasedJob) -> JobReport:
        attempts.append(job.share)
        if len(attempts) <= len(errors):
            raise errors[len(attempts) - 1]
        return JobReport("node")

    monkeypatch.setattr(failures, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(stages, "nodes_now", lambda excluded: Nodes(nodes))
    shares = SimpleNamespace(of=lambda stage: Share(1, 0.25), excluded=frozenset(), unchecked=frozenset(), nodes=[])
    maker = SimpleNamespace(
        shares=shares,
        progress=Progress(),
        _run_once=run_once,
        node_losses=[],
        gate=None,
        _submissions=Submissions(),
        _values=SimpleNamespace(forget=lambda stage: None),
        _account=lambda stage, report: None,
    )
    maker._run_until_not_lost = partial(StageMaker._run_until_not_lost, maker)
    maker._exclude = partial(StageMaker._exclude, maker)
    asyncio.run(StageMaker.run(maker, None, LeasedJob(), []))  # type: ignore[arg-type]
    return attempts, maker


def test_a_stage_that_found_its_gpu_full_has_a_whole_one_once(monkeypatch: pytest.MonkeyPatch) -> None:
    full = raised(GPUMemoryFull("CUDA out of memory"))
    attempts, maker = run(monkeypatch, full, nodes=[])
    assert attempts == [Share(1, 0.25), Share(1, 1)]
    assert maker.progress.retries == {GPU_MEMORY: 1}
    with pytest.raises(GoodshotError, match="CUDA out of memory"):
        run(monkeypatch, full, full, nodes=[])


def test_a_node_without_cuda_is_excluded_and_named_if_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = NoCuda("node a: torch finds no CUDA", "id of a")
    assert str(copy(missing)) == "node a: torch finds no CUDA"
    attempts, maker = run(monkeypatch, raised(missing), nodes=[{"CPU": 1.0, "GPU": 1.0}])
    assert len(attempts) == 2
    assert maker.shares.excluded == {"id of a"}
    with pytest.raises(NoCuda, match="node a: torch finds no CUDA"):
        run(monkeypatch, raised(missing), nodes=[{"CPU": 1.0}])


def test_an_error_before_a_job_was_let_begin_may_be_that_of_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    own = raised(TypeError("run() takes 2 arguments"))
    with pytest.raises(RayTaskError, match="a traceback"):
        run(monkeypatch, own, nodes=[])
    attempts, maker = run(monkeypatch, NeverRan(own), NeverRan(own), nodes=[])
    assert len(attempts) == 3
    assert maker.progress.retries == {UNBEGUN: 2}
    with pytest.raises(RayTaskError, match="a traceback"):
        run(monkeypatch, *[NeverRan(own)] * 3, nodes=[])


@pytest.mark.parametrize(
    ("error", "gate", "passes", "expected"),
    [
        (TypeError("of other code"), object(), False, NeverRan),
        (TypeError("its own"), object(), True, RayTaskError),
        (TypeError("no node joins"), None, False, RayTaskError),
        (BadInput("its own words"), object(), False, RayTaskError),
    ],
)
def test_whose_error_it_is(error: Exception, gate: Any, passes: bool, expected: type[Exception]) -> None:
    submissions = Submissions()

    async def submitted(job: Job, lease: LeasedJob) -> JobReport:
        if passes:
            submissions.passed(job.ticket)
        raise raised(error)

    maker = SimpleNamespace(_submissions=submissions, silence=Silence(), gate=gate, _run_submitted=submitted)
    stage = SimpleNamespace(resources=Resources())
    job = Job(stage, (), Share(1, 0), ticket=submissions.job())  # type: ignore[arg-type]
    with pytest.raises(expected):
        asyncio.run(StageMaker._run_once(maker, job, LeasedJob()))  # type: ignore[arg-type]
    assert not submissions.has_passed(job.ticket)


def test_what_avoids_an_admitted_node_is_taken_back_unless_it_began() -> None:
    submissions, taken = Submissions(), []
    for ticket in ("waits", "began", "avoids another"):
        avoided = frozenset({"another" if ticket == "avoids another" else "new"})
        submissions.wait(ticket, avoided, partial(taken.append, ticket))
    submissions.wait("avoids none", frozenset(), partial(taken.append, "avoids none"))
    submissions.began("began")
    submissions.admit(frozenset({"new", "third"}))
    assert taken == ["waits"]
    assert [submissions.ended(each) for each in ("waits", "began", "avoids another", "waits")] == [True, *[False] * 3]
    submissions.admit(frozenset({"another"}))
    assert taken == ["waits"]


def test_places_become_more_and_fewer() -> None:
    async def taken() -> list[int]:
        places, seen, running = Places(2), [], 0

        async def take() -> None:
            nonlocal running
            async with places:
                running += 1
                seen.append(running)
                await asyncio.sleep(0.01)
                running -= 1

        tasks = [asyncio.create_task(take()) for _ in range(12)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (running, places.waiting) == (2, 10)
        places.resize(4)
        await asyncio.sleep(0.005)
        assert running == 4
        places.resize(1)
        # A task that gives up while it waits takes no place with it.
        tasks[-1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (running, places.waiting) == (0, 0)
        return seen

    seen = asyncio.run(taken())
    assert max(seen) == 4
    assert seen[-4:] == [1, 1, 1, 1]


def test_admission_follows_the_nodes() -> None:
    async def most(admission: Admission) -> int:
        taking = []
        while not admission.running.waiting:
            taking.append(asyncio.ensure_future(admission.running.acquire()))
            await asyncio.sleep(0)
        taking[-1].cancel()
        return len(taking) - 1

    async def at(nodes: int, **resources: int) -> int:
        admission = Admission(Resources(**resources), 1)
        admission.resize(nodes)
        return await most(admission)

    assert [asyncio.run(at(nodes)) for nodes in (1, 3)] == [4, 12]
    assert asyncio.run(at(3, detections=2)) == 2


def test_a_study_that_began_on_gpus_waits_for_the_next_one() -> None:
    shares = Shares([{"CPU": 4.0, "GPU": 1.0}])
    assert shares.has_gpus
    shares.nodes[:] = [{"CPU": 4.0}]
    assert shares.largest(Resources())["generator"] == Share(1, 1)
    assert Share(2, 1, workers=1).bundle == {"CPU": 4, "GPU": 2}
    assert (Share(1, 0.5).label, Share(2, 0).label) == ("1 CPU and 0.5 GPUs", "2 CPUs")


def test_a_run_says_that_it_waits_for_another(tmp_path: Path) -> None:
    async def both() -> list[int]:
        made, other = asyncio.Event(), [LeasedWork(str(tmp_path), str(tmp_path / "out")) for _ in range(2)]

        async def is_made() -> bool:
            return made.is_set()

        async def make(lease: LeasedJob) -> None:
            await asyncio.sleep(0.2)
            made.set()

        work = [asyncio.create_task(each.make(each.stages, "stage", is_made, make)) for each in other]
        await asyncio.sleep(0.1)
        awaited = [each.awaited_stages for each in other]
        await asyncio.gather(*work)
        return awaited + [each.awaited_stages for each in other]

    assert asyncio.run(both()) == [0, 1, 0, 0]
    assert Progress(awaited=2).waits_for == "waiting for 2 stages that another run is making"
    assert Progress(missing_node="1 CPU").waits_for == "waiting for a node with 1 CPU"
    assert not Progress().waits_for


def test_what_a_killed_run_has_counted_is_on_the_disk(tmp_path: Path) -> None:
    progress, record = Progress(), RunRecord(Files(str(tmp_path)), ["tiny"], Run(cells=3), time.perf_counter())
    with followed(lambda: progress, record) as latest:
        progress.stepped("generator/1", 7, 0.5)
        deadline = time.monotonic() + 30
        while not list((tmp_path / "runs").glob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert latest().steps_done == 7
    (written,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*.json"))
    assert (written["generator_steps"], written["cells"]) == ({"generator/1": 7}, 3)
    assert written["seconds"] > 0
    # The end of the run replaces it.
    record.end(Run(cells=3, generator_steps={"generator/1": 9}), has_ended=True)
    (written,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*.json"))
    assert written["generator_steps"] == {"generator/1": 9}


def test_a_broker_that_was_started_again_goes_on_counting() -> None:
    before = Progress(cells_total=9, cells_done=5, cells_failed=1, steps_total=20)
    before.stepped("generator/1", 7, 1.0)
    after = before.continued()
    # Those that failed, and those that were not finished, are requested and counted again.
    assert (after.cells_total, after.cells_done, after.cells_failed) == (4, 4, 0)
    assert (after.steps_total, after.steps_done, after.steps_of, after.restarts) == (7, 7, {"generator/1": 7}, 1)
