"""What a study leaves beside its rows, so that a report needs neither the dataset nor the plan again.

``OUT/studies/<name>.yaml`` is the study itself; ``OUT/studies/<name>.cells.json`` says, cell by cell, which artifacts
of the store its row stands on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import yaml

from runner.plan.plan import Plan, PlannedCell
from runner.results.results import Results
from runner.store.files import public
from runner.study.settings import to_yaml, validate
from runner.study.study import Study


@dataclass(frozen=True)
class CellRecord:
    """A cell's fingerprint and the store keys behind it; None where its arm has no such stage."""

    fingerprint: str
    category: str
    arm: str
    seed: int
    shard: str
    support_ids: tuple[str, ...]
    prompt: str | None
    generator: str | None
    image_set: str | None
    has_maps: bool


@dataclass(frozen=True)
class StudyRecord:
    """A study as it was run last, with its cells in declared order."""

    study: Study
    cells: tuple[CellRecord, ...]


def write_record(study: Study, plan: Plan, results: Results) -> None:
    """Write the two files, each atomically and without the credentials of a URI."""
    cells = ",\n".join(json.dumps(asdict(_record(plan.cells[f], plan))) for f in plan.cells_of[study.name])
    results.files.write(f"studies/{study.name}.cells.json", f"[\n{cells}\n]\n".encode())
    results.files.write(f"studies/{study.name}.yaml", public(to_yaml(study)).encode())


def read_records(results: Results) -> Sequence[StudyRecord]:
    """Every study that was run into this ``--out``, by name."""
    records = []
    for name in results.files.names("studies", ".yaml"):
        values = yaml.safe_load(results.files.read(name))
        cells = json.loads(results.files.read(name.removesuffix(".yaml") + ".cells.json"))
        restored = [CellRecord(**{**c, "support_ids": tuple(c["support_ids"])}) for c in cells]
        records.append(StudyRecord(validate(values, name), tuple(restored)))
    return records


def _record(planned: PlannedCell, plan: Plan) -> CellRecord:
    return CellRecord(
        fingerprint=planned.fingerprint,
        category=planned.cell.category,
        arm=planned.cell.label,
        seed=planned.cell.seed,
        shard=planned.support.shard,
        support_ids=planned.support.ids,
        prompt=planned.prompt,
        generator=plan.generators[planned.generator].key if planned.generator else None,
        image_set=planned.image_set,
        has_maps=planned.keep_maps,
    )
