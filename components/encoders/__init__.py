"""Image-text encoders: images and texts in one space, so that a cosine compares them (f and G of §4.1.1).

``conse`` the embedded one, offline · ``openclip`` the paper's kind, published CLIP weights · ``catalogue``
what open_clip publishes and what of it is on this machine. Importing this room loads neither torch nor a
model: names are checked and identified from files alone, and `build_encoder` is where the heavy imports
happen.
"""

import json

from components.encoders.base import Encoder, Precision
from components.encoders.catalogue import PREFIX, parse
from components.encoders.recipe import CONSE_NAME, CONSE_RECIPE, CONSE_WEIGHTS, OPEN_CLIP_RECIPE, conse_weights
from components.errors import BadInput
from components.weights import file_sha256

__all__ = ["Encoder", "Precision", "build_encoder", "check_encoder", "encoder_identity", "encoder_weights"]


def build_encoder(name: str, device: str = "cpu", allow_random: bool = False, precision: Precision = "fp32") -> Encoder:
    """Return the encoder called `name`, loaded on `device` (a torch device string), computing in `precision`.

    Names: "conse-lite0-minilm"; "open_clip:<model>:<pretrained tag>"; "open_clip:<model>:<local weight
    file or folder>"; "open_clip:local-dir:<folder>", whose own configuration names the model; and, for tests only
    (`allow_random`), "open_clip:<model>:random", drawn from torch's global random state.

    Raises `BadInput` for an unknown name, model or tag, `MissingWeights` (at once, without network) where its
    weights are not on this machine.
    """
    _check_known(name)
    if name == CONSE_NAME:
        from components.encoders.conse import ConseEncoder

        return ConseEncoder(device, precision)
    from components.encoders.openclip import OpenClipEncoder

    return OpenClipEncoder(parse(name, allow_random), device, precision)


def check_encoder(name: str) -> None:
    """Raise what `build_encoder` would raise for want of a name or of weights, in well under a second."""
    _check_known(name)
    if name == CONSE_NAME:
        conse_weights()
    else:
        parse(name).weights()


def encoder_weights(name: str) -> tuple[str, ...]:
    """The weights' registry names of what an encoder loads; none for a file or folder of the user's."""
    _check_known(name)
    if name == CONSE_NAME:
        return CONSE_WEIGHTS
    return (name,) if parse(name).tag is not None else ()


def encoder_identity(name: str, precision: Precision = "fp32") -> dict[str, str]:
    """Return what decides the encoder's output, as plain strings for a fingerprint, without loading torch.

    A weight file counts by its SHA-256, never by its path. Raises as `check_encoder` does.
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
