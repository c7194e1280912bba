"""Where actors and trials run that have to live as long as the driver: on the driver's own node."""

from __future__ import annotations

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NODE_LABEL = "ray.io/node-id"
"""The label of every node that holds Ray's id of it."""


def own_node() -> str:
    """Ray's id of the node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def on_own_node() -> NodeAffinitySchedulingStrategy:
    """The scheduling strategy of an actor that runs on this process's node, and nowhere else.

    If that node is lost, the driver is lost with it. On any other node, the actor could be lost alone.
    """
    return NodeAffinitySchedulingStrategy(own_node(), soft=False)
