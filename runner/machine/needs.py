"""The files that a study needs on a machine besides its photographs: pretrained weights and WordNet."""

from __future__ import annotations

from collections.abc import Iterable

from goodshot.runner.stages.need import Need
from goodshot.runner.study.search import extreme_points
from goodshot.runner.study.study import Study


def needs_of(study: Study) -> tuple[Need, ...]:
    """Return the weights and other files that a study's stages load, each once, in the order of the stages.

    Raises :class:`BadInput` for a name without a published weight.
    """
    needs: dict[str, Need] = {}
    for point in extreme_points(study):
        for need in point.needs():
            needs.setdefault(need.name, need)
    return tuple(needs.values())


def require_all(studies: Iterable[Study]) -> None:
    """Raise :class:`MissingWeights` for the first required weight that is not on this machine."""
    for study in studies:
        for need in needs_of(study):
            if not need.instead:
                need.check()
