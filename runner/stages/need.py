"""Files that stages need on a machine besides photographs: pretrained weights by name, a user's own files, WordNet.

Each stage declares its own in :meth:`goodshot.runner.stages.base.Stage.needs`. A run checks these needs before it scans
or starts anything; 'goodshot doctor' and 'goodshot fetch' list them too. This module imports neither torch nor the
client of a hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from goodshot.components.detectors.pretrained import weight_names
from goodshot.components.encoders import check_encoder, encoder_weights
from goodshot.components.errors import MissingWeights
from goodshot.components.generator.config import GeneratorConfig
from goodshot.components.generator.start_file import check_start_file, start_weights
from goodshot.components.weights import require
from goodshot.runner.declaration.fields import Declaration


@dataclass(frozen=True)
class Need:
    """A file that a study needs: a weight of the registry by name, or a user's own file.

    name: name in the registry, or the user's file.
    of: the field or metric that needs it.
    instead: the substitute that is used if it is missing; empty if the study cannot run without it.
    check_file: only for a user's file; raises :class:`MissingWeights` if the file is missing.
    """

    name: str
    of: str
    instead: str = ""
    check_file: Callable[[str], object] | None = None

    @property
    def registered(self) -> bool:
        """Whether the file is a weight of the registry."""
        return self.check_file is None

    def check(self) -> None:
        """Raise :class:`MissingWeights`, naming the file, its place and the remedy, if it is not on this machine."""
        if self.check_file is None:
            require(self.name, self.of)
        else:
            self.check_file(self.name)

    @property
    def present(self) -> bool:
        """Whether the file is on this machine."""
        try:
            self.check()
        except MissingWeights:
            return False
        return True


def encoder_needs(encoder: str) -> Iterator[Need]:
    """The weights of an encoder of images and texts."""
    names = encoder_weights(encoder)
    yield from (Need(name, "encoder") for name in names)
    if not names:
        yield Need(encoder, "encoder", check_file=check_encoder)


def detector_needs(study: Declaration) -> Iterator[Need]:
    """The pretrained weights of a study's detectors."""
    for detector in study.detectors:
        yield from (Need(name, f"detector {detector.label}") for name in weight_names(detector))


def start_needs(config: GeneratorConfig) -> Iterator[Need]:
    """The weights that a generator starts from."""
    name = start_weights(config.init)
    if name is not None:
        yield Need(name, f"generator.init = {config.init}")
    elif config.init != "scratch":
        yield Need(config.init, "generator.init", check_file=check_start_file)
