"""The configuration of a detector: name, backbone and the settings that change its scores. Imports nothing heavy."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from goodshot.components.config import Config, Name
from goodshot.components.detectors.backbones import EMBEDDED_BACKBONE
from goodshot.components.detectors.families import PATCHCORE, Family, family_of
from goodshot.components.detectors.presets import Preset, fill_detector_fields
from goodshot.components.detectors.pretrained import weights_identity
from goodshot.components.errors import BadInput

# Fields that were added later: at these values they change nothing, and are left out of the identity.
_LATER: dict[str, Any] = {"crop": None, "weights": "pretrained", "epochs": None, "epoch_images": None}


class DetectorConfig(Config):
    """One detector. A field that changes its scores is part of the identity; `preset` and `alias` are not.

    name: `patchcore`, or the name of any other image model of anomalib (`cflow`, `reverse_distillation`, `padim`, …).
    alias: its name in tables, for two detectors of one name. preset: fills the fields that are not given, `default`
    with settings that two CPU cores can train on the embedded backbone, `paper` with anomalib's early defaults (a
    detector's file in `families/` holds both); given fields take precedence.

    backbone: the pretrained network for the features: the embedded one, or any of timm's whose weights are on
    this machine; None for a model with its own. layers: the stages read, shallow to deep; the first one sets
    the resolution of the patches. weights: `random` draws the networks' weights from the seed instead, to compare two
    programs, never for a result: the label says so. image_size: the side in pixels of the square that images are
    resized to; crop: the side of the centre crop that follows. Maps have the side `resolution`, which is `crop` if
    given, else `image_size`.

    Only PatchCore: coreset_ratio is the share of all training patches that the memory bank keeps; 1.0 keeps the whole
    bank and selects nothing. It is explicit, never chosen by the size of the training set. Selection is quadratic: at
    10 % and 256 px, 21 images take 0.4 s on two cores, 80 images 4 s. num_neighbors is b of the image
    score's re-weighting (Roth et al. 2022, eq. 7).

    Other models: args are the model's own arguments. The training budget is either steps of batch_size images each,
    drawn from shuffled passes over the training images, or epochs: shuffled passes of ⌈N / batch_size⌉ steps each, the
    last step of a pass smaller. Without both it is one pass in the images' order, as a memory bank needs it.
    epoch_images: the number of images that count as one epoch, whatever N is. Arms of different sizes then make equally
    many steps, on batches of equal sizes; an arm of just that many images is trained as without it.
    learning_rate replaces the model's own.
    """

    added_since_searches = ("epoch_images",)

    name: str = PATCHCORE.name
    alias: Name | None = None
    preset: Preset = "default"
    backbone: str | None = EMBEDDED_BACKBONE
    layers: tuple[str, ...] | None = ("blocks.2", "blocks.4")
    weights: Literal["pretrained", "random"] = "pretrained"
    coreset_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    num_neighbors: Annotated[int, Field(ge=1)] = 9
    image_size: Annotated[int, Field(ge=32, le=1024)] = 256
    crop: Annotated[int, Field(ge=32)] | None = None
    args: dict[str, Any] = Field(default={})
    steps: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    epoch_images: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0)] | None = None

    # A frozen pydantic model hashes its values, and `args` is not hashable.
    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @model_validator(mode="before")
    @classmethod
    def _filled_by_the_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("name", PATCHCORE.name), str):
            return values
        family = family_of(values.get("name", PATCHCORE.name))
        return {**fill_detector_fields(values, family), "name": family.name}

    @model_validator(mode="after")
    def _fields_of_the_model(self) -> Self:
        if self.crop is not None and self.crop > self.image_size:
            raise BadInput(f"crop {self.crop} is larger than the image_size {self.image_size} that it is cut from")
        self.family.check(self)
        return self

    @property
    def family(self) -> Family:
        """The family of detectors of this name."""
        return family_of(self.name)

    @property
    def resolution(self) -> int:
        """The side in pixels of the model's input and of its maps."""
        return self.crop or self.image_size

    @property
    def label(self) -> str:
        """The name for tables and rows: `patchcore-lite0`, `cflow-wide_resnet50_2`, `cflow-paper`.

        A substitute backbone is part of it. `paper` is part of it only if every field is the paper preset's, so that
        two configurations of one identity have one label. Random weights are part of it even with an alias.
        """
        backbone = (self.uses_backbone() or "").removeprefix("efficientnet_")
        name = self.alias or "-".join(filter(None, (self.name, "paper" if self.family.is_paper(self) else backbone)))
        return name if self.weights == "pretrained" else f"{name}-random"

    def steps_on(self, images: int) -> int:
        """The number of training steps on so many images, from 1; without a budget those of the one pass."""
        if self.steps is not None:
            return self.steps
        return (self.epochs or 1) * math.ceil((self.epoch_images or images) / self.batch_size)

    def uses_backbone(self) -> str | None:
        """The backbone, or None if the model has its own, which cannot be chosen."""
        return self.backbone

    def uses_object_name(self) -> bool:
        """Whether the detector uses the name of the photographed object."""
        return self.family.reads_object_name(self)

    def identity(self) -> dict[str, Any]:
        """Return plain values for a fingerprint: every identifying field, and the SHA-256 of the pretrained weights.

        Raises `MissingWeights` if their file is not on this machine.
        """
        family = self.family
        unused = {"alias", "preset", *family.unread}
        unused |= {field for field, value in _LATER.items() if getattr(self, field) == value}
        values = self.model_dump(mode="json", exclude=unused)
        return {**family.identified(self, values), **weights_identity(self)}

    def features_identity(self) -> dict[str, Any] | None:
        """The settings that an image's features depend on, for detectors that share them; None for other detectors.

        Random weights differ by seed, so their features are not shared. Raises `MissingWeights` as
        `identity` does.
        """
        if not self.family.shares_features or self.weights == "random":
            return None
        # Settings of what is learnt from the features, or of their use.
        learnt = {"coreset_ratio", "num_neighbors", "args", "steps", "epochs", "epoch_images"}
        learnt |= {"batch_size", "learning_rate"}
        read = {name: value for name, value in self.identity().items() if name not in learnt}
        return read | {"encoder": self.args.get("encoder_name"), "precision": self.args.get("precision")}
