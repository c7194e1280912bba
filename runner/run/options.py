"""The options of a run, and its counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from goodshot.components.weights import cache_dir
from goodshot.runner.executor.progress import Progress
from goodshot.runner.stages.costs import Cost, Memories
from goodshot.runner.store.files import absolute, below, public
from goodshot.runner.store.fingerprint import fingerprint

if TYPE_CHECKING:
    from goodshot.runner.tracking.messages import Logged


@dataclass(frozen=True)
class Run:
    """The counts of one call of :func:`run_studies`.

    executed: the number of executed stages, by kind.
    generator_steps: the number of executed training steps, by the training's id.
    cells: the number of requested cells; of these, ``reused`` had finished before the run, ``failed`` failed in it, and
    ``skipped`` were not run because they had failed too often.
    halted: whether ``--fail-fast`` ended the run.
    tracked, untracked: the numbers of W&B runs that were written and that could not be written.
    tracking_error: the first error of W&B.
    unreachable: why W&B runs were written offline although they should have been sent.
    costs, memory: the measured seconds and GPU memory, by kind of work.
    retries: how many stages and cells were run again, by the reason.
    restarts: how often the broker was started again.
    """

    executed: Mapping[str, int] = field(default_factory=dict)
    generator_steps: Mapping[str, int] = field(default_factory=dict)
    cells: int = 0
    reused: int = 0
    failed: int = 0
    skipped: int = 0
    halted: bool = False
    seconds: float = 0.0
    tracked: int = 0
    untracked: int = 0
    tracking_error: str = ""
    unreachable: str = ""
    costs: Mapping[str, Cost] = field(default_factory=dict)
    memory: Memories = field(default_factory=dict)
    retries: Mapping[str, int] = field(default_factory=dict)
    restarts: int = 0

    @property
    def stages(self) -> int:
        """The number of executed stages of all kinds."""
        return sum(self.executed.values())

    def counted(self, progress: Progress, fail_fast: bool) -> Run:
        """Return a copy with the counts of an executor."""
        return replace(
            self,
            executed=dict(progress.executed),
            generator_steps=dict(progress.steps_of),
            failed=progress.cells_failed,
            halted=fail_fast and progress.cells_failed > 0,
            costs=dict(progress.costs),
            memory=dict(progress.memory),
            retries=dict(progress.retries),
            restarts=progress.restarts,
        )

    def logged(self, runs: Logged) -> Run:
        """Return a copy with the result of the tracker."""
        written = replace(self, tracked=runs.written, untracked=runs.failed)
        return replace(written, tracking_error=runs.error, unreachable=runs.unreachable)


class Stopped(Exception):
    """Raised when a run ends early. ``run`` holds its counts so far, ``reason`` the original error."""

    def __init__(self, run: Run, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.run, self.reason = run, reason


@dataclass(frozen=True)
class Options:
    """The options of a run. None of them changes a result.

    out, store: the path or URI of the results, and of the store (None: below ``out``).
    address: the address of a running Ray cluster; None starts one on this machine.
    cpus: logical CPUs of the cluster on this machine; None for as many as its memory allows.
    """

    out: str
    store: str | None = None
    address: str | None = None
    cpus: int | None = None
    retry: bool = False
    """Whether cells that have failed `MOST_TRIES` times are run again."""
    fail_fast: bool = False
    """Whether the first failed cell ends the run."""
    local: bool = False
    """Whether everything runs in this process, without Ray."""
    insecure_local: bool = False
    """Whether a running cluster without a token is used if it listens only on this machine's loopback interface."""

    @property
    def out_uri(self) -> str:
        """``--out`` as an absolute path or a URI, which does not depend on a process's working directory."""
        return absolute(self.out)

    @property
    def store_uri(self) -> str:
        """The URI of the store: ``--store``, or ``store`` below ``--out``."""
        return absolute(self.store) if self.store else below(self.out_uri, "store")

    @property
    def local_folder(self) -> Path:
        """A local folder for files that cannot lie on an object store: those of Ray Tune, of W&B and of the demo."""
        if "://" not in self.out:
            return Path(self.out).expanduser()
        return cache_dir() / "runs" / fingerprint("out", 1, {"uri": public(self.out)}, {})[:16]
