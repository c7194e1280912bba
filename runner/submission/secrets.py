"""Keep secrets from being sent: search everything that is sent for the secrets that this process can see.

The dashboard shows a job's command line, metadata and runtime environment to everybody who can reach the dashboard.
"""

from __future__ import annotations

import configparser
import netrc
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from goodshot.components.errors import BadInput
from goodshot.runner.store.files import public

_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY|AUTHORIZATION")
_PLACES = re.compile(r"_(PATH|FILE|DIR|URL|URI|MODE)$")
"""Endings of the names of variables that hold the location of a secret and not the secret itself."""
_SHORTEST = 12
"""The minimum length of a value that is searched for; a shorter value may be an ordinary word."""
REMEDY = "secrets belong on the cluster: in the environment of its nodes (AWS_ACCESS_KEY_ID, WANDB_API_KEY …)"


def require_no_secret(sent: Mapping[str, str | bytes], environment: Mapping[str, str] = os.environ) -> None:
    """Raise :class:`BadInput` if something that is sent contains a secret.

    Args:
        sent: the contents that are sent, by their names for the message. Only contents of type str are searched for
            URIs with credentials, because a program's source may contain such URIs as examples.
        environment: environment variables; the values of those with the name of a secret are searched for, and the
            secrets in this user's files of Ray, AWS and netrc.
    """
    secrets = {
        name: value
        for name, value in environment.items()
        if len(value) >= _SHORTEST and _NAMES.search(name.upper()) and not _PLACES.search(name.upper())
    }
    secrets |= {name: value for name, value in _of_files() if len(value) >= _SHORTEST}
    for what, content in sent.items():
        if isinstance(content, str) and public(content) != content:
            raise BadInput(f"{public(what)}: has credentials in a URI; leave them out: {REMEDY}")
        data = content.encode() if isinstance(content, str) else content
        for name, value in secrets.items():
            if value.encode() in data:
                raise BadInput(f"{what.replace(value, '…')}: contains the value of {name}; leave it out: {REMEDY}")


def _of_files() -> Iterator[tuple[str, str]]:
    """Yield the secrets in the files of this user that hold some: of Ray, AWS and netrc; (where, value)."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    with suppress(OSError, UnicodeDecodeError):
        yield str(token), token.read_text(encoding="utf-8").strip()
    credentials = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()
    with suppress(OSError, UnicodeDecodeError, configparser.Error):
        parser = configparser.RawConfigParser()
        parser.read(credentials, encoding="utf-8")
        for section in parser.sections():
            for name in ("aws_secret_access_key", "aws_session_token"):
                yield str(credentials), parser.get(section, name, fallback="")
    with suppress(OSError, UnicodeDecodeError, netrc.NetrcParseError):
        for _, _, password in netrc.netrc(os.environ.get("NETRC")).hosts.values():
            yield "netrc", password or ""
