"""How a run is executed, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from components.weights import cache_dir
from runner.executor.progress import Progress
from runner.stages.costs import Cost, Memory
from runner.store.files import absolute, below, public
from runner.store.fingerprint import fingerprint


@dataclass(frozen=True)
class Run:
    """What one call of :func:`run_studies` did."""

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
    costs: Mapping[str, Cost] = field(default_factory=dict)
    memory: Mapping[str, Memory] = field(default_factory=dict)

    @property
    def stages(self) -> int:
        """Stages executed, of all kinds."""
        return sum(self.executed.values())

    def counted(self, progress: Progress, fail_fast: bool) -> Run:
        """With what an executor has counted."""
        return replace(
            self,
            executed=dict(progress.executed),
            generator_steps=dict(progress.steps_of),
            failed=progress.cells_failed,
            halted=fail_fast and progress.cells_failed > 0,
            costs=dict(progress.costs),
            memory=dict(progress.memory),
        )

    def logged(self, counts: tuple[int, int, str]) -> Run:
        """With the W&B runs that were written, those that could not be, and the first error."""
        tracked, untracked, error = counts
        return replace(self, tracked=tracked, untracked=untracked, tracking_error=error)


class Stopped(Exception):
    """An execution that ended early, with what it had done: its generator steps count as much as any others."""

    def __init__(self, run: Run, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.run, self.reason = run, reason


@dataclass(frozen=True)
class Options:
    """How a run is executed; nothing of it changes a number."""

    out: str
    store: str | None = None
    address: str | None = None
    cpus: int | None = None
    retry: bool = False
    """Whether cells that have failed `MOST_TRIES` times are tried once more."""
    fail_fast: bool = False
    """Whether the first failed cell ends the run."""
    local: bool = False
    """Whether everything runs in this process, without Ray."""

    @property
    def out_uri(self) -> str:
        """``--out`` as every process of a cluster can read it."""
        return absolute(self.out)

    @property
    def store_uri(self) -> str:
        """Where artifacts go: ``--store``, or ``store`` below ``--out``."""
        return absolute(self.store) if self.store else below(self.out_uri, "store")

    @property
    def local_folder(self) -> Path:
        """A local folder for what needs one (Tune's and W&B's own files, the demo's photographs)."""
        if "://" not in self.out:
            return Path(self.out).expanduser()
        return cache_dir() / "runs" / fingerprint("out", 1, {"uri": public(self.out)}, {})[:16]
