"""What a detector is: its name, backbone and the settings that change its scores. Imports nothing heavy."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from components.config import Config
from components.errors import BadInput

EMBEDDED_BACKBONE = "efficientnet_lite0"
# The stages of EfficientNet-Lite0 whose outputs can be read, shallow to deep (strides 2, 4, 8, 16, 32).
LITE0_LAYERS = ("blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6")


class DetectorConfig(Config):
    """One detector. Every field changes the scores, so every field is part of the identity.

    name: the model. backbone: the pretrained network that makes the features. layers: the stages read,
    shallow to deep; the first one sets the resolution of the patches. coreset_ratio: the share of all
    training patches that the memory bank keeps; 1.0 keeps the whole bank and selects nothing. It is explicit,
    never chosen by the size of the training set, and below 1 the selection is quadratic: on a CPU 20 images
    at 10 % take tens of seconds, 200 images half an hour. num_neighbors: b of the image score's re-weighting
    (Roth et al. 2022, eq. 7). image_size: the side in pixels of the square that images are resized to and
    that maps come back in.
    """

    name: Literal["patchcore"] = "patchcore"
    backbone: str = EMBEDDED_BACKBONE
    layers: tuple[str, ...] = ("blocks.2", "blocks.4")
    coreset_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    num_neighbors: Annotated[int, Field(ge=1)] = 9
    image_size: Annotated[int, Field(ge=32, le=1024)] = 256

    @field_validator("backbone")
    @classmethod
    def _only_the_embedded_backbone(cls, backbone: str) -> str:
        if backbone != EMBEDDED_BACKBONE:
            raise BadInput(f"only the embedded {EMBEDDED_BACKBONE} backbone is available; {backbone!r} is not")
        return backbone

    @field_validator("layers")
    @classmethod
    def _layers_shallow_to_deep(cls, layers: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse what anomalib would drop with a warning, or pair with another layer's features."""
        in_order = tuple(layer for layer in LITE0_LAYERS if layer in layers)
        if not layers or layers != in_order:
            raise BadInput(f"layers {list(layers)} must be some of {list(LITE0_LAYERS)}, each once, in this order")
        return layers

    @property
    def label(self) -> str:
        """The name for tables and rows, e.g. `patchcore-lite0`: a substitute backbone says so in it."""
        return f"{self.name}-{self.backbone.removeprefix('efficientnet_')}"

    def identity(self) -> dict[str, Any]:
        """Return plain values for a fingerprint: every field, and the SHA-256 of the backbone's weight file.

        Raises `MissingWeights` where that file is not on this machine.
        """
        from components.weights import resolve

        return {**self.model_dump(mode="json"), "backbone_sha256": resolve(self.backbone).sha256}
