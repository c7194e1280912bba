"""Image-text encoders: images and texts in one space, so that a cosine compares them (f and G of §4.1.1).

``conse`` the embedded encoder, offline · ``openclip`` published CLIP weights, as in the paper · ``catalogue``
open_clip's published models and those on this machine. Importing this package loads neither torch nor a
model: names are checked and identified from files only, and `build_encoder` does the heavy
imports.
"""

import json
from collections.abc import Collection

from goodshot.components.encoders.base import Encoder, Precision
from goodshot.components.encoders.catalogue import PREFIX, parse
from goodshot.components.encoders.recipe import (
    CONSE_CAUTION,
    CONSE_NAME,
    CONSE_RECIPE,
    CONSE_WEIGHTS,
    OPEN_CLIP_RECIPE,
    conse_weights,
)
from goodshot.components.errors import BadInput
from goodshot.components.weights import file_sha256

__all__ = [
    "Encoder",
    "Precision",
    "build_encoder",
    "check_encoder",
    "encoder_caution",
    "encoder_identity",
    "encoder_weights",
]


def build_encoder(name: str, device: str = "cpu", allow_random: bool = False, precision: Precision = "fp32") -> Encoder:
    """Return the encoder called `name`, loaded on `device` (a torch device string), computing in `precision`.

    Names: "conse-lite0-minilm"; "open_clip:<model>:<pretrained tag>"; "open_clip:<model>:<local weight
    file or folder>"; "open_clip:local-dir:<folder>", whose own configuration names the model; and, only for tests
    (`allow_random`), "open_clip:<model>:random", drawn from torch's global random state.

    Raises `BadInput` for an unknown name, model or tag, `MissingWeights` (at once, without network) if its
    weights are not on this machine.
    """
    _check_known(name)
    if name == CONSE_NAME:
        from goodshot.components.encoders.conse import ConseEncoder

        return ConseEncoder(device, precision)
    from goodshot.components.encoders.openclip import OpenClipEncoder

    return OpenClipEncoder(parse(name, allow_random), device, precision)


def check_encoder(name: str) -> None:
    """Raise the errors of `build_encoder` about the name or missing weights, in well under a second."""
    _check_known(name)
    if name == CONSE_NAME:
        conse_weights()
    else:
        parse(name).weights()


def encoder_weights(name: str) -> tuple[str, ...]:
    """The registry names of an encoder's weights; empty for a user's file or folder."""
    _check_known(name)
    if name == CONSE_NAME:
        return CONSE_WEIGHTS
    return (name,) if parse(name).tag is not None else ()


def encoder_caution(names: Collection[str]) -> str:
    """The caution for readers of numbers by encoders of these names; empty if there is none."""
    return CONSE_CAUTION if CONSE_NAME in names else ""


def encoder_identity(name: str, precision: Precision = "fp32") -> dict[str, str]:
    """Return plain strings that determine the encoder's output, for a fingerprint, without loading torch.

    A weight file is identified by its SHA-256, never by its path. Raises as `check_encoder` does.
    """
    _check_known(name)
    mixed = {} if precision == "fp32" else {"precision": precision}
    if name == CONSE_NAME:
        weights = {f"{w.name}_sha256": w.sha256 for w in conse_weights()}
        return {"encoder": name, "recipe": CONSE_RECIPE, **weights, **mixed}
    chosen = parse(name)
    config = chosen.folder_config()
    return {
        "encoder": f"{PREFIX}{chosen.model}",
        "pretrained": chosen.tag.name if chosen.tag else "file",
        "recipe": OPEN_CLIP_RECIPE,
        "weights_sha256": file_sha256(chosen.weights()),
        **({"config": json.dumps(config, sort_keys=True)} if config else {}),
        **{f"tokenizer/{path.name}": file_sha256(path) for path in chosen.tokenizer_files()},
        **mixed,
    }


def _check_known(name: str) -> None:
    if name != CONSE_NAME and not name.startswith(PREFIX):
        raise BadInput(
            f"unknown encoder {name!r}; allowed: {CONSE_NAME}, open_clip:<model>:<pretrained tag>, "
            "open_clip:<model>:<weight file or folder>"
        )
