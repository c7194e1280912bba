"""A submission: the command of a job, the job's id, its package, and its metadata for the dashboard."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from goodshot.components.errors import BadInput
from goodshot.runner.cluster.address import is_relative
from goodshot.runner.store.fingerprint import fingerprint
from goodshot.runner.study.settings import is_file
from goodshot.runner.study.study import Study
from goodshot.runner.submission.package import STUDY, Package, package_of
from goodshot.runner.submission.secrets import require_no_secret

ENTRY = ("python", "-m", "goodshot.runner")
"""The beginning of a job's command, which starts in the folder in which the package is unpacked."""
ENVIRONMENT = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "30"}
"""Environment variables of the job. Ray stops the job by SIGINT, as by Ctrl-C, and kills it after 30 s. Ray's defaults
are SIGTERM, for which Ray prints a stack trace, and 3 s."""
KEY = "goodshot_study"
"""The key of a job's metadata whose value is the study that the job runs."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NOT_OF_IDS = re.compile(r"[^A-Za-z0-9._-]+")
_FROM_HERE = "give an absolute path of a folder that all nodes of the cluster share, or a URI (s3://…)"


@dataclass(frozen=True)
class Submission:
    """A study to run on a cluster, or to check a cluster for.

    name: the name of the experiment or study, or the study's file, as the user gave it.
    arguments: further arguments of the command.
    id: the id that the user chose; None for an id computed from the studies, ``out`` and ``store``.
    verb: the command of goodshot: ``sweep``, or ``doctor`` to check the nodes.
    """

    name: str
    studies: Sequence[Study]
    out: str
    store: str | None = None
    arguments: Sequence[str] = ()
    id: str | None = None
    verb: Literal["sweep", "doctor"] = "sweep"

    def checked(self) -> Submission:
        """Check the submission, and return it with normalised ``out`` and ``store``.

        Raises:
            BadInput: a path is relative to a folder of this machine, the sent contents contain a secret, the id is
                invalid, or the package is too large.
        """
        for option, place in (("--out", self.out), ("--store", self.store), *self._roots()):
            if place is not None and is_relative(place):
                raise BadInput(f"{option} {place}: is relative to a folder of this machine; {_FROM_HERE}")
        if self.id is not None and not _ID.fullmatch(self.id):
            raise BadInput(f"--id {self.id}: use up to 100 letters, digits, dots, dashes and underscores")
        placed = replace(self, out=_plain(self.out), store=_plain(self.store) if self.store else None)
        texts = {argument: argument for argument in placed.command}
        code: dict[str, str | bytes] = dict(placed.package.files)
        if STUDY in code:
            code[self.name] = placed.package.files[STUDY].decode(errors="replace")
        require_no_secret({**texts, **code})
        placed.package.require_size()
        return placed

    def _roots(self) -> list[tuple[str, str | None]]:
        datasets = [d for study in self.studies for d in (study.dataset, *study.variation_sources)]
        return [(f"the folder of {dataset.name},", dataset.root) for dataset in datasets]

    @property
    def command(self) -> tuple[str, ...]:
        """The job's command and its arguments."""
        store = (f"--store={self.store}",) if self.store else ()
        name = STUDY if is_file(self.name) else self.name
        return (*ENTRY, self.verb, name, f"--out={self.out}", *store, *self.arguments)

    @property
    def entry_point(self) -> str:
        """The command as one line for a shell, each argument quoted."""
        return shlex.join(self.command)

    @cached_property
    def package(self) -> Package:
        """The code that the job runs."""
        return package_of(Path(self.name) if is_file(self.name) else None)

    @property
    def runtime_env(self) -> dict[str, Any]:
        """Ray's runtime environment for the job, with the URI of the package."""
        return {"working_dir": self.package.uri, "env_vars": dict(ENVIRONMENT)}

    @property
    def fingerprint(self) -> str:
        """A hash of the studies, ``out`` and ``store``; equal submissions of two users have the same hash."""
        studies = [study.model_dump(mode="json") for study in self.studies]
        return fingerprint("submission", 1, {"studies": studies, "out": self.out, "store": self.store or ""}, {})

    @property
    def first_id(self) -> str:
        """The id of the submission's first job; if it has ended, later jobs append ``-2``, ``-3`` … to this id."""
        name = _NOT_OF_IDS.sub("-", Path(self.name).stem if is_file(self.name) else self.name).strip("-.")[:60]
        verb = "" if self.verb == "sweep" else f"{self.verb}-"
        return self.id or f"{verb}{name or 'study'}-{self.fingerprint[:8]}"

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata of the job, which the dashboard and ``goodshot jobs`` show."""
        return {
            KEY: self.name,
            "goodshot_out": self.out,
            "goodshot_fingerprint": self.fingerprint,
            "goodshot_runs": self.runs,
        }

    @property
    def runs(self) -> str:
        """A hash of the code and the options; jobs with the same fingerprint may differ in these."""
        return fingerprint("submitted", 1, {"package": self.package.uri, "command": list(self.command)}, {})[:16]


def _plain(place: str) -> str:
    """Return the folder or URI without trailing slashes, so that equal places compare equal."""
    return place if "?" in place else place.rstrip("/") or "/"
