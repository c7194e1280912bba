"""Open and close W&B runs. If one cannot be sent, it and all later ones are written offline, at once."""

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
"""How long the first request waits for W&B's server to answer anything at all."""
INIT_SECONDS = 30
"""How long a run waits for W&B's server, unless ``WANDB_INIT_TIMEOUT`` says otherwise; W&B's own is 90."""
FINISH_SECONDS = 30
"""How long a run may take to be sent when it ends. One that takes longer is written again, offline."""
RETRIES = 3
"""How often a request is repeated."""
LONGEST = 128
"""The most characters that W&B takes for the name of a run; its configuration has all values of the point."""


@dataclass(frozen=True)
class Names:
    """W&B's own variables that name a run: ``WANDB_PROJECT``, ``…ENTITY``, ``…RUN_GROUP``, ``…NAME`` and ``…TAGS``.

    The group is the study unless it is set. ``name`` precedes each point's, because a study writes several runs.
    """

    project: str = "goodshot"
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()

    @classmethod
    def of_environment(cls) -> Names:
        """The names that the environment sets."""
        get = os.environ.get
        tags = tuple(tag.strip() for tag in (get("WANDB_TAGS") or "").split(",") if tag.strip())
        project = get("WANDB_PROJECT") or "goodshot"
        return cls(project, get("WANDB_ENTITY"), get("WANDB_RUN_GROUP"), get("WANDB_NAME"), tags)


class WandbRuns:
    """Opens runs, online until the first one that cannot be sent. It must be the only one in its process that does.

    mode: ``online`` or ``offline``, now. Once it is ``offline``, runs that were opened before are closed.
    unreachable: why runs are offline although they should be sent; else empty.
    """

    def __init__(self, folder: str, mode: Mode, names: Names) -> None:
        self.folder, self.names, self.unreachable = folder, names, ""
        self.mode: Mode = mode
        _set_up()
        if mode == "online" and (reason := _unreachable()):
            self.go_offline(reason)

    def open(self, id_: str, study: str, label: str, job_type: str, config: dict[str, Any], notes: str) -> Any:
        """Begin the run of this id, or continue it where it exists already."""
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
        # Trainings are at different iterations while W&B's own steps may only grow.
        run.define_metric("iteration", hidden=True)
        run.define_metric("*", step_metric="iteration")
        return run

    def close(self, run: Any, exit_code: int) -> None:
        """End a run, and wait until it is sent.

        Raises:
            TimeoutError: it is not sent after ``FINISH_SECONDS``.
        """
        run.finish(exit_code=exit_code)

    def go_offline(self, reason: str) -> None:
        """Write all further runs offline. Those that are open are closed, and have to be opened again."""
        import wandb

        self.mode, self.unreachable = "offline", self.unreachable or reason
        # A run that could not be begun is in use until the service has ended.
        with suppress(Exception):
            wandb.teardown()
        _set_up()


def _set_up() -> None:
    """W&B's settings for what belongs to no run, such as asking for the type of an artifact."""
    import wandb

    wandb.setup(settings=_settings())


def _settings() -> Any:
    import wandb

    return wandb.Settings(
        init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT") or INIT_SECONDS),
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
        # By default W&B asks again for many minutes, and with it whoever logs to it waits.
        x_graphql_retry_max=RETRIES,
        x_graphql_timeout_seconds=PROBE_SECONDS * 2,
        disable_git=True,
        save_code=False,
        # Machine and packages are in the rows. To look for them takes longer than all the rest of a run.
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )


def _unreachable() -> str:
    """Why W&B's server gives no answer to one short request; empty if it gives any, be it an error."""
    import wandb

    url = str(wandb.setup().settings.base_url)
    try:
        urllib.request.urlopen(url, timeout=PROBE_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        # W&B may know the certificates of a company, or be told to ignore them.
        return "" if isinstance(reason, ssl.SSLError) else f"{url}: {reason}"
    return ""
