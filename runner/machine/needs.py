"""What a study needs on a machine besides its photographs: the pretrained weights, by name, and WordNet.

Asked before anything is scanned or started, and by 'goodshot doctor' and 'goodshot fetch'. Nothing here imports torch
or a hub's client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from components.detectors.pretrained import weight_names
from components.encoders import check_encoder, encoder_weights
from components.errors import BadInput, MissingWeights
from components.generator.start import check_start_file, start_weights
from components.prompts import open_wordnet
from components.weights import require
from components.weights.registry import TORCHVISION, WORDNET
from runner.study.search import corners
from runner.study.study import Study


@dataclass(frozen=True)
class Need:
    """A weight of the registry by name, or a file of the user's, and what asks for it.

    instead: what is used without it; empty where the study cannot run without.
    """

    name: str
    of: str
    instead: str = ""
    registered: bool = True

    def check(self) -> None:
        """Raise :class:`MissingWeights` unless it is here: at once, with what, where and the remedy."""
        if self.registered:
            require(self.name, self.of)
        elif self.of == "encoder":
            check_encoder(self.name)
        else:
            check_start_file(self.name)

    @property
    def present(self) -> bool:
        """Whether it is on this machine."""
        try:
            self.check()
        except MissingWeights:
            return False
        return True


def needs_of(study: Study) -> tuple[Need, ...]:
    """Everything pretrained that a study loads, each once, in the order of its stages; optional things last.

    Raises :class:`BadInput` for a name that nothing is published under.
    """
    found: dict[str, Need] = {}
    for point in corners(study):
        for need in (*_text(point), *_generator(point), *_detectors(point), *_quality(point)):
            found.setdefault(need.name, need)
    return tuple(found.values())


def require_all(studies: Iterable[Study]) -> None:
    """Raise :class:`MissingWeights` for the first thing that is needed and not here."""
    for study in studies:
        for need in needs_of(study):
            if not need.instead:
                need.check()


def _text(study: Study) -> Iterator[Need]:
    if not study.uses_text:
        return
    names = encoder_weights(study.encoder)
    yield from (Need(name, "encoder") for name in names)
    if not names:
        yield Need(study.encoder, "encoder", registered=False)
    try:
        if open_wordnet(study.prompt.wordnet).source.startswith("extract"):
            yield Need(WORDNET, "prompt.wordnet", "the embedded extract is read")
    except BadInput:  # the one that is named is not here
        if study.prompt.wordnet == "nltk":
            yield Need(WORDNET, "prompt.wordnet")


def _generator(study: Study) -> Iterator[Need]:
    if not study.uses_text:
        return
    init = study.generator.init
    name = start_weights(init)
    if name is not None:
        yield Need(name, f"generator.init = {init}")
    elif init != "scratch":
        yield Need(init, "generator.init", registered=False)
    if study.generator.perceptual == "lite0":
        yield Need("efficientnet_lite0", "generator.perceptual")


def _detectors(study: Study) -> Iterator[Need]:
    for detector in study.detectors:
        yield from (Need(name, f"detector {detector.label}") for name in weight_names(detector))


def _quality(study: Study) -> Iterator[Need]:
    if any(arm != "original" for arm in study.arms):
        for network, metric in (("vgg16", "lpips"), ("inception_v3", "is")):
            yield Need(f"{TORCHVISION}{network}", f"metric {metric}", f"{metric}_lite0 is measured instead")
