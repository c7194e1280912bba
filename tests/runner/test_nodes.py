"""Several nodes of different size, as processes on loopback: stages run where they fit, and near what they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
import yaml
from ray._private import ray_constants
from ray.cluster_utils import Cluster

from goodshot.runner.cli import main
from goodshot.runner.cluster.silence import Silence
from goodshot.runner.cluster.submissions import Submissions
from goodshot.runner.cluster.values import SharedValues
from goodshot.runner.cluster.worker import Job, Locations, run_job
from goodshot.runner.executor.local import LocalExecutor
from goodshot.runner.plan.scheduling import Shares
from goodshot.runner.results.results import Results
from goodshot.runner.run.execute import plan_studies
from goodshot.runner.run.options import Options
from goodshot.runner.stages.shard import ShardStage
from goodshot.runner.store.artifacts import Store
from goodshot.runner.study.settings import to_yaml
from goodshot.runner.study.study import Study

pytestmark = pytest.mark.slow


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without CPUs, a node with one, a node with two; stopped by their own processes' ids."""
    # Ray takes a loopback address for that of a single machine, and waits for ever on another one: as it is imported by
    # now, it has to be told here too.
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.1"})
    for cpus in (1, 2):
        cluster.add_node(num_cpus=cpus, node_ip_address="127.0.0.1", object_store_memory=128 * 2**20)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_stage_runs_where_it_fits(
    nodes: Cluster, tiny_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    study = tiny_study(vq_weight=[0.5, 1.0], resources={"generator_cpus": 2, "generators": 1, "detections": 2})
    (tmp_path / "study.yaml").write_text(to_yaml(study))
    command = ["sweep", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out"), "--address", nodes.address]
    assert main(command) == 0
    assert len(Results(str(tmp_path / "out")).finished()) == 4
    fields = yaml.safe_load((tmp_path / "study.yaml").read_text())
    fields["resources"]["generator_cpus"] = 3
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**fields, "name": "more", "copies": [3]}))
    # Three CPUs in all, but no node has them.
    assert main(command) == 2


def test_a_task_comes_to_the_photographs(nodes: Cluster, tiny_study: Callable[..., Study], tmp_path: Path) -> None:
    study = tiny_study(arms=["original"], detectors=[{"name": "cflow", "image_size": 256}])
    plan = plan_studies([study], Options(str(tmp_path)))
    (shard,), (cell,) = plan.of(ShardStage), plan.cells.values()
    store = Store((tmp_path / "store").as_uri())
    LocalExecutor(plan, store).make(shard.id)
    ray.init(nodes.address)

    def node_of(split: object) -> str:
        return str(ray.get_runtime_context().get_node_id())

    where = ray.remote(node_of)
    for _ in range(3):
        _, split = SharedValues(store.uri, Shares([{"CPU": 1.0}]), Submissions(), Silence()).references(cell)
        ray.wait([split], fetch_local=False)
        (place,) = ray.experimental.get_object_locations([split])[split]["node_ids"]
        assert {ray.get(where.remote(split)) for _ in range(4)} == {place}


def test_stages_without_a_gpu_leave_the_nodes_with_gpus_free(
    nodes: Cluster, tiny_study: Callable[..., Study], tmp_path: Path
) -> None:
    """Shards, prompts and metrics run on nodes without GPUs while there is room."""
    large = nodes.add_node(num_cpus=4, num_gpus=1, node_ip_address="127.0.0.1", object_store_memory=128 * 2**20)
    nodes.wait_for_nodes(timeout=120)
    (shard,) = plan_studies([tiny_study()], Options(str(tmp_path))).of(ShardStage)
    ray.init(nodes.address)
    shares = Shares([{"CPU": 1.0}, {"CPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}])
    share = shares.of(shard)
    locations = Locations((tmp_path / "store").as_uri(), Results(str(tmp_path)))
    job = Job(shard, (shard,), share)
    reports = [run_job.options(**share.options).remote(job, locations) for _ in range(2)]
    assert {report.node for report in ray.get(reports)}.isdisjoint({large.node_id})
