"""What stages need on a machine besides photographs: pretrained weights by name, a user's own files, WordNet.

It is asked before anything is scanned or started, and by 'goodshot doctor' and 'goodshot fetch'. Nothing here imports
torch or a hub's client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from components.detectors.config import DetectorConfig
from components.detectors.pretrained import weight_names
from components.encoders import check_encoder, encoder_weights
from components.errors import BadInput, MissingWeights
from components.generator.config import GeneratorConfig
from components.generator.start import check_start_file, start_weights
from components.prompts import PromptConfig, open_wordnet
from components.weights import require
from components.weights.registry import TORCHVISION, WORDNET


@dataclass(frozen=True)
class Need:
    """A weight of the registry by name, or a file of the user's, and what asks for it.

    instead: what is used without it; empty where the study cannot run without.
    check_file: for a user's file, raises :class:`MissingWeights` unless it is there.
    """

    name: str
    of: str
    instead: str = ""
    check_file: Callable[[str], object] | None = None

    @property
    def registered(self) -> bool:
        """Whether it is a weight of the registry."""
        return self.check_file is None

    def check(self) -> None:
        """Raise :class:`MissingWeights` unless it is here: at once, with what, where and the remedy."""
        if self.check_file is None:
            require(self.name, self.of)
        else:
            self.check_file(self.name)

    @property
    def present(self) -> bool:
        """Whether it is on this machine."""
        try:
            self.check()
        except MissingWeights:
            return False
        return True


def prompt_needs(encoder: str, config: PromptConfig) -> Iterator[Need]:
    """Of the prompt stage: the encoder's weights, and WordNet."""
    names = encoder_weights(encoder)
    yield from (Need(name, "encoder") for name in names)
    if not names:
        yield Need(encoder, "encoder", check_file=check_encoder)
    try:
        if open_wordnet(config.wordnet).source.startswith("extract"):
            yield Need(WORDNET, "prompt.wordnet", "the embedded extract is read")
    except BadInput:  # the one that is named is not here
        if config.wordnet == "nltk":
            yield Need(WORDNET, "prompt.wordnet")


def training_needs(config: GeneratorConfig) -> Iterator[Need]:
    """Of a training: the start weights, and the network of its perceptual loss."""
    name = start_weights(config.init)
    if name is not None:
        yield Need(name, f"generator.init = {config.init}")
    elif config.init != "scratch":
        yield Need(config.init, "generator.init", check_file=check_start_file)
    if config.perceptual == "lite0":
        yield Need("efficientnet_lite0", "generator.perceptual")


def detector_needs(detector: DetectorConfig) -> Iterator[Need]:
    """Of a detector: its pretrained weights."""
    yield from (Need(name, f"detector {detector.label}") for name in weight_names(detector))


def quality_needs() -> Iterator[Need]:
    """Of image quality: the standard networks, which have embedded substitutes."""
    for network, metric in (("vgg16", "lpips"), ("inception_v3", "is")):
        yield Need(f"{TORCHVISION}{network}", f"metric {metric}", f"{metric}_lite0 is measured instead")
