"""Determine which cluster a run joins, and check within seconds whether the cluster can be joined.

With a wrong token, Ray's client prints internal warnings for 25 s, and it tries a closed port for 190 s. A TCP
connection and one request with a time limit find these problems before Ray's client is started.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from goodshot.components.errors import BadInput, GoodshotError

SECONDS = 4.0
"""Time limit of the connection, and of the request."""
HERE = ("", "local")
"""Addresses for which the run starts its own cluster on this machine."""


def in_ray_job() -> bool:
    """Return whether this process is the driver of a Ray job, whose working directory Ray deletes afterwards."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def joined_address(address: str | None) -> str | None:
    """Return the address of the cluster to join; None if the run starts its own cluster.

    Without ``--address``, the address is that in ``RAY_ADDRESS``. Ray sets this variable in a Ray job, so a job joins
    the cluster that it runs on.

    Raises:
        BadInput: the address is that of Ray Client or of a dashboard.
    """
    given = os.environ.get("RAY_ADDRESS", "") if address is None else address
    if given in HERE:
        return None
    where = shown(given)
    scheme, _, rest = given.partition("://")
    if rest and scheme == "ray":
        raise BadInput(
            f"{where}: a sweep cannot run through Ray Client; run 'goodshot submit STUDY --address "
            f"http://{urlsplit(given).hostname}:8265', or, on a machine of the cluster, sweep with --address HOST:6379"
        )
    if rest:
        raise BadInput(
            f"{where}: is the address of a dashboard, to which 'goodshot submit' sends a study; "
            "to join the cluster from one of its machines give --address HOST:6379"
        )
    return given


def require_lasting_place(option: str, place: str | None) -> None:
    """Raise :class:`BadInput` if ``place`` is a relative path and this process is a Ray job.

    A relative path would be below the job's working directory on the head, which Ray deletes after the job.
    """
    if place is not None and in_ray_job() and is_relative(place):
        raise BadInput(
            f"{option} {place}: a relative path is in this Ray job's own folder, which is deleted afterwards; "
            "give an absolute path of a folder that all nodes share, or a URI (s3://…)"
        )


def is_relative(place: str) -> bool:
    """Return whether a path depends on the working directory or the user of the process that reads the path."""
    return "://" not in place and not place.startswith("/")


def shown(address: str) -> str:
    """Return the address with the option or variable by which the user gave it, for messages."""
    return f"RAY_ADDRESS={address}" if os.environ.get("RAY_ADDRESS") == address else f"--address {address}"


def require_answer(address: str) -> None:
    """Raise unless a Ray head of the same version answers at ``address`` and accepts this process's token.

    Args:
        address: ``HOST:PORT`` of the head, or ``auto`` for the cluster that was last started on this machine.

    Raises:
        GoodshotError: nothing or another program listens at the address, the token is missing or wrong, or Ray's
            versions differ. The message states the remedy.
    """
    where = shown(address)
    host, port = _endpoint(address, where)
    _connect(host, port, where)
    _ask(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", where)


def token_remedy() -> str:
    """Return the remedy, as text, for a cluster that does not accept this process's token."""
    if os.environ.get("RAY_AUTH_MODE") == "token":
        return "check that RAY_AUTH_TOKEN, or the file ~/.ray/auth_token, holds its token"
    return "set RAY_AUTH_MODE=token, and its token in RAY_AUTH_TOKEN or ~/.ray/auth_token"


def _endpoint(address: str, where: str) -> tuple[str, int]:
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        found = canonicalize_bootstrap_address_or_die(address) if address == "auto" else address
        parts = urlsplit(f"//{found}")
        if parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ConnectionError:
        remedy = "start one, or give its --address HOST:6379"
        raise GoodshotError(f"{where}: no Ray cluster runs on this machine; {remedy}") from None
    except ValueError:
        pass
    raise BadInput(f"{where}: is no address; write it as HOST:6379")


def _connect(host: str, port: int, where: str) -> None:
    try:
        socket.create_connection((host, port), SECONDS).close()
    except socket.gaierror:
        raise GoodshotError(f"{where}: no machine has the name {host}; correct the address") from None
    except TimeoutError:
        problem = "the machine does not answer; it is off, or a firewall is between"
        raise GoodshotError(f"{where}: no Ray cluster answers there ({problem})") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        remedy = "start the cluster's head, or correct the address"
        raise GoodshotError(f"{where}: no Ray cluster answers there ({reason}); {remedy}") from None


def _ask(endpoint: str, where: str) -> None:
    """Send the head a liveness request, which a head answers with its Ray version if the token is right."""
    import grpc
    import ray
    from ray._private.grpc_utils import init_grpc_channel  # private: test_submission.py pins it
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest  # type: ignore[attr-defined]
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    try:
        with init_grpc_channel(endpoint, options=[("grpc.enable_http_proxy", 0)]) as channel:
            reply = NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=SECONDS)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            problem = "does not accept this token" if os.environ.get("RAY_AUTH_MODE") == "token" else "wants a token"
            raise GoodshotError(f"{where}: the cluster {problem}; {token_remedy()}") from None
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            problem = "something accepts connections there, and does not answer"
            raise GoodshotError(f"{where}: no Ray cluster answers there ({problem}); is its head alive?") from None
        problem = "what listens there is no head of a cluster"
        raise GoodshotError(f"{where}: no Ray cluster answers there ({problem}); correct the address") from None
    if reply.ray_version != ray.__version__:
        remedy = f'install the same here: pip install "ray[default,tune]=={reply.ray_version}"'
        raise GoodshotError(f"{where}: Ray {reply.ray_version} runs there, and {ray.__version__} here; {remedy}")
