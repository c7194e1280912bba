"""Everything that a study needs on a machine besides its photographs."""

from __future__ import annotations

from collections.abc import Iterable

from runner.stages.need import Need
from runner.study.search import extreme_points
from runner.study.study import Study


def needs_of(study: Study) -> tuple[Need, ...]:
    """All pretrained weights that a study loads, each once, in the order of its stages; optional ones last.

    Raises :class:`BadInput` for a name without a published weight.
    """
    found: dict[str, Need] = {}
    for point in extreme_points(study):
        for need in point.needs():
            found.setdefault(need.name, need)
    return tuple(found.values())


def require_all(studies: Iterable[Study]) -> None:
    """Raise :class:`MissingWeights` for the first needed weight that is not on this machine."""
    for study in studies:
        for need in needs_of(study):
            if not need.instead:
                need.check()
