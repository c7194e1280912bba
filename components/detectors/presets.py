"""The two presets: whole settings of a detector under one word, which a user's own fields then override.

`paper` is what the TGI paper's baselines ran with, as far as anyone can know: the defaults of anomalib's early
configurations (version 0.5 and before), whose numbers the paper's tables repeat. Their early stopping is left out: it
watched a metric of the test images.

`default` is what two CPU cores train in at most two to three minutes from one image, on the embedded backbone. The
budgets are one set for all categories, chosen by the time they take and by where the training loss flattens, never by
a test label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from components.detectors.models import Model
from components.errors import BadInput

Preset = Literal["default", "paper"]
PATCHCORE, EFFICIENT_AD, WINCLIP, ANOMALY_DINO = "patchcore", "efficient_ad", "winclip", "anomaly_dino"
REVERSE_DISTILLATION = "reverse_distillation"
EMBEDDED_BACKBONE = "efficientnet_lite0"
WINCLIP_SIDE = 240
"""WinCLIP's network has position embeddings for this side in pixels and no other."""

_WIDE = "wide_resnet50_2"
_PATCHCORE_LAYERS = ("layer2", "layer3")
PAPER: Mapping[str, Mapping[str, Any]] = {
    PATCHCORE: {
        "backbone": _WIDE,
        "layers": _PATCHCORE_LAYERS,
        "coreset_ratio": 0.1,
        "num_neighbors": 9,
        "image_size": 256,
        "crop": 224,
    },
    "cflow": {
        "backbone": _WIDE,
        "layers": ("layer2", "layer3", "layer4"),
        "args": {"coupling_blocks": 8, "condition_vector": 128, "fiber_batch_size": 64, "clamp_alpha": 1.9},
        "epochs": 50,
        "batch_size": 16,
        "learning_rate": 1e-4,
        "image_size": 256,
    },
    REVERSE_DISTILLATION: {
        "backbone": _WIDE,
        "layers": ("layer1", "layer2", "layer3"),
        "args": {"anomaly_map_mode": "multiply"},
        "epochs": 200,
        "batch_size": 32,
        "learning_rate": 0.005,
        "image_size": 256,
    },
    EFFICIENT_AD: {
        "backbone": None,
        "layers": None,
        "args": {
            "model_size": "small",
            "teacher_out_channels": 384,
            "weight_decay": 1e-5,
            "imagenet_dir": "imagenette",
        },
        "steps": 70_000,
        "batch_size": 1,
        "learning_rate": 1e-4,
        "image_size": 256,
    },
}

DEFAULT: Mapping[str, Mapping[str, Any]] = {
    PATCHCORE: {},  # the fields' own defaults
    "cflow": {"steps": 40, "batch_size": 4, "learning_rate": 1e-3, "args": {"fiber_batch_size": 128}},
    REVERSE_DISTILLATION: {
        "layers": ("blocks.1", "blocks.2", "blocks.4"),
        "steps": 100,
        "batch_size": 2,
        "learning_rate": 0.005,
    },
    EFFICIENT_AD: {"backbone": EMBEDDED_BACKBONE, "steps": 40, "batch_size": 1, "learning_rate": 1e-3},
    WINCLIP: {"image_size": WINCLIP_SIDE},
    ANOMALY_DINO: {"image_size": 252},  # a multiple of its patches of 14 pixels
}
ANY_STEPS = 200
"""Steps of a model that is trained and has no budget of its own here."""

# A field given by the user keeps the preset from filling those that only make sense together with its own value.
_TOGETHER = {"steps": ("epochs",), "epochs": ("steps",), "backbone": ("layers",), "image_size": ("crop",)}


def filled(values: Mapping[str, Any], model: Model | None) -> dict[str, Any]:
    """A detector's fields as given, and those not given from its preset. `model` is None for PatchCore.

    A field that is given wins, as does an argument in `args`. Raises `BadInput` where the preset has no such model.
    """
    name = PATCHCORE if model is None else model.name
    preset = _preset(values.get("preset", "default"), name, model)
    kept = {field for given in values for field in (given, *_TOGETHER.get(given, ()))}
    found = {**{field: value for field, value in preset.items() if field not in kept}, **values}
    if isinstance(values.get("args", {}), dict):
        found["args"] = {**preset.get("args", {}), **values.get("args", {})}
    if model is not None:
        return _with_the_models_own(found, model)
    if found.get("backbone", EMBEDDED_BACKBONE) != EMBEDDED_BACKBONE:
        found.setdefault("layers", _PATCHCORE_LAYERS)
    return found


def is_paper(name: str, fields: Mapping[str, Any]) -> bool:
    """Whether these are the paper preset's settings, all of them, however they were given."""
    wanted = PAPER.get(name)
    # Where the natural images lie says nothing of how a model is trained.
    return wanted is not None and all(
        _trained_by(fields[field]) == _trained_by(value) for field, value in {"args": {}, **wanted}.items()
    )


def _trained_by(value: Any) -> Any:
    return {key: v for key, v in value.items() if key != "imagenet_dir"} if isinstance(value, dict) else value


def takes_embedded(model: Model) -> bool:
    """Whether the embedded backbone's features can stand in for the model's own."""
    if model.name == EFFICIENT_AD:
        return True
    own = str(model.defaults.get("backbone", ""))
    return "backbone" in model.arguments and "pre_trained" in model.arguments and "vit" not in own


def _preset(preset: object, name: str, model: Model | None) -> Mapping[str, Any]:
    if preset == "paper":
        if name not in PAPER:
            raise BadInput(f"detector {name}: has no preset paper; those that do: {', '.join(PAPER)}")
        return PAPER[name]
    if model is None or preset != "default":  # another word is refused by the field itself
        return {}
    found: dict[str, Any] = {"backbone": EMBEDDED_BACKBONE if takes_embedded(model) else None}
    if not model.one_pass and name != WINCLIP:
        found["steps"] = ANY_STEPS
    return {**found, **DEFAULT.get(name, {})}


def _with_the_models_own(found: dict[str, Any], model: Model) -> dict[str, Any]:
    """What is left open is what anomalib's model would take, written down."""
    if found.get("backbone") is None and "backbone" in model.arguments:
        found["backbone"] = model.defaults.get("backbone")
    if found.get("backbone") == EMBEDDED_BACKBONE:
        return found
    own = model.defaults.get("layers") or ()
    if found.get("layers") is None:
        found["layers"] = tuple(own) if own and all(isinstance(layer, str) for layer in own) else None
    return found
