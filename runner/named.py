"""Experiments and studies by name, or a study from a YAML file, with ``--set key=value`` applied."""

from __future__ import annotations

from collections.abc import Iterable

import experiments
from components.errors import BadInput
from runner.study.experiment import Experiment
from runner.study.problems import did_you_mean
from runner.study.settings import changed, is_file, read_study
from runner.study.study import Study


def study_names() -> dict[str, Study]:
    """Name → study, over the full-size studies of every experiment."""
    return {study.name: study for each in experiments.EXPERIMENTS for study in each.studies()}


def experiment_names() -> dict[str, Experiment]:
    """Name → experiment."""
    return {each.name: each for each in experiments.EXPERIMENTS}


def load_study(name: str, settings: Iterable[str] = ()) -> Study:
    """The study called ``name`` in an experiment or read from a YAML file, with ``key=value`` settings applied.

    Raises:
        BadInput: no such study or file, a key that does not exist, or a value that is not allowed.
    """
    if is_file(name):
        return read_study(name, settings)
    known = study_names()
    if name not in known:
        raise BadInput(f"study {name!r}: there is none; {did_you_mean(name, known)}")
    return changed(known[name], settings)


def load_studies(
    name: str, settings: Iterable[str] = (), quick: bool = False
) -> tuple[Experiment | None, tuple[Study, ...]]:
    """All studies of the experiment called ``name``, or one study by its name or file, with settings applied to each.

    Args:
        quick: the experiment's quick flavour.

    Raises:
        BadInput: as :func:`load_study`; ``quick`` for a study.
    """
    settings = list(settings)
    if (experiment := experiment_names().get(name)) is not None:
        return experiment, tuple(changed(study, settings) for study in experiment.studies(quick))
    if quick:
        raise BadInput(f"--quick: {name} is no experiment; there are: {', '.join(experiment_names())}")
    return None, (load_study(name, settings),)
