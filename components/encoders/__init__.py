"""Image-text encoders: images and texts in one space, so that a cosine compares them (f and G of §4.1.1).

``conse`` the embedded one, offline · ``openclip`` the paper's kind, published CLIP weights · ``catalogue``
what open_clip publishes and what of it is on this machine. Importing this room loads neither torch nor a
model: names are checked and identified from files alone, and `build_encoder` is where the heavy imports
happen.
"""

from components.encoders.base import Encoder
from components.encoders.catalogue import PREFIX, parse
from components.encoders.recipe import CONSE_NAME, CONSE_RECIPE, OPEN_CLIP_RECIPE, conse_weights
from components.errors import BadInput
from components.weights import file_sha256

__all__ = ["Encoder", "build_encoder", "check_encoder", "encoder_identity"]


def build_encoder(name: str, device: str = "cpu", allow_random: bool = False) -> Encoder:
    """Return the encoder called `name`, loaded on `device` (a torch device string).

    Names: "conse-lite0-minilm"; "open_clip:<model>:<pretrained tag>"; "open_clip:<model>:<local weight
    file>"; and, for tests only (`allow_random`), "open_clip:<model>:random", drawn from torch's global
    random state.

    Raises `BadInput` for an unknown name, model or tag, `MissingWeights` (at once, without network) where its
    weights are not on this machine.
    """
    _check_known(name)
    if name == CONSE_NAME:
        from components.encoders.conse import ConseEncoder

        return ConseEncoder(device)
    from components.encoders.openclip import OpenClipEncoder

    return OpenClipEncoder(parse(name, allow_random), device)


def check_encoder(name: str) -> None:
    """Raise what `build_encoder` would raise for want of a name or of weights, in well under a second."""
    _check_known(name)
    if name == CONSE_NAME:
        conse_weights()
    else:
        parse(name).weights()


def encoder_identity(name: str) -> dict[str, str]:
    """Return what decides the encoder's output, as plain strings for a fingerprint, without loading torch.

    A weight file counts by its SHA-256, never by its path. Raises as `check_encoder` does.
    """
    _check_known(name)
    if name == CONSE_NAME:
        return {
            "encoder": name,
            "recipe": CONSE_RECIPE,
            **{f"{w.name}_sha256": w.sha256 for w in conse_weights()},
        }
    chosen = parse(name)
    return {
        "encoder": f"{PREFIX}{chosen.model}",
        "pretrained": chosen.tag.name if chosen.tag else "file",
        "recipe": OPEN_CLIP_RECIPE,
        "weights_sha256": file_sha256(chosen.weights()),
    }


def _check_known(name: str) -> None:
    if name != CONSE_NAME and not name.startswith(PREFIX):
        raise BadInput(
            f"unknown encoder {name!r}; allowed: {CONSE_NAME}, open_clip:<model>:<pretrained tag>, "
            "open_clip:<model>:<weight file>"
        )
