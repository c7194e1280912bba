"""The address by which `ray start` makes several nodes of one machine a cluster."""

from __future__ import annotations

import ipaddress

import pytest
import ray


def own_address() -> str:
    """This machine's address in its network: Ray takes a loopback address for that of a cluster of a single machine."""
    address = str(ray.util.get_node_ip_address())
    if ipaddress.ip_address(address).is_loopback:
        pytest.skip("this machine has no address but its loopback")
    return address
