"""cluster.yaml is a valid cluster for Ray's launcher, and never starts an open one."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config  # private: this test pins it

PATH = Path(__file__).parents[1] / "cluster.yaml"


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PATH.read_text())
    return loaded


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(cluster))


def test_every_node_refuses_to_start_without_a_token(cluster: dict[str, Any]) -> None:
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        assert 'test "$RAY_AUTH_MODE" = token' in commands[0]
        assert "exit 1" in commands[0]


def test_the_dashboard_listens_on_loopback_only(cluster: dict[str, Any]) -> None:
    (start,) = [c for c in cluster["head_start_ray_commands"] if "--head" in c]
    assert "--dashboard-host=127.0.0.1" in start


def test_it_holds_no_secret() -> None:
    assert not any(word in PATH.read_text().lower() for word in ("api_key", "password", "secret:", "token:"))
