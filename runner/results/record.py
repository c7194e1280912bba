"""The records of studies, with which a report can be written without the dataset and the plan.

``OUT/studies/<name>.yaml`` is the study itself; ``OUT/studies/<name>.cells.json`` lists the artifacts of the store from
which the row of each cell was computed.
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
    """A cell's fingerprint, kind, arm and originals, and the artifacts of the store that the cell depends on.

    shard, support_ids: the key of the shard with the originals, and the ids of the originals in the shard.
    image_set: the key of the added images; None if the arm adds no images, or makes them in the cell.
    stages: the artifacts that the cell reads: key → kind of the stage that makes the artifact.
    trainings: the trainings that made these artifacts: key → kind of the stage.
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
        """Return the record with the given fields, without the fields that a later version of goodshot has added."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**{**known, **_stages_of_earlier(values), "support_ids": tuple(known["support_ids"])})

    def key_of(self, stage: type[Stage]) -> str | None:
        """Return the key of the cell's first artifact or training that a stage of this class makes; None if none."""
        behind = (*self.stages.items(), *self.trainings.items())
        return next((key for key, kind in behind if kind == stage.kind), None)


def _stages_of_earlier(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the current fields for a record of an earlier version, which wrote no kinds, or only some of the keys."""
    if isinstance(values.get("stages"), Mapping):
        return {}

    def by_kind(keys: Iterable[str | None]) -> dict[str, str]:
        return {key: key.partition("/")[0] for key in keys if key}

    keys = values.get("stages") or (values["shard"], values["prompt"], values["image_set"])
    return {"stages": by_kind(keys), "trainings": by_kind([values["generator"]])}


@dataclass(frozen=True)
class StudyRecord:
    """A study as in its last run, with its cells in declared order."""

    study: Study
    cells: tuple[CellRecord, ...]


def write_record(study: Study, plan: Plan, results: Results) -> None:
    """Write the two files of a study, each atomically and without the credentials of a URI."""
    recorder = Recorder(plan)
    cells = ",\n".join(json.dumps(asdict(recorder.record(plan.cells[f]))) for f in plan.cells_of[study.name])
    results.files.write(f"studies/{study.name}.cells.json", f"[\n{cells}\n]\n".encode())
    results.files.write(f"studies/{study.name}.yaml", public(to_yaml(study)).encode())


def read_records(results: Results) -> Sequence[StudyRecord]:
    """Return every study of this ``--out``, sorted by name. Raises :class:`BadInput` as :func:`read_record` does."""
    return [read_record(results, name) for name in record_names(results)]


def record_names(results: Results) -> list[str]:
    """Return the names of the record files of all studies in this ``--out``."""
    return results.files.names("studies", ".yaml")


def read_record(results: Results, name: str) -> StudyRecord:
    """Read the record of the study in the file ``name``.

    Raises:
        BadInput: a file is missing or damaged, or another version of goodshot wrote a study that is invalid here.
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
    """Makes the records of a plan's cells; dependencies that thousands of cells share are looked up once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._behind: dict[tuple[str, ...], tuple[dict[str, str], dict[str, str]]] = {}

    def record(self, stage: CellStage) -> CellRecord:
        """Return the record of a cell."""
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
        """Return the artifacts that a cell reads, and the trainings that made these artifacts."""
        if inputs not in self._behind:
            # Dependencies of these artifacts are not listed: they may not exist if the artifact was in a shared store.
            read = [self._plan.stages[id_] for id_ in inputs]
            trainings = [stage for stage in self._plan.closure(inputs).values() if stage.is_generator]
            self._behind[inputs] = _kinds(read), _kinds(trainings)
        return self._behind[inputs]


def _kinds(stages: Iterable[Stage]) -> dict[str, str]:
    return {stage.key: stage.kind for stage in stages}


def write_experiment(experiment: Experiment, studies: Sequence[Study], results: Results) -> None:
    """Write ``OUT/experiments/<name>.json`` with the names of the experiment's studies and its published numbers."""
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
    """An experiment as in its last run: the names of its studies, and its published numbers."""

    name: str
    title: str
    studies: tuple[str, ...]
    references: tuple[Reference, ...]


def read_experiments(results: Results) -> Sequence[ExperimentRecord]:
    """Return every experiment of this ``--out``, sorted by name."""
    return [_read_experiment(results, name) for name in results.files.names("experiments", ".json")]


def _read_experiment(results: Results, name: str) -> ExperimentRecord:
    """Read an experiment, without fields of references that a later version has added. Raises :class:`BadInput`."""
    try:
        values = json.loads(results.files.read(name))
        known = Reference.__dataclass_fields__
        references = (_reference({k: v for k, v in r.items() if k in known}) for r in values["references"])
        return ExperimentRecord(values["name"], values["title"], tuple(values["studies"]), tuple(references))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        where = results.files.where(name)
        raise BadInput(f"{where}: is no record of an experiment ({error!r}); run it again, which writes it") from None


def _reference(values: Mapping[str, Any]) -> Reference:
    """Return the reference with the given fields, with lists converted to tuples, because JSON has only lists."""
    return Reference(**{**values, "mean_over": tuple(values.get("mean_over", ()))})
