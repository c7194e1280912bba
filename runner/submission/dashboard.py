"""Find the dashboard of a cluster's head: determine its URL, check what answers there, and find its token."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from goodshot.components.errors import BadInput, GoodshotError
from goodshot.runner.store.files import public

if TYPE_CHECKING:
    import requests

TIMEOUT = (3.05, 5.0)
"""Time limits in seconds for connecting, and for an answer."""
PORT = 8265
HEAD_PORT = 6379
VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Ray's environment variables for the address, in Ray's order."""


@dataclass(frozen=True)
class Dashboard:
    """A dashboard that has answered.

    where: the address as the user gave it, for messages, without credentials.
    headers: HTTP headers with the token, if the cluster requires a token.
    """

    url: str
    where: str
    ray_version: str
    headers: Mapping[str, str] = field(repr=False)

    @property
    def is_open(self) -> bool:
        """Whether everybody who reaches the dashboard can run code on the cluster."""
        return not self.headers


def reach(address: str | None) -> Dashboard:
    """Return the dashboard at an address, by default the address in Ray's environment variables.

    Raises:
        BadInput: the address is not that of a dashboard, the token is missing or wrong, or Ray's versions differ.
        GoodshotError: nothing answers at the address, or another program than a dashboard answers.
    """
    url, where = _url(address)
    answer = _ask(url, where, {})
    headers: dict[str, str] = {}
    if answer.status_code == 401:
        headers = {"Authorization": f"Bearer {_token(where)}"}
        answer = _ask(url, where, headers)
    if answer.status_code in (401, 403):
        remedy = "check that RAY_AUTH_TOKEN, or the file ~/.ray/auth_token, holds the token of this cluster"
        raise BadInput(f"{where}: the cluster does not accept this token; {remedy}")
    try:
        theirs = str(answer.json()["ray_version"])
    except (ValueError, LookupError, TypeError):
        problem = f"what answers there (HTTP {answer.status_code}) is no dashboard of Ray"
        raise GoodshotError(
            f"{where}: {problem}; its port is {PORT} unless the cluster was started with another"
        ) from None
    _require_version(theirs, where)
    return Dashboard(url, where, theirs, headers)


def _url(address: str | None) -> tuple[str, str]:
    """Return the dashboard's URL, and the address as the user gave it."""
    variable = next((name for name in VARIABLES if os.environ.get(name)), None)
    given = address or (os.environ[variable] if variable else "")
    if not given:
        raise BadInput(f"--address: give the URL of the cluster's dashboard, such as http://127.0.0.1:{PORT}")
    where = public(f"--address {address}" if address else f"{variable}={given}")
    scheme, _, rest = given.partition("://")
    parts = urlsplit(given if rest else f"http://{given}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if rest and scheme in ("http", "https") and host:
        return given.rstrip("/"), where
    if rest or host is None or port in (None, HEAD_PORT):
        meant = f"http://{host if host and host != 'auto' else '127.0.0.1'}:{PORT}"
        kind = {"ray": "the address of Ray Client"}.get(scheme if rest else "", "no URL of a dashboard")
        raise BadInput(f"{where}: is {kind}; give the dashboard's, such as --address {meant}")
    return f"http://{given.rstrip('/')}", where


def _ask(url: str, where: str, headers: Mapping[str, str]) -> requests.Response:
    import requests

    try:
        return requests.get(f"{url}/api/version", headers=dict(headers), timeout=TIMEOUT)
    except requests.exceptions.SSLError:
        raise GoodshotError(f"{where}: does not speak TLS as expected; check https:// and its certificate") from None
    except requests.exceptions.ConnectTimeout:
        problem = "the machine does not answer; it is off, or a firewall is between"
        raise GoodshotError(f"{where}: cannot be reached ({problem}); {_tunnel()}") from None
    except requests.exceptions.ReadTimeout:
        problem = f"it accepts the connection and is silent for {TIMEOUT[1]:g} s"
        raise GoodshotError(f"{where}: does not answer ({problem}); is the cluster's head alive?") from None
    except requests.exceptions.ConnectionError as error:
        raise GoodshotError(f"{where}: {_unreached(error)}") from None
    except requests.exceptions.RequestException as error:
        raise BadInput(f"{where}: cannot be asked ({type(error).__name__}); check the URL") from None


def _unreached(error: Exception) -> str:
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return "no machine has this name; correct the address"
    if "refused" in text:
        return f"nothing listens there; is the cluster up? {_tunnel()}"
    return f"what listens there is no dashboard of Ray; its port is {PORT} unless the cluster was started with another"


def _tunnel() -> str:
    return f"A dashboard that listens on its own machine only is reached by ssh -N -L {PORT}:127.0.0.1:{PORT} USER@HEAD"


def _token(where: str) -> str:
    """Return the token from the first of the places in which Ray looks for a token, in Ray's order."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    try:
        if token := path.read_text().strip():
            return token
    except OSError:
        pass
    raise BadInput(f"{where}: the cluster wants a token; put it into RAY_AUTH_TOKEN or the file ~/.ray/auth_token")


def _require_version(theirs: str, where: str) -> None:
    """Raise unless both sides have the same minor version of Ray, because minor versions change Ray's job API."""
    ours = version("ray")
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        remedy = f"on this machine: pip install 'ray[default]=={theirs}'"
        raise BadInput(f"{where}: Ray {theirs} runs there, and {ours} here; {remedy}")
