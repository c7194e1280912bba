"""Read the files of W&B runs with W&B's own reader (``wandb leet inspect``)."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.util import get_core_path


@dataclass(frozen=True)
class WandbRun:
    """What the file of one run holds.

    history: the logged lines, each a value by name.
    artifacts: the names of the files of each artifact, by its name.
    """

    folder: Path
    id: str
    header: dict[str, Any]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    artifacts: dict[str, dict[str, Path]]
    exit_code: int | None

    def curve(self, name: str) -> dict[int, float]:
        """The values of a curve by iteration."""
        return {line["iteration"]: line[name] for line in self.history if name in line}

    def picture(self, name: str) -> Path:
        """The file of the last picture of this name."""
        return (
            self.folder
            / "files"
            / next(line[f"{name}.path"] for line in reversed(self.history) if f"{name}.path" in line)
        )

    @property
    def is_of_study(self) -> bool:
        """Whether it sums up a study; the others are points."""
        return self.header.get("job_type") == "study"

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of the last table of this name."""
        path = self.folder / "files" / self.summary[f"{name}.path"]
        content = json.loads(path.read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def wandb_runs(out: Path) -> list[WandbRun]:
    """The runs below an output, oldest first; one that was continued has several."""
    folders = sorted(out.glob("wandb/*run-*"), key=lambda folder: folder.stat().st_mtime_ns)
    return [_read(file) for folder in folders for file in folder.glob("*.wandb")]


def _read(file: Path) -> WandbRun:
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", file, file.parent]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    records: dict[str, list[dict[str, Any]]] = {}
    for line in map(json.loads, lines):
        records.setdefault(line["type"], []).append(line[line["type"]])
    summary: dict[str, Any] = {}
    for record in records.get("summary", []):
        summary |= record.get("update", {})
    header = records["run"][0]
    return WandbRun(
        folder=file.parent,
        id=header["run_id"],
        header=header,
        config=header["config"]["update"],
        history=[record["item"] for record in records.get("history", [])],
        summary=summary,
        artifacts={record["name"]: _files(record) for record in records.get("artifact", [])},
        exit_code=next((record.get("exit_code", 0) for record in records.get("exit", [])), None),
    )


def _files(artifact: dict[str, Any]) -> dict[str, Path]:
    contents = artifact["manifest"]["contents"]
    return {entry["path"]: Path(entry["local_path"]) for entry in contents}
