"""List the current nodes of the cluster, and ask its autoscaler for the nodes that the queue needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources

from goodshot.runner.cluster.draining import draining_nodes
from goodshot.runner.plan.scheduling import Share
from goodshot.runner.results.status import NodeStatus

REFRESH_SECONDS = 2.0
"""Pause between two polls of the nodes. A node takes longer to start, and Ray takes longer to declare a node dead."""
MOST_BUNDLES = 200
"""The maximum number of stages in a request to the autoscaler, whose own limits are usually far lower."""
TYPE_OF_A_NODE_THAT_NOTHING_STARTED = "node_"
"""The beginning of Ray's node type for a node that no autoscaler has started."""


@dataclass(frozen=True)
class Nodes:
    """The nodes that are alive.

    resources: the resources by name (``CPU``, ``GPU`` …) of each node that takes new stages.
    ids: the Ray ids of all nodes that are alive.
    leaving: the ids of the nodes that are being drained, for example because a cloud will end a spot machine. Such a
    node finishes its running stages except trainings, which continue on another node.
    unchecked: the ids of the nodes that have joined and were not checked yet, which get no stages.
    uses: the resources of each node, and how much of them tasks and actors reserve.
    """

    resources: list[dict[str, float]]
    ids: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    unchecked: frozenset[str] = frozenset()
    uses: tuple[NodeStatus, ...] = ()


def nodes_now(excluded: frozenset[str] = frozenset(), checked: frozenset[str] | None = None) -> Nodes:
    """Ask the cluster for its nodes.

    Args:
        excluded: Ray ids of nodes that must get no work.
        checked: Ray ids of the nodes that were checked; None if nodes are not checked.
    """
    from ray._private.state import state

    leaving = draining_nodes()
    alive = [node for node in ray.nodes() if node["Alive"]]
    ids = frozenset(str(node["NodeID"]) for node in alive)
    unchecked = frozenset() if checked is None else ids - checked
    shunned = leaving | excluded | unchecked
    taking = [node["Resources"] for node in alive if node["NodeID"] not in shunned]
    free = state.available_resources_per_node()
    uses = (_use(node, free.get(node["NodeID"], {}), node["NodeID"] in leaving) for node in alive)
    return Nodes(taking, ids, leaving, unchecked, tuple(uses))


def _use(node: Mapping[str, Any], free: Mapping[str, float], is_leaving: bool) -> NodeStatus:
    total = node["Resources"]

    def used(name: str) -> float:
        return float(total.get(name, 0) - free.get(name, 0))

    return NodeStatus(
        name=f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
        cpus=total.get("CPU", 0),
        cpus_used=used("CPU"),
        gpus=total.get("GPU", 0),
        gpus_used=used("GPU"),
        memory=total.get("memory", 0),
        memory_used=used("memory"),
        is_leaving=is_leaving,
    )


def is_autoscaled() -> bool:
    """Return whether an autoscaler can add nodes to the cluster.

    Ray runs the same monitor process without an autoscaler, so only the node types tell the two cases apart.
    """
    return any(not name.startswith(TYPE_OF_A_NODE_THAT_NOTHING_STARTED) for name in _node_types())


def _node_types() -> set[str]:
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.experimental.internal_kv import _internal_kv_get

    if is_autoscaler_v2():
        from ray.autoscaler.v2.sdk import get_cluster_status

        status = get_cluster_status(ray.get_runtime_context().gcs_address)
        return {node.ray_node_type_name for node in (*status.active_nodes, *status.idle_nodes)}
    with suppress(ValueError, TypeError, KeyError):  # the monitor has not reported yet
        report = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS))["autoscaler_report"]
        return {*(report["active_nodes"] or ()), *(report["idle_nodes"] or ())}
    return set()


class Autoscaler:
    """Asks the cluster's autoscaler for nodes with room for the queued and running stages.

    Ray itself asks for nodes only for submitted tasks and actors, and most stages are not submitted yet.
    """

    def __init__(self) -> None:
        self._asked: list[dict[str, float]] = []

    def ask(self, shares: Sequence[Share]) -> None:
        """Ask for nodes that can run all these stages at once; the request replaces the previous request."""
        bundles = [share.bundle for share in shares[:MOST_BUNDLES]]
        if bundles != self._asked:
            request_resources(bundles=bundles)
            self._asked = bundles

    def withdraw(self) -> None:
        """Withdraw the request, so that the autoscaler stops idle nodes."""
        self.ask([])
