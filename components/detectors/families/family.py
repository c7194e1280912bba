"""The interface of a detector family for configurations, studies and the weights' registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from goodshot.components.detectors.backbones import EMBEDDED_BACKBONE, check_lite0_layers
from goodshot.components.detectors.natural import NaturalImages, natural_identity
from goodshot.components.detectors.pretrained import check_weights
from goodshot.components.errors import BadInput

if TYPE_CHECKING:
    from goodshot.components.detectors.base import Detector
    from goodshot.components.detectors.config import DetectorConfig


@dataclass(frozen=True, eq=False)
class Family(ABC):
    """A kind of detector, identified by its name in a configuration.

    default, paper: the fields that the preset of that name fills; without `paper` there is no such preset. natural: the
    argument for the natural images that the detector learns from besides the good ones, if it does.

    unread: fields of the configuration that the detector does not use, and `unread_because`, the end of the sentence
    that refuses them. shares_features: whether `build` returns a `SharesFeatures`. version: increased with every
    change of the detector's output for one configuration; None is left out of the identity.
    """

    name: str
    default: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, Any] = field(default_factory=dict)
    natural: NaturalImages | None = None

    unread: ClassVar[tuple[str, ...]] = ()
    unread_because: ClassVar[str] = "has no use for it"
    shares_features: ClassVar[bool] = False
    version: ClassVar[int | None] = None

    @abstractmethod
    def build(self, config: DetectorConfig, seed: int, device: str, object_name: str | None) -> Detector:
        """Build the detector without fitting it; arguments and errors are those of `build_detector`."""

    @property
    def reads_layers(self) -> bool:
        """Whether the detector uses the backbone's `layers`."""
        return False

    def reads_object_name(self, config: DetectorConfig) -> bool:
        """Whether the detector uses the name of the photographed object."""
        return False

    def defaults(self) -> Mapping[str, Any]:
        """The fields that `preset: default` fills; the others keep the configuration's own defaults."""
        return self.default

    def completed(self, values: dict[str, Any]) -> dict[str, Any]:
        """A configuration's given and preset fields, with the fields that follow from them."""
        return values

    def is_paper(self, config: DetectorConfig) -> bool:
        """Whether all settings equal the paper preset's, however they were given."""
        wanted = {"args": {}, "epoch_images": None, **self.paper}
        return bool(self.paper) and all(
            self._trained_by(getattr(config, f)) == self._trained_by(wanted[f]) for f in wanted
        )

    def _trained_by(self, value: Any) -> Any:
        # The folder of natural images does not change how a model is trained.
        if self.natural is None or not isinstance(value, dict):
            return value
        return {key: v for key, v in value.items() if key != self.natural.argument}

    def check(self, config: DetectorConfig) -> None:
        """Raise `BadInput` for a configuration from which this detector cannot be built."""
        if config.backbone is None and config.layers is not None and "layers" in config.model_fields_set:
            raise BadInput(f"detector {self.name}: layers {[*config.layers]} need a backbone to be read from")
        if config.backbone == EMBEDDED_BACKBONE and self.reads_layers:
            check_lite0_layers(config.layers)
        for name in self.unread:
            if getattr(config, name) != type(config).model_fields[name].default:
                raise BadInput(f"detector {self.name}: {name} is not for it: {self.name} {self.unread_because}")

    def weights(self, config: DetectorConfig) -> tuple[str, ...]:
        """The registry's names of the pretrained networks that the detector loads; empty for random weights."""
        if config.weights == "random":
            return ()
        return (EMBEDDED_BACKBONE,) if config.backbone == EMBEDDED_BACKBONE else self.networks(config)

    def networks(self, config: DetectorConfig) -> tuple[str, ...]:
        """The registry's names of the networks that the detector loads without the embedded backbone."""
        return (f"timm:{config.backbone}",) if config.backbone is not None else ()

    def photographs(self, config: DetectorConfig) -> tuple[str, ...]:
        """The registry's names of the natural images that the detector reads, unless they are a user's folder."""
        return self.natural.registered(config.args) if self.natural else ()

    def identified(self, config: DetectorConfig, values: dict[str, Any]) -> dict[str, Any]:
        """The plain `values` that identify a detector, extended by everything identifying except the networks' weights.

        Raises `MissingWeights` if natural images that identify it are not on this machine.
        """
        if self.version is not None:
            values = {**values, "version": self.version}
        if self.natural is None:
            return values
        folder = self.natural.chosen(values["args"])
        args = {name: value for name, value in values["args"].items() if name != self.natural.argument}
        if not self.natural.used(folder):
            return {**values, "args": args}
        check_weights(config)
        return {**values, "args": args, "natural_images": natural_identity(folder)}
