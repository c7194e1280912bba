"""Find the nodes that are being drained, because a cloud has announced their end or an administrator stops them."""

from __future__ import annotations


def draining_nodes() -> frozenset[str]:
    """Return the Ray ids of the cluster's nodes that take no new work because they will end."""
    from ray._private.state import state  # Ray has no public name for drained nodes

    return frozenset(state.get_draining_nodes())
