"""What a detector is: its name, backbone and the settings that change its scores. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from components.config import Config, Name
from components.detectors.models import check_arguments, find_model
from components.detectors.presets import (
    ANOMALY_DINO,
    EFFICIENT_AD,
    EMBEDDED_BACKBONE,
    PATCHCORE,
    REVERSE_DISTILLATION,
    WINCLIP,
    WINCLIP_SIDE,
    Preset,
    filled,
    is_paper,
)
from components.errors import BadInput

# The stages of EfficientNet-Lite0 whose outputs can be read, shallow to deep (strides 2, 4, 8, 16, 32).
LITE0_LAYERS = ("blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6")
ONLY_PATCHCORE = ("coreset_ratio", "num_neighbors")
ONLY_TRAINED = ("args", "steps", "epochs", "batch_size", "learning_rate")
# Fields that came later: at these values they change nothing, and are left out of the identity.
_LATER: dict[str, Any] = {"crop": None, "weights": "pretrained", "epochs": None}
# Raise it with every change of what anomalib's models give here for one configuration.
_ANOMALIB_VERSION = 2


class DetectorConfig(Config):
    """One detector. A field that changes its scores is part of the identity; `preset` and `alias` are not.

    name: `patchcore`, or the name of any other image model of anomalib (`cflow`, `reverse_distillation`, `padim`, …).
    alias: what tables call it, for two detectors of one name. preset: fills the fields that are not given, `default`
    with what two CPU cores can train on the embedded backbone, `paper` with anomalib's early defaults (`presets.py`
    holds both); a field that is given wins.

    backbone: the pretrained network that makes the features: the embedded one, or any of timm's whose weights are on
    this machine; None for a model that brings its own. layers: the stages read, shallow to deep; the first one sets
    the resolution of the patches. weights: `random` draws the networks' weights from the seed instead, to compare two
    programs, never for a result: the label says so. image_size: the side in pixels of the square that images are
    resized to; crop: the side of the square then cut from its middle. Maps come back at `resolution`, the last of the
    two.

    PatchCore alone: coreset_ratio is the share of all training patches that the memory bank keeps; 1.0 keeps the whole
    bank and selects nothing. It is explicit, never chosen by the size of the training set. Selection is quadratic: at
    10 % and 256 px, 21 images take 0.4 s on two cores, 80 images 4 s. num_neighbors is b of the image
    score's re-weighting (Roth et al. 2022, eq. 7).

    The others: args are the model's own arguments. What it trains is either steps of batch_size images each, drawn from
    shuffled passes over the training images, or epochs: so many shuffled passes, ⌈N / batch_size⌉ steps each, the last
    one of a pass smaller. Without both it is one pass in their order, which is all that a memory bank wants.
    learning_rate replaces the model's own.
    """

    name: str = PATCHCORE
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
    batch_size: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0)] | None = None

    # A frozen pydantic model hashes its values, and `args` has no hash.
    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @model_validator(mode="before")
    @classmethod
    def _filled_by_the_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("name", PATCHCORE), str):
            return values
        name = values.get("name", PATCHCORE)
        model = None if name == PATCHCORE else find_model(name)
        if model is None or model.name == PATCHCORE:
            return {**filled(values, None), "name": PATCHCORE}
        return {**filled(values, model), "name": model.name}

    @model_validator(mode="after")
    def _fields_of_the_model(self) -> Self:
        if self.crop is not None and self.crop > self.image_size:
            raise BadInput(f"crop {self.crop} is larger than the image_size {self.image_size} that it is cut from")
        if self.backbone is None and self.name == PATCHCORE:
            raise BadInput("detector patchcore: needs a backbone")
        if self.backbone is None and self.layers is not None and "layers" in self.model_fields_set:
            raise BadInput(f"detector {self.name}: layers {[*self.layers]} need a backbone to be read from")
        if self.backbone == EMBEDDED_BACKBONE and self._reads_layers():
            self._check_layers()
        if self.name == PATCHCORE:
            self._refuse(ONLY_TRAINED, "patchcore trains nothing and takes no other arguments")
        else:
            self._check_trained()
        return self

    def _check_trained(self) -> None:
        model = find_model(self.name)
        self._refuse(ONLY_PATCHCORE, f"{model.name} takes its own arguments in args")
        for field in ("backbone", "layers", "pre_trained"):
            if field in self.args:
                raise BadInput(f"detector {model.name}: {field} is a field of the detector, not one of args")
        check_arguments(model, self.args)
        if self.steps is not None and self.epochs is not None:
            raise BadInput(f"detector {model.name}: give steps or epochs, not both")
        if model.name == EFFICIENT_AD and self.batch_size != 1:
            raise BadInput("detector efficient_ad: trains on one image at a time; set batch_size: 1")
        if model.name == WINCLIP:
            self._check_winclip()
        if self.backbone and "backbone" not in model.arguments and model.name != EFFICIENT_AD:
            raise BadInput(f"detector {model.name}: brings its own network; backbone {self.backbone!r} is not for it")
        if model.name == EFFICIENT_AD and self.backbone not in (None, EMBEDDED_BACKBONE):
            raise BadInput(f"detector efficient_ad: its teacher is its own (backbone: null) or {EMBEDDED_BACKBONE}")

    def _check_winclip(self) -> None:
        if self.resolution != WINCLIP_SIDE:
            raise BadInput(f"detector winclip: its network reads images of {WINCLIP_SIDE} px and no others")
        if "few_shot_source" in self.args:
            raise BadInput("detector winclip: its references are the good images it is fitted on, no few_shot_source")
        shots = self.args.get("k_shot")
        if shots is not None and (not isinstance(shots, int) or shots < 0):
            raise BadInput(f"detector winclip: k_shot is a number of good images, 0 for none of them; got {shots!r}")

    def _refuse(self, fields: tuple[str, ...], why: str) -> None:
        for field in fields:
            if getattr(self, field) != type(self).model_fields[field].default:
                raise BadInput(f"detector {self.name}: {field} is not for it: {why}")

    def _reads_layers(self) -> bool:
        return self.name in (PATCHCORE, EFFICIENT_AD) or "layers" in find_model(self.name).arguments

    def _check_layers(self) -> None:
        """Refuse what anomalib would drop with a warning, or pair with another layer's features."""
        in_order = tuple(layer for layer in LITE0_LAYERS if layer in (self.layers or ()))
        if not self.layers or self.layers != in_order:
            given = list(self.layers or ())
            raise BadInput(f"layers {given} must be some of {list(LITE0_LAYERS)}, each once, in this order")
        if self.name == REVERSE_DISTILLATION and self.layers != ("blocks.1", "blocks.2", "blocks.4"):
            raise BadInput("detector reverse_distillation: reads blocks.1, blocks.2 and blocks.4 (strides 4, 8, 16)")

    @property
    def resolution(self) -> int:
        """The side in pixels of what the model sees and of its maps."""
        return self.crop or self.image_size

    @property
    def label(self) -> str:
        """The name for tables and rows: `patchcore-lite0`, `cflow-wide_resnet50_2`, `cflow-paper`.

        A substitute backbone says so in it. `paper` stands there only where every field is the paper preset's, so two
        configurations of one identity have one label. Random weights say so even behind an alias.
        """
        backbone = (self.uses_backbone() or "").removeprefix("efficientnet_")
        paper = is_paper(self.name, {field: getattr(self, field) for field in type(self).model_fields})
        name = self.alias or "-".join(filter(None, (self.name, "paper" if paper else backbone)))
        return name if self.weights == "pretrained" else f"{name}-random"

    def uses_backbone(self) -> str | None:
        """The backbone, or None where the model has one of its own that cannot be chosen."""
        return self.backbone

    def uses_object_name(self) -> bool:
        """Whether the detector reads what the photographed object is called."""
        return self.name == WINCLIP and "class_name" not in self.args

    def identity(self) -> dict[str, Any]:
        """Return plain values for a fingerprint: every field that counts, and the SHA-256 of the pretrained weights.

        Raises `MissingWeights` where their file is not on this machine.
        """
        unused = {"alias", "preset", *(ONLY_TRAINED if self.name == PATCHCORE else ONLY_PATCHCORE)}
        unused |= {field for field, value in _LATER.items() if getattr(self, field) == value}
        values = self.model_dump(mode="json", exclude=unused)
        if self.name != PATCHCORE:
            values["version"] = _ANOMALIB_VERSION
        from components.detectors.natural import natural_identity
        from components.detectors.pretrained import NATURAL_IMAGES, check_weights, weights_identity
        from components.weights.registry import DTD

        if (argument := NATURAL_IMAGES.get(self.name)) is not None:
            folder = values["args"].pop(argument, DTD if self.name == "draem" else None)
            if folder is not None or self.name == EFFICIENT_AD:
                check_weights(self)
                values["natural_images"] = natural_identity(folder)
        return {**values, **weights_identity(self)}

    def features_identity(self) -> dict[str, Any] | None:
        """What the features of an image depend on, for detectors that share them; None for those that do not.

        Random weights are drawn anew for each seed, so nothing of theirs is shared. Raises `MissingWeights` as
        `identity` does.
        """
        if self.name not in (PATCHCORE, ANOMALY_DINO) or self.weights == "random":
            return None
        # What is learnt from features, or done with them.
        learnt = {"coreset_ratio", "num_neighbors", "args", "steps", "epochs", "batch_size", "learning_rate"}
        read = {name: value for name, value in self.identity().items() if name not in learnt}
        return read | {"encoder": self.args.get("encoder_name"), "precision": self.args.get("precision")}
