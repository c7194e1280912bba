"""The cluster files are what their schedulers accept, offline: valid, never open, without a secret."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config  # private: this test pins it

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "docs" / "cluster"
LAUNCHER = [ROOT / "cluster.yaml", CLUSTER / "own-machines.yaml"]
KUBERNETES = [CLUSTER / "kubernetes" / "raycluster.yaml", CLUSTER / "kubernetes" / "rayjob.yaml"]


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


@pytest.fixture(params=LAUNCHER, ids=lambda path: path.name)
def launched(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def test_rays_launcher_accepts_it(launched: dict[str, Any]) -> None:
    validate_config(prepare_config(launched))
    broken = copy.deepcopy(launched)
    broken["auth"]["ssh_usr"] = broken["auth"].pop("ssh_user")
    with pytest.raises(Exception, match="ssh_us"):
        validate_config(prepare_config(broken))


def test_every_node_starts_with_the_launchers_token_and_refuses_without(launched: dict[str, Any]) -> None:
    assert launched["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in launched["setup_commands"][0]
    for commands in (launched["head_start_ray_commands"], launched["worker_start_ray_commands"]):
        assert "test -s ~/.ray/auth_token" in commands[0]
        assert "exit 1" in commands[0]
        assert commands[-1].startswith("export RAY_AUTH_MODE=token;")


def test_the_dashboard_listens_on_loopback_only(launched: dict[str, Any]) -> None:
    (start,) = [c for c in launched["head_start_ray_commands"] if "--head" in c]
    assert "--dashboard-host=127.0.0.1" in start


def test_goodshot_and_the_shared_weights_are_in_every_later_shell(launched: dict[str, Any], tmp_path: Path) -> None:
    """The line is run for real, twice: it is added once, and what it sets is what a shell then has."""
    (line,) = [command for command in launched["setup_commands"] if ".bashrc" in command]
    for _ in range(2):
        subprocess.run(["bash", "-c", line], env={**os.environ, "HOME": str(tmp_path)}, check=False)
    assert (tmp_path / ".bashrc").read_text().count("export PATH") == 1
    show = '. ~/.bashrc; echo "$PATH|$RAY_AUTH_MODE|$GOODSHOT_CACHE|$HF_HOME|$TORCH_HOME"'
    done = subprocess.run(
        ["bash", "-c", show], env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    path, mode, *caches = done.stdout.strip().split("|")
    assert path.startswith(f"{tmp_path}/goodshot/.venv/bin:")
    assert mode == "token"
    assert all(cache.startswith("/shared/cache/") for cache in caches)
    assert "goodshot fetch" in launched["head_setup_commands"][0]


def test_the_cloud_has_two_kinds_of_spot_gpus_that_end_when_idle() -> None:
    cluster = read(ROOT / "cluster.yaml")
    gpus = [kind for kind in cluster["available_node_types"].values() if kind["resources"].get("GPU")]
    assert len({kind["node_config"]["InstanceType"] for kind in gpus}) == 2
    assert all(kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"} for kind in gpus)
    assert all(kind["min_workers"] == 0 for kind in gpus)
    assert cluster["idle_timeout_minutes"] > 0
    assert sum(kind["max_workers"] for kind in gpus) <= cluster["max_workers"]
    # What takes no GPU starts none.
    (cpu,) = [kind for kind in cluster["available_node_types"].values() if kind["max_workers"] and kind not in gpus]
    assert (cpu["min_workers"], cpu["node_config"]["InstanceMarketOptions"]) == (0, {"MarketType": "spot"})


def pods(spec: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each group of a RayCluster's spec, and its pod."""
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        yield group, group["template"]["spec"]


@pytest.fixture(params=KUBERNETES, ids=lambda path: path.name)
def kubernetes(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def cluster_spec(document: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = document["spec"]
    return spec.get("rayClusterSpec", spec)


def test_kuberay_finds_what_it_requires(kubernetes: dict[str, Any]) -> None:
    """What KubeRay checks beyond its schema, or takes in another way than a reader expects."""
    assert kubernetes["apiVersion"] == "ray.io/v1"
    assert kubernetes["kind"] in ("RayCluster", "RayJob")
    spec = cluster_spec(kubernetes)
    # KubeRay makes tokens for Ray 2.52 and newer, and compares versions with the image's.
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] == version("ray")
    for group, pod in pods(spec):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert pod["securityContext"]["runAsNonRoot"]
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            # Ray reads a node's size from the limits; less requested than that would be overcommitted.
            assert container["resources"]["requests"] == container["resources"]["limits"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}
    groups = spec["workerGroupSpecs"]
    assert all(g["minReplicas"] <= g["replicas"] <= g["maxReplicas"] for g in groups)
    assert len({re.sub(r"\W", "", str(g["template"]["spec"]["nodeSelector"])) for g in groups}) == len(groups) == 3
    gpus = [g["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") for g in groups]
    assert gpus == [None, "1", "1"]
    assert spec["enableInTreeAutoscaling"]
    assert spec["autoscalerOptions"]["idleTimeoutSeconds"] > 0


def test_the_job_has_the_same_cluster() -> None:
    cluster, job = map(read, KUBERNETES)
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    assert job["spec"]["shutdownAfterJobFinishes"]


@pytest.mark.skipif("KUBERAY_CRDS" not in os.environ, reason="KUBERAY_CRDS: a folder with KubeRay's ray.io_*.yaml")
def test_kuberays_schema_accepts_it(kubernetes: dict[str, Any]) -> None:
    """KubeRay's schemas are 2 MB of another project; who changes these files has them from its repository."""
    path = Path(os.environ["KUBERAY_CRDS"]) / f"ray.io_{kubernetes['kind'].lower()}s.yaml"
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in read(path)["spec"]["versions"] if v["name"] == "v1"]
    del schema["properties"]["metadata"]
    jsonschema.validate({key: value for key, value in kubernetes.items() if key != "metadata"}, strict(schema))


def strict(schema: Any) -> Any:
    """The schema without unknown fields, which Kubernetes would drop without a word."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        closed.setdefault("additionalProperties", False)
    return closed


FILES = [*LAUNCHER, *KUBERNETES, CLUSTER / "slurm.sbatch", CLUSTER / "Dockerfile"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_holds_no_secret(path: Path) -> None:
    text = path.read_text()
    assert not any(word in text.lower() for word in ("api_key", "password", "secret:", "token:"))
    assert not re.search(r"\b(AKIA\w{16}|[0-9a-f]{32,})\b", text)


def test_bash_can_read_the_slurm_script() -> None:
    subprocess.run(["bash", "-n", str(CLUSTER / "slurm.sbatch")], check=True)


def dockerfile() -> tuple[list[str], list[str]]:
    """The lines of the Dockerfile, and the names that it copies."""
    lines = re.sub(r"\\\n\s*", " ", (CLUSTER / "Dockerfile").read_text()).splitlines()
    return lines, [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]


def test_the_image_is_made_of_files_that_are_here() -> None:
    lines, copied = dockerfile()
    kept = {line[1:] for line in (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    assert kept == set(copied)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["goodshot"]
    assert 'ENTRYPOINT ["goodshot"]' in lines
    (install,) = [line for line in lines if "pip install" in line]
    assert "--constraint constraints.txt" in install


@pytest.mark.slow
def test_what_the_image_copies_installs_and_runs(tmp_path: Path) -> None:
    """Its `pip install`, in a clean folder; the pinned dependencies are those of this environment."""
    source, installed = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for name in dockerfile()[1]:
        subprocess.run(["cp", "-a", str(ROOT / name), str(source / name)], check=True)
    install = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(installed), "."]
    subprocess.run([sys.executable, "-m", *install], cwd=source, check=True)
    # Not the checkout's package: its folders are not on the path.
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(tmp_path), "WANDB_MODE": "disabled"}
    where = "import goodshot.runner, sys; sys.stdout.write(goodshot.runner.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(installed))
    study = ["sweep", "demo", "--local", "--set", "arms=[original]", "--out", "demo"]
    subprocess.run([str(installed / "bin" / "goodshot"), *study], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "demo" / "report.html").is_file()
