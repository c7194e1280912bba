"""Starting or joining Ray, quietly; and what a worker process does first."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from components.errors import GoodshotError
from components.weights import forbid_downloads
from runner.stages.costs import Memory

OBJECT_STORE_BYTES = 512 * 2**20
WORKER_BYTES = 2 * 2**30


@contextmanager
def cluster(address: str | None, cpus: int | None = None) -> Iterator[dict[str, float]]:
    """A Ray connection for the time of a ``with``; yields the cluster's resources by name (``CPU``, ``GPU`` …).

    A process that is connected already, such as a notebook's, keeps its connection: it is used as it is.

    Args:
        address: a running cluster's address; None starts one on this machine alone and stops it afterwards.
        cpus: logical CPUs of the local one (default: :func:`usable_cpus`).
    """
    quiet_environment()
    if address is None:
        require_token()
    import ray

    if ray.is_initialized():
        yield ray.cluster_resources()
        return
    if address is None:
        ray.init(
            "local",
            num_cpus=cpus or usable_cpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            configure_logging=True,
        )
    else:
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            problem = str(error).splitlines()[0]
            raise GoodshotError(f"--address {address}: no Ray cluster answers there ({problem})") from None
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


def usable_cpus() -> int:
    """This process's CPUs, but no more than the machine has memory for: a worker takes up to 2 GB (measured 1.6)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(len(os.sched_getaffinity(0)), memory // WORKER_BYTES))


def usable_gpus() -> int:
    """GPUs that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def require_token() -> None:
    """A cluster of this process alone answers only who knows its token: Ray runs commands for whoever reaches it.

    The token lives in this process's environment, which its workers inherit, and is written nowhere. Ray reads it
    when it is imported, so a process that has imported Ray before keeps the mode that it chose then.
    """
    if "ray" in sys.modules:
        return
    if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def quiet_environment() -> None:
    """Third parties' chatter off and offline decided, before they are imported; inherited by local workers."""
    forbid_downloads()
    quiet = {
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_DEDUP_LOGS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "WANDB_SILENT": "true",
        "WANDB_CONSOLE": "off",
        "PYTHONWARNINGS": "ignore",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    for name in ("ray", "ray.tune", "lightning", "pytorch_lightning", "anomalib", "timm", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)


def quiet_worker() -> None:
    """First thing in a process of a stage that computes nothing with torch: no downloads, no warnings."""
    quiet_environment()
    warnings.filterwarnings("ignore")


def start_worker(threads: int) -> None:
    """First thing in any other stage's process: fixed thread count (bit-exact training), no downloads, no warnings.

    The thread count is part of what makes CPU training repeat bit for bit, so it is the stage's CPUs, never the
    machine's.
    """
    import torch

    quiet_worker()
    torch.set_num_threads(max(1, threads))


def taken_of_gpu(device: str) -> Memory | None:
    """What this process has taken of its GPU at most since the last call; None on a CPU."""
    if device != "cuda":
        return None
    import torch

    peak, total = torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.reset_peak_memory_stats()
    return Memory(peak, total)
