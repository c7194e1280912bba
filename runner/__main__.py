"""``python -m runner`` in a checkout where nothing is installed, and ``python -m goodshot.runner``: the command line.

Both are entry points of Ray jobs: the first of a plain ``ray job submit --working-dir .``, the second of
``goodshot submit``. Nothing but the standard library is imported until it is known that this Python has the rest.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""The environment variable by which Ray tells the driver of a job the runtime environment of the job's workers."""


def main() -> int:
    """Run the command line; 2 if this Python is not one in which goodshot's packages are installed."""
    if sys.version_info < (3, 11):  # noqa: UP036 - a job's Python was checked by no installer
        return _refuse("is too old; goodshot needs Python 3.11 or newer")
    if JOB in os.environ:
        # Ignored by inheritance, if a script has started Ray in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if __package__ == "runner":
        use_checkout(Path(__file__).resolve().parents[1] / "src")
    try:
        from goodshot.runner.cli import main as command_line
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "goodshot":
            raise
        return _refuse(f"lacks the package {error.name}; use the Python in which goodshot's packages are installed")
    return command_line()


def use_checkout(source: Path) -> None:
    """Let this process, its children, and the workers of its Ray job import goodshot from a checkout's ``src``."""
    sys.path.insert(0, str(source))
    os.environ["PYTHONPATH"] = _joined(str(source), os.environ.get("PYTHONPATH"))
    if JOB not in os.environ:
        return
    config = json.loads(os.environ[JOB])
    environment = config.setdefault("runtime_env", {})
    # Each node unpacks the working directory somewhere else, and starts the job's workers in it.
    place = os.path.relpath(source) if environment.get("working_dir") else str(source)
    variables = environment.setdefault("env_vars", {})
    variables["PYTHONPATH"] = _joined(place, variables.get("PYTHONPATH"))
    os.environ[JOB] = json.dumps(config)


def _joined(first: str, others: str | None) -> str:
    return os.pathsep.join([first, *([others] if others else [])])


def _refuse(problem: str) -> int:
    print(f"goodshot: {sys.executable} {problem}, and put its folder first on PATH before 'ray start'", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
