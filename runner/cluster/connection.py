"""Start or join a Ray cluster, and prepare its worker processes."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

from goodshot.components.errors import GoodshotError
from goodshot.components.weights import forbid_downloads
from goodshot.runner.cluster.address import in_ray_job, joined_address, require_answer, shown, token_remedy
from goodshot.runner.cluster.head import is_head_lost
from goodshot.runner.cluster.sockets import shorten_ray_sockets
from goodshot.runner.stages.costs import Memory

OBJECT_STORE_BYTES = 512 * 2**20
WORKER_BYTES = 2 * 2**30
INTERRUPTED, TERMINATED = 130, 143
"""The exit codes of a command that Ctrl-C or SIGTERM has ended, as shells state them."""
_terminated = threading.Event()


@contextmanager
def cluster(address: str | None, cpus: int | None = None) -> Iterator[dict[str, float]]:
    """Connect to Ray during a ``with`` block; yields the cluster's resources by name (``CPU``, ``GPU`` …).

    If the process is already connected, for example in a notebook, that connection is used and stays open.

    Args:
        address: the address of a running cluster. None starts a cluster on this machine and stops it afterwards; in a
            Ray job, where Ray cannot start another cluster, None joins the job's own cluster.
        cpus: logical CPUs of the local cluster (default: :func:`usable_cpus`).

    Raises:
        GoodshotError: no cluster answers at ``address``, or the cluster rejects this process.
    """
    quiet_environment()
    joined = joined_address(address) if address is not None or in_ray_job() else None
    if joined is None:
        require_token()
        shorten_ray_sockets()
    import ray

    if ray.is_initialized():
        yield ray.cluster_resources()
        return
    silence_node_messages()
    if joined is None:
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
        _join(joined)
    take_sigterm_as_ctrl_c()  # again, because Ray has put a handler in place that prints its stack and aborts
    try:
        yield ray.cluster_resources()
    except BaseException as error:
        # With a lost head, ray.shutdown() would wait and then end this process before the run has written its status.
        if not is_head_lost(error):
            ray.shutdown()
        raise
    ray.shutdown()


def take_sigterm_as_ctrl_c() -> None:
    """From now on, let SIGTERM end this process as Ctrl-C does: with a last status, and without leases.

    Batch systems, containers and clouds send it before they take a machine away.
    """

    def end(*_: object) -> None:
        _terminated.set()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)


def code_of_interrupt() -> int:
    """Return the exit code of a command that a KeyboardInterrupt ends. Ray's own replaces that of a signal handler."""
    return TERMINATED if _terminated.is_set() else INTERRUPTED


def silence_node_messages() -> None:
    """Keep Ray from printing a long line whenever a process is lost: a run counts them and says why in a few words."""
    from ray._private import worker  # private: test_surroundings.py pins it

    printed = worker.print_to_stdstream
    if hasattr(printed, "__wrapped__"):
        return

    @wraps(printed)
    def without_nodes(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        if data.get("pid") != "raylet":
            printed(data, ignore_prefix)

    worker.print_to_stdstream = without_nodes


def _join(address: str) -> None:
    import ray
    from ray.exceptions import AuthenticationError

    require_answer(address)
    where = shown(address)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, AuthenticationError) as error:
        problem = str(error).splitlines()[0]
        remedy = f"if it wants a token, as clusters of 'ray start' do, {token_remedy()}"
        raise GoodshotError(f"{where}: no Ray cluster answers there ({problem}); {remedy}") from None
    except RuntimeError as error:
        if not str(error).startswith("Version mismatch"):
            raise
        remedy = "use the same Python and Ray on both"
        raise GoodshotError(f"{where}: {' '.join(str(error).split())} {remedy}") from None


def usable_cpus() -> int:
    """Return the number of CPUs of this process, at most one per 2 GiB of memory: a worker needs about 1.6 GB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(len(os.sched_getaffinity(0)), memory // WORKER_BYTES))


def usable_gpus() -> int:
    """Return the number of GPUs that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def require_token() -> None:
    """Protect a local cluster by a random token, because Ray runs any command that it receives over the network.

    The token is only in this process's environment, which local workers inherit. Without this token, Ray would write a
    token file below HOME that every user of the machine can read.
    """
    # Ray reads the mode during its import. If Ray is imported already, it sets the mode itself for a local cluster.
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ.get("RAY_AUTH_MODE", "token") == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def quiet_environment() -> None:
    """Silence third-party libraries and forbid downloads before any import; local workers inherit these settings."""
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
    loud = ("ray", "lightning", "pytorch_lightning", "anomalib", "timm", "transformers")
    # Tune prints a traceback for each lost trial, which it then starts again.
    for name, level in {**dict.fromkeys(loud, logging.ERROR), "ray.tune": logging.CRITICAL}.items():
        if (logger := logging.getLogger(name)).level != level:
            logger.setLevel(level)  # it clears the caches of all loggers


def quiet_worker() -> None:
    """Prepare a worker process for a stage that does not use torch: no downloads, no warnings."""
    quiet_environment()
    warnings.filterwarnings("ignore")


def start_worker(threads: int) -> None:
    """Prepare a worker process for a stage that uses torch: no downloads, no warnings, a fixed number of threads.

    Training on a CPU is bit-for-bit reproducible only with the same number of threads, so the number of threads is the
    number of CPUs of the stage and not of the machine.
    """
    import torch

    quiet_worker()
    torch.set_num_threads(max(1, threads))


def taken_of_gpu(device: str) -> Memory | None:
    """Return the peak GPU memory that torch has reserved in this process since the last call; None on a CPU."""
    if device != "cuda":
        return None
    import torch

    peak, total = torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.reset_peak_memory_stats()
    return Memory(peak, total, torch.cuda.get_device_name(0))
