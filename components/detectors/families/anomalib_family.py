"""Any image model of anomalib: what its source says of it, and how it is built and trained if no subclass differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from components.detectors.backbones import EMBEDDED_BACKBONE, EMBEDDED_TIMM
from components.detectors.families.family import Family
from components.detectors.models import Model, check_arguments, find_model
from components.errors import BadInput
from components.weights.registry import TIMM

if TYPE_CHECKING:
    from torch import Tensor

    from components.detectors.anomalib_model import AnomalibDetector
    from components.detectors.config import DetectorConfig

ANY_STEPS = 200
"""Steps of a model that is trained and has no budget of its own in its default preset."""


@dataclass(frozen=True, eq=False)
class AnomalibFamily(Family):
    """A model of anomalib by its name there.

    fixed: the registry's names of its networks, where they cannot be chosen. network_argument: the argument that names
    its network, where that is not `backbone`. named: the networks that it calls by names of its own, as the registry
    does; publisher: the registry's prefix of the others, None where the model knows no others.
    embedded_reads_images: whether the embedded backbone, where it is used, reads the images themselves, so that they
    are normalised for it and not as the model does. unusable: why the model cannot be judged here.
    """

    fixed: tuple[str, ...] | None = None
    network_argument: str | None = None
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    publisher: str | None = TIMM
    unusable: str = ""

    unread = ("coreset_ratio", "num_neighbors")
    unread_because = "takes its own arguments in args"
    version = 2
    embedded_reads_images: ClassVar[bool] = True

    @property
    def model(self) -> Model:
        """What anomalib's source says of the model."""
        return find_model(self.name)

    @property
    def reads_layers(self) -> bool:
        """Whether the model has an argument for them."""
        return "layers" in self.model.arguments

    @property
    def trained(self) -> bool:
        """Whether the model learns in steps, and not in one pass over the good images."""
        return not self.model.one_pass

    @property
    def takes_embedded(self) -> bool:
        """Whether the embedded backbone's features can stand in for the model's own."""
        own = str(self.model.defaults.get("backbone", ""))
        return {"backbone", "pre_trained"} <= {*self.model.arguments} and "vit" not in own

    def defaults(self) -> Mapping[str, Any]:
        """The embedded backbone if the model takes it, a budget of steps if it is trained, and its own default."""
        steps = {"steps": ANY_STEPS} if self.trained else {}
        return {"backbone": EMBEDDED_BACKBONE if self.takes_embedded else None, **steps, **self.default}

    def completed(self, values: dict[str, Any]) -> dict[str, Any]:
        """What is left open is what anomalib's model would take, written down."""
        if values.get("backbone") is None and "backbone" in self.model.arguments:
            values["backbone"] = self.model.defaults.get("backbone")
        if values.get("backbone") != EMBEDDED_BACKBONE and values.get("layers") is None:
            own = self.model.defaults.get("layers") or ()
            values["layers"] = tuple(own) if own and all(isinstance(layer, str) for layer in own) else None
        return values

    def check(self, config: DetectorConfig) -> None:
        """As `Family.check`, and for arguments that the model does not have or a backbone that it does not take."""
        super().check(config)
        for name in ("backbone", "layers", "pre_trained"):
            if name in config.args:
                raise BadInput(f"detector {self.name}: {name} is a field of the detector, not one of args")
        check_arguments(self.model, config.args)
        if config.steps is not None and config.epochs is not None:
            raise BadInput(f"detector {self.name}: give steps or epochs, not both")
        self.check_backbone(config)

    def check_backbone(self, config: DetectorConfig) -> None:
        """Raise `BadInput` for a backbone where the model has none to choose."""
        if config.backbone and "backbone" not in self.model.arguments:
            raise BadInput(f"detector {self.name}: brings its own network; backbone {config.backbone!r} is not for it")

    def weights(self, config: DetectorConfig) -> tuple[str, ...]:
        """As `Family.weights`. Raises `BadInput` for an unusable model: every study asks for weights first."""
        if self.unusable:
            raise BadInput(f"detector {self.name}: {self.unusable}; choose another model")
        return super().weights(config)

    def networks(self, config: DetectorConfig) -> tuple[str, ...]:
        """Its fixed networks, or what is chosen by the backbone or by its own argument, where it knows that."""
        if self.fixed is not None:
            return self.fixed
        chosen, argument = config.backbone, self.network_argument
        if argument is not None:
            chosen = str(config.args.get(argument) or self.model.defaults[argument])
        if chosen is None:
            return ()
        if self.publisher is None and chosen not in self.named:
            known = ", ".join(self.named)
            raise BadInput(f"detector {self.name}: {argument} {chosen!r} is none of {known}")
        return self.named.get(chosen, (f"{self.publisher}{chosen}",))

    def arguments(self, config: DetectorConfig) -> dict[str, Any]:
        """The arguments of anomalib's class. Raises `BadInput` where the embedded backbone cannot be given to it."""
        natural = self.natural.argument_of(config.args) if self.natural else {}
        return {**config.args, **natural, **self.network_arguments(config)}

    def network_arguments(self, config: DetectorConfig) -> dict[str, Any]:
        """The arguments that choose the backbone, its layers and its weights, of those that the model has."""
        taken, embedded = self.model.arguments, config.backbone == EMBEDDED_BACKBONE
        if embedded and "pre_trained" not in taken:
            raise BadInput(f"detector {config.label}: fetches its backbone itself; it cannot use the embedded one")
        found = {
            "backbone": EMBEDDED_TIMM if embedded else config.backbone,
            "layers": None if config.layers is None else [*config.layers],
            "pre_trained": config.weights == "pretrained" and not embedded,
        }
        return {name: value for name, value in found.items() if name in taken and value is not None}

    def prepare(self, module: Any, config: DetectorConfig) -> None:
        """Bring the embedded backbone and its weights into anomalib's freshly built module, where it is wanted."""
        if config.backbone == EMBEDDED_BACKBONE and config.weights == "pretrained":
            from components.detectors.embedded import load_weights

            load_weights(module, config.label)

    def fit(self, detector: AnomalibDetector, good: list[Tensor]) -> None:
        """Teach the detector's module the good images, each (3, C, C) as the model reads them."""
        detector.train(detector.data(good))

    def build(self, config: DetectorConfig, seed: int, device: str, object_name: str | None) -> AnomalibDetector:
        """The model behind `fit` and `score`."""
        from components.detectors.anomalib_model import AnomalibDetector

        return AnomalibDetector(config, self, seed=seed, device=device, object_name=object_name)
