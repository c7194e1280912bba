"""Files that stages need on a machine besides photographs: pretrained weights by name, a user's own files, WordNet.

A run checks these needs before it scans or starts anything; 'goodshot doctor' and 'goodshot fetch' list them too. This
module imports neither torch nor the client of a hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from goodshot.components.detectors.config import DetectorConfig
from goodshot.components.detectors.pretrained import weight_names
from goodshot.components.encoders import check_encoder, encoder_weights
from goodshot.components.errors import BadInput, MissingWeights
from goodshot.components.fusion.config import PATH, SMALL, FusionConfig
from goodshot.components.generator.config import GeneratorConfig
from goodshot.components.generator.start import check_start_file, start_weights
from goodshot.components.prompts import PromptConfig, open_wordnet
from goodshot.components.weights import require
from goodshot.components.weights.registry import TORCHVISION, WORDNET


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


def prompt_needs(encoder: str, config: PromptConfig) -> Iterator[Need]:
    """The needs of the prompt stage: the encoder's weights, and NLTK's WordNet if the study names it."""
    names = encoder_weights(encoder)
    yield from (Need(name, "encoder") for name in names)
    if not names:
        yield Need(encoder, "encoder", check_file=check_encoder)
    if config.wordnet == "nltk":
        try:
            open_wordnet("nltk")
        except BadInput:  # it is not on this machine
            yield Need(WORDNET, "prompt.wordnet")


def training_needs(config: GeneratorConfig) -> Iterator[Need]:
    """The needs of a training: the start weights, and the network of its perceptual loss."""
    name = start_weights(config.init)
    if name is not None:
        yield Need(name, f"generator.init = {config.init}")
    elif config.init != "scratch":
        yield Need(config.init, "generator.init", check_file=check_start_file)
    if config.perceptual == "lite0":
        yield Need("efficientnet_lite0", "generator.perceptual")


def fusion_needs(config: FusionConfig) -> Iterator[Need]:
    """The needs of a fusion: a published base, by its name in the registry or by its path."""
    if config.base.startswith(PATH):
        yield Need(config.base, "synthesis.fusion.base", check_file=_check_base)
    elif config.base != SMALL:
        yield Need(config.base, "synthesis.fusion.base")


def _check_base(name: str) -> None:
    if not Path(name.removeprefix(PATH)).expanduser().exists():
        raise MissingWeights(f"synthesis.fusion.base = {name}: no such file or folder; correct the path")


def detector_needs(detector: DetectorConfig) -> Iterator[Need]:
    """The needs of a detector: its pretrained weights."""
    yield from (Need(name, f"detector {detector.label}") for name in weight_names(detector))


def quality_needs() -> Iterator[Need]:
    """The needs of image quality: the standard networks, which have embedded substitutes."""
    for network, metric in (("vgg16", "lpips"), ("inception_v3", "is")):
        yield Need(f"{TORCHVISION}{network}", f"metric {metric}", f"{metric}_lite0 is measured instead")
