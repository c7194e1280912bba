"""Any image model of anomalib, described by anomalib's source, and built and trained in the default way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from goodshot.components.detectors.backbones import EMBEDDED_BACKBONE, EMBEDDED_TIMM
from goodshot.components.detectors.families.family import Family
from goodshot.components.detectors.models import Model, check_arguments, find_model
from goodshot.components.errors import BadInput
from goodshot.components.weights.registry import TIMM

if TYPE_CHECKING:
    from torch import Tensor

    from goodshot.components.detectors.anomalib_model import AnomalibDetector
    from goodshot.components.detectors.config import DetectorConfig

ANY_STEPS = 200
"""Steps of a trained model whose default preset has no budget of its own."""


@dataclass(frozen=True, eq=False)
class AnomalibFamily(Family):
    """A model of anomalib by its anomalib name.

    fixed: the registry's names of its networks, if they cannot be chosen. network_argument: the argument that names
    its network, if that is not `backbone`. named: the model's own names of networks → the registry's;
    publisher: the registry's prefix of other networks, None if the model takes no others.
    embedded_reads_images: whether the embedded backbone, if used, reads the images directly, so that they
    are normalised for it and not for the model. unusable: the reason if the model cannot be evaluated here.
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
        """The description of the model in anomalib's source."""
        return find_model(self.name)

    @property
    def reads_layers(self) -> bool:
        """Whether the model has an argument for layers."""
        return "layers" in self.model.arguments

    @property
    def trained(self) -> bool:
        """Whether the model learns in steps, and not in one pass over the good images."""
        return not self.model.one_pass

    @property
    def takes_embedded(self) -> bool:
        """Whether the embedded backbone's features can replace the model's own."""
        own = str(self.model.defaults.get("backbone", ""))
        return {"backbone", "pre_trained"} <= {*self.model.arguments} and "vit" not in own

    def defaults(self) -> Mapping[str, Any]:
        """The embedded backbone if the model takes it, a budget of steps if trained, and the family's own defaults."""
        steps = {"steps": ANY_STEPS} if self.trained else {}
        return {"backbone": EMBEDDED_BACKBONE if self.takes_embedded else None, **steps, **self.default}

    def completed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Fill the fields that are not given with the defaults of anomalib's model."""
        if values.get("backbone") is None and "backbone" in self.model.arguments:
            values["backbone"] = self.model.defaults.get("backbone")
        if values.get("backbone") != EMBEDDED_BACKBONE and values.get("layers") is None:
            own = self.model.defaults.get("layers") or ()
            values["layers"] = tuple(own) if own and all(isinstance(layer, str) for layer in own) else None
        return values

    def check(self, config: DetectorConfig) -> None:
        """Raise as `Family.check` does, and for unknown arguments or a backbone that the model does not take."""
        super().check(config)
        for name in ("backbone", "layers", "pre_trained"):
            if name in config.args:
                raise BadInput(f"detector {self.name}: {name} is a field of the detector, not one of args")
        check_arguments(self.model, config.args)
        if config.steps is not None and config.epochs is not None:
            raise BadInput(f"detector {self.name}: give steps or epochs, not both")
        if config.epoch_images is not None and config.epochs is None:
            raise BadInput(
                f"detector {self.name}: epoch_images says how long an epoch is; give epochs, or leave it out"
            )
        self.check_backbone(config)

    def check_backbone(self, config: DetectorConfig) -> None:
        """Raise `BadInput` for a backbone if the model has none to choose."""
        if config.backbone and "backbone" not in self.model.arguments:
            raise BadInput(f"detector {self.name}: has its own network; backbone {config.backbone!r} is not for it")

    def weights(self, config: DetectorConfig) -> tuple[str, ...]:
        """Return `Family.weights`. Raises `BadInput` for an unusable model, because studies ask for weights first."""
        if self.unusable:
            raise BadInput(f"detector {self.name}: {self.unusable}; choose another model")
        return super().weights(config)

    def networks(self, config: DetectorConfig) -> tuple[str, ...]:
        """The model's fixed networks, or the one chosen by the backbone or by the model's argument, if it is known."""
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
        """The arguments of anomalib's class. Raises `BadInput` if it cannot take the chosen embedded backbone."""
        natural = self.natural.argument_of(config.args) if self.natural else {}
        return {**config.args, **natural, **self.network_arguments(config)}

    def network_arguments(self, config: DetectorConfig) -> dict[str, Any]:
        """The arguments for the backbone, its layers and its weights, as far as the model has them."""
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
        """Put the embedded backbone and its weights into anomalib's freshly built module, if configured."""
        if config.backbone == EMBEDDED_BACKBONE and config.weights == "pretrained":
            from goodshot.components.detectors.embedded import load_weights

            load_weights(module, config.label)

    def fit(self, detector: AnomalibDetector, good: list[Tensor]) -> None:
        """Train the detector's module on the good images, each (3, C, C) as the model reads them."""
        detector.train(detector.data(good))

    def build(self, config: DetectorConfig, seed: int, device: str, object_name: str | None) -> AnomalibDetector:
        """The model as a detector with `fit` and `score`."""
        from goodshot.components.detectors.anomalib_model import AnomalibDetector

        return AnomalibDetector(config, self, seed=seed, device=device, object_name=object_name)
