"""What a detector is: its name, backbone and the settings that change its scores. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from components.config import Config
from components.detectors.models import check_arguments, find_model
from components.errors import BadInput

PATCHCORE = "patchcore"
EMBEDDED_BACKBONE = "efficientnet_lite0"
# The stages of EfficientNet-Lite0 whose outputs can be read, shallow to deep (strides 2, 4, 8, 16, 32).
LITE0_LAYERS = ("blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6")
EFFICIENT_AD = "efficient_ad"
ONLY_PATCHCORE = ("coreset_ratio", "num_neighbors")
ONLY_TRAINED = ("args", "steps", "batch_size", "learning_rate")


class DetectorConfig(Config):
    """One detector. Every field but `alias` changes the scores, so every other field is part of the identity.

    name: `patchcore`, or the name of any other image model of anomalib (`cflow`, `reverse_distillation`, `padim`, …).
    alias: what tables call it, for two detectors of one name. backbone: the pretrained network that makes the
    features; None leaves the model its own. layers: the stages read, shallow to deep; the first one sets the
    resolution of the patches. image_size: the side in pixels of the square that images are resized to and that maps
    come back in.

    PatchCore alone: coreset_ratio is the share of all training patches that the memory bank keeps; 1.0 keeps the whole
    bank and selects nothing. It is explicit, never chosen by the size of the training set. Selection is quadratic: at
    10 % and 256 px, 21 images take 0.4 s on two cores, 80 images 4 s. num_neighbors is b of the image
    score's re-weighting (Roth et al. 2022, eq. 7).

    The others: args are the model's own arguments. steps of batch_size images are what it trains, drawn from shuffled
    passes over the training images; None is one pass in their order, which is all that a memory bank wants.
    learning_rate replaces the model's own.
    """

    name: str = PATCHCORE
    alias: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]+$")
    backbone: str | None = EMBEDDED_BACKBONE
    layers: tuple[str, ...] | None = ("blocks.2", "blocks.4")
    coreset_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    num_neighbors: Annotated[int, Field(ge=1)] = 9
    image_size: Annotated[int, Field(ge=32, le=1024)] = 256
    args: dict[str, Any] = Field(default={})
    steps: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0)] | None = None

    # A frozen pydantic model hashes its values, and `args` has no hash.
    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @model_validator(mode="after")
    def _fields_of_the_model(self) -> Self:
        if self.name == PATCHCORE:
            self._refuse(ONLY_TRAINED, "patchcore trains nothing and takes no other arguments")
            if self.backbone != EMBEDDED_BACKBONE:
                raise BadInput(f"only the embedded {EMBEDDED_BACKBONE} backbone is available; {self.backbone!r} is not")
            self._check_layers()
            return self
        model = find_model(self.name)
        self._refuse(ONLY_PATCHCORE, f"{model.name} takes its own arguments in args")
        check_arguments(model, self.args)
        if model.name == EFFICIENT_AD and self.batch_size != 1:
            raise BadInput("detector efficient_ad: trains on one image at a time; set batch_size: 1")
        if self.backbone == EMBEDDED_BACKBONE and "layers" in model.arguments:
            self._check_layers()
        for field in ("backbone", "layers", "pre_trained"):
            if field in self.args:
                raise BadInput(f"detector {model.name}: {field} is a field of the detector, not one of args")
        return self

    def _refuse(self, fields: tuple[str, ...], why: str) -> None:
        for field in fields:
            if getattr(self, field) != type(self).model_fields[field].default:
                raise BadInput(f"detector {self.name}: {field} is not for it: {why}")

    def _check_layers(self) -> None:
        """Refuse what anomalib would drop with a warning, or pair with another layer's features."""
        in_order = tuple(layer for layer in LITE0_LAYERS if layer in (self.layers or ()))
        if not self.layers or self.layers != in_order:
            given = list(self.layers or ())
            raise BadInput(f"layers {given} must be some of {list(LITE0_LAYERS)}, each once, in this order")

    @property
    def label(self) -> str:
        """The name for tables and rows, e.g. `patchcore-lite0`: a substitute backbone says so in it."""
        if self.alias:
            return self.alias
        return "-".join(filter(None, (self.name, (self.uses_backbone() or "").removeprefix("efficientnet_"))))

    def uses_backbone(self) -> str | None:
        """The backbone, or None where the model has one of its own that cannot be chosen."""
        if self.name != PATCHCORE and "backbone" not in find_model(self.name).arguments:
            return None
        return self.backbone

    def identity(self) -> dict[str, Any]:
        """Return plain values for a fingerprint: every field that counts, and the SHA-256 of the backbone's weights.

        Raises `MissingWeights` where that file is not on this machine.
        """
        unused = {"alias", *(ONLY_TRAINED if self.name == PATCHCORE else ONLY_PATCHCORE)}
        values = self.model_dump(mode="json", exclude=unused)
        if self.uses_backbone() != EMBEDDED_BACKBONE:
            return values
        from components.weights import resolve

        return {**values, "backbone_sha256": resolve(EMBEDDED_BACKBONE).sha256}

    def features_identity(self) -> dict[str, Any] | None:
        """What the features of an image depend on, for detectors that share them; None for those that do not.

        Raises `MissingWeights` as `identity` does.
        """
        if self.name != PATCHCORE:
            return None
        learnt = {"name", "coreset_ratio", "num_neighbors"}
        return {name: value for name, value in self.identity().items() if name not in learnt}
