"""Keep secrets from being sent: search everything that is sent for the secrets that this process can see.

The dashboard shows a job's command line, metadata and runtime environment to everybody who can reach the dashboard.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

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
        environment: environment variables; the values of those with the name of a secret are searched for.
    """
    secrets = {
        name: value
        for name, value in environment.items()
        if len(value) >= _SHORTEST and _NAMES.search(name.upper()) and not _PLACES.search(name.upper())
    }
    for what, content in sent.items():
        if isinstance(content, str) and public(content) != content:
            raise BadInput(f"{public(what)}: has credentials in a URI; leave them out: {REMEDY}")
        data = content.encode() if isinstance(content, str) else content
        for name, value in secrets.items():
            if value.encode() in data:
                raise BadInput(f"{what.replace(value, '…')}: contains the value of {name}; leave it out: {REMEDY}")
