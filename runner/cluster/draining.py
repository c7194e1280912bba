"""The nodes that are drained: a cloud has announced to take them away, or an administrator stops them."""

from __future__ import annotations


def draining_nodes() -> frozenset[str]:
    """Ray ids of the nodes of the cluster that take no new work because they will end."""
    from ray._private.state import state  # Ray has no public name for drained nodes

    return frozenset(state.get_draining_nodes())
