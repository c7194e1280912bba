"""The prices in docs/experiments.md: the counts are those of a plan over datasets of the published sizes."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from goodshot import experiments

DOCS = Path(__file__).parents[2] / "docs/experiments.md"
ROW = re.compile(r"^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \|", re.MULTILINE)
COUNT = """
import json
from benchmarks.prices import planned, trainings
print(json.dumps({name: [len(plan.cells), trainings(plan)] for name, plan, _ in planned()}))
"""


def documented() -> dict[str, list[int]]:
    """Experiment → cells and trainings, as the table says."""
    return {name: [int(n.replace(",", "")) for n in counts] for name, *counts in ROW.findall(DOCS.read_text())}


def test_every_experiment_of_the_paper_has_a_price_and_a_command() -> None:
    # Those of AnomalyXFusion are in docs/defects.md, without a price: no diffusion step was ever timed on a GPU.
    paper = (one for one in experiments.EXPERIMENTS if not one.name.startswith("fusion_"))
    names = {one.name for one in paper if one.item or one.name == "sweep"}
    assert documented().keys() == names
    for name, (cells, trainings) in documented().items():
        text = importlib.import_module(f"goodshot.experiments.{name}").__doc__ or ""
        assert f"Costs {cells:,} cells, {trainings:,} trainings" in text
        assert f"`goodshot sweep {name} --root " in DOCS.read_text()


@pytest.mark.slow
def test_the_documented_counts_are_those_of_the_plan() -> None:
    """In a process of its own, whose caches hold stand-ins for weights."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, cwd=DOCS.parents[1], check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == documented()
