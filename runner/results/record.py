"""What a study leaves beside its rows, so that a report needs neither the dataset nor the plan again.

``OUT/studies/<name>.yaml`` is the study itself; ``OUT/studies/<name>.cells.json`` says, cell by cell, which artifacts
of the store its row stands on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from goodshot.components.errors import BadInput
from goodshot.runner.cells import USUAL, CellStage
from goodshot.runner.plan.plan import Plan
from goodshot.runner.results.results import Results
from goodshot.runner.stages.base import Stage
from goodshot.runner.store.files import public
from goodshot.runner.study.experiment import Experiment, Reference
from goodshot.runner.study.settings import to_yaml, validate
from goodshot.runner.study.study import Study


@dataclass(frozen=True)
class CellRecord:
    """A cell's fingerprint, its kind and arm, its originals, and the artifacts of the store behind it.

    shard, support_ids: the originals.
    image_set: the key of the added images; None if the arm adds none, or makes them in the cell.
    stages: the artifacts that the cell reads: key → kind of the stage that makes it.
    trainings: the trainings behind these, in the same way.
    """

    fingerprint: str
    category: str
    arm: str
    seed: int
    shard: str
    support_ids: tuple[str, ...]
    image_set: str | None
    has_maps: bool
    kind: str = USUAL.name
    stages: Mapping[str, str] = field(default_factory=dict)
    trainings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> CellRecord:
        """A record as it was written. Fields that a later version added are left out."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**{**known, **_stages_of_earlier(values), "support_ids": tuple(known["support_ids"])})

    def key_of(self, stage: type[Stage]) -> str | None:
        """The key of the first artifact or training of this class behind the cell; None if there is none."""
        behind = (*self.stages.items(), *self.trainings.items())
        return next((key for key, kind in behind if kind == stage.kind), None)


def _stages_of_earlier(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record by an earlier version, which wrote keys without kinds, or only some of the keys."""
    if isinstance(values.get("stages"), Mapping):
        return {}

    def by_kind(keys: Iterable[str | None]) -> dict[str, str]:
        return {key: key.partition("/")[0] for key in keys if key}

    keys = values.get("stages") or (values["shard"], values["prompt"], values["image_set"])
    return {"stages": by_kind(keys), "trainings": by_kind([values["generator"]])}


@dataclass(frozen=True)
class StudyRecord:
    """A study as it was run last, with its cells in declared order."""

    study: Study
    cells: tuple[CellRecord, ...]


def write_record(study: Study, plan: Plan, results: Results) -> None:
    """Write the two files, each atomically and without the credentials of a URI."""
    recorder = Recorder(plan)
    cells = ",\n".join(json.dumps(asdict(recorder.record(plan.cells[f]))) for f in plan.cells_of[study.name])
    results.files.write(f"studies/{study.name}.cells.json", f"[\n{cells}\n]\n".encode())
    results.files.write(f"studies/{study.name}.yaml", public(to_yaml(study)).encode())


def read_records(results: Results) -> Sequence[StudyRecord]:
    """Every study that was run into this ``--out``, by name. Raises :class:`BadInput` as :func:`read_record` does."""
    return [read_record(results, name) for name in record_names(results)]


def record_names(results: Results) -> list[str]:
    """The files of the studies that were run into this ``--out``."""
    return results.files.names("studies", ".yaml")


def read_record(results: Results, name: str) -> StudyRecord:
    """The study of one of these files.

    Raises:
        BadInput: a file is missing or damaged, or another version of goodshot wrote a study that this one cannot have.
    """
    cells_name = name.removesuffix(".yaml") + ".cells.json"
    try:
        values, cells = yaml.safe_load(results.files.read(name)), json.loads(results.files.read(cells_name))
        records = tuple(map(CellRecord.read, cells))
    except FileNotFoundError:
        raise BadInput(f"{results.files.where(cells_name)}: is missing; run the study again, which writes it") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        where, what = results.files.where(name), " ".join(str(error).split())
        raise BadInput(f"{where}: is no record of a study ({what}); run the study again, which writes it") from None
    if not isinstance(values, dict):
        raise BadInput(f"{results.files.where(name)}: holds no study; give another --out, or run the study again")
    return StudyRecord(validate(values, name), records)


class Recorder:
    """Writes down the cells of a plan; what thousands of cells stand on is looked up once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._behind: dict[tuple[str, ...], tuple[dict[str, str], dict[str, str]]] = {}

    def record(self, stage: CellStage) -> CellRecord:
        """The record of a cell."""
        stages, trainings = self._stages(stage.inputs)
        return CellRecord(
            fingerprint=stage.fingerprint,
            category=stage.cell.category,
            arm=stage.cell.arm.label,
            seed=stage.cell.seed,
            shard=stage.support.shard,
            support_ids=stage.support.ids,
            image_set=stage.added.image_set,
            has_maps=stage.keeps_pictures,
            kind=stage.cell.kind.name,
            stages=stages,
            trainings=trainings,
        )

    def _stages(self, inputs: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
        """The artifacts that a cell reads, and the trainings behind them."""
        if inputs not in self._behind:
            # Not what those stand on: of an image set that is in a shared store, nothing else need have been made.
            read = [self._plan.stages[id_] for id_ in inputs]
            trainings = [stage for stage in self._plan.closure(inputs).values() if stage.is_generator]
            self._behind[inputs] = _kinds(read), _kinds(trainings)
        return self._behind[inputs]


def _kinds(stages: Iterable[Stage]) -> dict[str, str]:
    return {stage.key: stage.kind for stage in stages}


def write_experiment(experiment: Experiment, studies: Sequence[Study], results: Results) -> None:
    """Leave ``OUT/experiments/<name>.json``: which studies belong together, and the published numbers beside them."""
    values = {
        "name": experiment.name,
        "title": experiment.title,
        "studies": [study.name for study in studies],
        "references": [asdict(reference) for reference in experiment.references],
    }
    text = json.dumps(values, indent=1, ensure_ascii=False)
    results.files.write(f"experiments/{experiment.name}.json", text.encode())


@dataclass(frozen=True)
class ExperimentRecord:
    """An experiment as it was run last: the names of its studies, and its published numbers."""

    name: str
    title: str
    studies: tuple[str, ...]
    references: tuple[Reference, ...]


def read_experiments(results: Results) -> Sequence[ExperimentRecord]:
    """Every experiment that was run into this ``--out``, by name."""
    return [_read_experiment(results, name) for name in results.files.names("experiments", ".json")]


def _read_experiment(results: Results, name: str) -> ExperimentRecord:
    """Read one of them, without the fields of references that a later version added. Raises :class:`BadInput`."""
    try:
        values = json.loads(results.files.read(name))
        known = Reference.__dataclass_fields__
        references = (_reference({k: v for k, v in r.items() if k in known}) for r in values["references"])
        return ExperimentRecord(values["name"], values["title"], tuple(values["studies"]), tuple(references))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        where = results.files.where(name)
        raise BadInput(f"{where}: is no record of an experiment ({error!r}); run it again, which writes it") from None


def _reference(values: Mapping[str, Any]) -> Reference:
    """A reference as it was written; JSON knows lists only."""
    return Reference(**{**values, "mean_over": tuple(values.get("mean_over", ()))})
