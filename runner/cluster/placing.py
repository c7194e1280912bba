"""Place actors and trials that have to live as long as the driver on the driver's own node."""

from __future__ import annotations

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NODE_LABEL = "ray.io/node-id"
"""The key of the node label whose value is the node's Ray id."""


def own_node() -> str:
    """Return the Ray id of the node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def on_own_node() -> NodeAffinitySchedulingStrategy:
    """Return the scheduling strategy that places an actor on this process's node, and on no other node.

    On the driver's node, an actor is lost only together with the driver. On another node, it could be lost alone.
    """
    return NodeAffinitySchedulingStrategy(own_node(), soft=False)
