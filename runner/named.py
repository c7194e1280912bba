"""Find experiments and studies by name, or read a study from a YAML file, and apply ``--set key=value``."""

from __future__ import annotations

from collections.abc import Iterable

from goodshot import experiments
from goodshot.components.errors import BadInput
from goodshot.runner.study.experiment import Experiment
from goodshot.runner.study.problems import did_you_mean
from goodshot.runner.study.roots import rooted
from goodshot.runner.study.settings import changed, is_file, read_study
from goodshot.runner.study.study import Study


def study_names() -> dict[str, Study]:
    """The full-size studies of all experiments by name."""
    return {study.name: study for experiment in experiments.EXPERIMENTS for study in experiment.studies()}


def experiment_names() -> dict[str, Experiment]:
    """All experiments by name."""
    return {experiment.name: experiment for experiment in experiments.EXPERIMENTS}


def load_study(name: str, settings: Iterable[str] = ()) -> Study:
    """The study with this name in an experiment, or in the YAML file with this path, with settings applied.

    Args:
        settings: texts ``key=value``.

    Raises:
        BadInput: the study, the file or a key does not exist, or a value is not allowed.
    """
    if is_file(name):
        return read_study(name, settings)
    studies = study_names()
    if name not in studies:
        raise BadInput(f"study {name!r}: does not exist; {did_you_mean(name, studies)}")
    return changed(studies[name], settings)


def load_studies(
    name: str, settings: Iterable[str] = (), quick: bool = False, roots: Iterable[str] = ()
) -> tuple[Experiment | None, tuple[Study, ...]]:
    """All studies of the experiment with this name, or one study by its name or path, with settings applied to each.

    Args:
        quick: load the quick studies of the experiment.
        roots: the folders of their datasets, as :func:`goodshot.runner.study.roots.rooted` reads them.

    Raises:
        BadInput: as in :func:`load_study`, ``quick`` is given for a study, or a root is of no dataset that is read.
    """
    settings = list(settings)
    if (experiment := experiment_names().get(name)) is not None:
        return experiment, rooted([changed(study, settings) for study in experiment.studies(quick)], roots)
    if quick:
        raise BadInput(f"--quick: {name} is no experiment; there are: {', '.join(experiment_names())}")
    return None, rooted([load_study(name, settings)], roots)
