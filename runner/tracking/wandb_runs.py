"""Open and close W&B runs. If a run cannot be sent, this run and all later runs are written offline."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from goodshot.runner.tracking.messages import Mode

PROBE_SECONDS = 5.0
"""How long the first request waits for any answer of W&B's server."""
INIT_SECONDS = 30
"""How long a run waits for W&B's server, unless ``WANDB_INIT_TIMEOUT`` is set; W&B's default is 90 s."""
FINISH_SECONDS = 30
"""How long sending a run may take at its end. A run that takes longer is written again offline."""
RETRIES = 3
"""How often a request is repeated."""
LONGEST = 128
"""W&B's maximum length of a run's name. The configuration of the run has all values of the point."""


@dataclass(frozen=True)
class Names:
    """W&B's own variables that name a run: ``WANDB_PROJECT``, ``…ENTITY``, ``…RUN_GROUP``, ``…NAME`` and ``…TAGS``.

    The default of the group is the study. ``name`` is a prefix of each point's name, because a study writes several
    runs.
    """

    project: str = "goodshot"
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()

    @classmethod
    def of_environment(cls) -> Names:
        """Return the names that are set in the environment."""
        get = os.environ.get
        tags = tuple(tag.strip() for tag in (get("WANDB_TAGS") or "").split(",") if tag.strip())
        project = get("WANDB_PROJECT") or "goodshot"
        return cls(project, get("WANDB_ENTITY"), get("WANDB_RUN_GROUP"), get("WANDB_NAME"), tags)


class WandbRuns:
    """Opens W&B runs, online until a run cannot be sent. Nothing else in the process may open W&B runs.

    mode: the current mode, ``online`` or ``offline``. The change to ``offline`` closes all open runs.
    unreachable: why runs are offline although they should be sent; otherwise empty.
    """

    def __init__(self, folder: str, mode: Mode, names: Names) -> None:
        self.folder, self.names, self.unreachable = folder, names, ""
        self.mode: Mode = mode
        _set_up()
        if mode == "online" and (reason := _unreachable()):
            self.go_offline(reason)

    def open(self, id_: str, study: str, label: str, job_type: str, config: dict[str, Any], notes: str) -> Any:
        """Begin the run with this id, or continue it if it exists."""
        import wandb

        names = self.names
        run = wandb.init(
            id=id_,
            resume="allow",
            mode=self.mode,
            project=names.project,
            entity=names.entity,
            group=names.group or study,
            job_type=job_type,
            name=(f"{names.name} {label}" if names.name else label)[:LONGEST],
            tags=names.tags,
            notes=notes,
            config=config,
            dir=self.folder,
            reinit="create_new",
            settings=_settings(),
        )
        # The trainings are at different iterations at the same time, but W&B's own steps must never decrease.
        run.define_metric("iteration", hidden=True)
        run.define_metric("*", step_metric="iteration")
        return run

    def close(self, run: Any, exit_code: int) -> None:
        """End a run, and wait until it is sent.

        Raises:
            TimeoutError: sending the run takes longer than ``FINISH_SECONDS``.
        """
        run.finish(exit_code=exit_code)

    def go_offline(self, reason: str) -> None:
        """Write all further runs offline. Open runs are closed, and have to be opened again."""
        import wandb

        self.mode, self.unreachable = "offline", self.unreachable or reason
        # W&B's service regards a run that could not be begun as in use until the service ends.
        with suppress(Exception):
            wandb.teardown()
        _set_up()


def _set_up() -> None:
    """Apply the settings to W&B requests outside of a run, such as the request for the type of an artifact."""
    import wandb

    wandb.setup(settings=_settings())


def _settings() -> Any:
    import wandb

    return wandb.Settings(
        init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT") or INIT_SECONDS),
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
        # By default, W&B retries for many minutes, during which calls that log to the run block.
        x_graphql_retry_max=RETRIES,
        x_graphql_timeout_seconds=PROBE_SECONDS * 2,
        disable_git=True,
        save_code=False,
        # The rows record the machine and the packages. W&B's own search for them takes longer than the rest of a run.
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )


def _unreachable() -> str:
    """Return why W&B's server does not answer a short request; empty if it answers, even with an error."""
    import wandb

    url = str(wandb.setup().settings.base_url)
    try:
        urllib.request.urlopen(url, timeout=PROBE_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        # A certificate error is ignored: W&B may know a company's certificates, or be configured to ignore them.
        return "" if isinstance(reason, ssl.SSLError) else f"{url}: {reason}"
    return ""
