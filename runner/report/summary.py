"""Describe a study in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from goodshot.runner.report.context import StudyContext


def summary(context: StudyContext) -> str:
    """Name the study's detectors, data, arms and supports, and the number of its finished cells."""
    study = context.study
    points = len(context.trials) or len(study.points)
    of_cells = [cell.category for cell in context.record.cells]
    categories = list(dict.fromkeys([*of_cells, *(str(row["category"]) for row in context.rows)]))
    used = {subject for kind in study.own_kinds for subject in kind.subjects(study)}
    detectors = [f"{d.label} at {d.image_size} px" for d in study.detectors if d in used]
    kinds = [kind.title for kind in study.own_kinds if not {*study.detectors} & {*kind.subjects(study)}]
    originals = "all originals" if study.shots == "full" else f"{study.shots} original{'s' * (study.shots != 1)}"
    declared = f" (of {listed(list(study.support))} those listed)" if study.support else ""
    arms = [arm.label for arm in study.own_arms]
    text = f", images chosen by {study.encoder}" if study.uses_text else ""
    return (
        f"{listed([*detectors, *kinds])} on {study.dataset.name} ({', '.join(categories)}), trained on {originals} per "
        f"category{declared}: {listed(arms)}{text}; {counted(len(study.support_seeds), 'support')}, "
        f"{counted(points, 'hyperparameter point')}, {len(context.rows)} of {len(context.asked)} cells finished."
    )


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 support``, ``2 supports``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
