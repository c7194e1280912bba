"""The identity of an encoder: names, recipe versions and weights. Imports no torch."""

from goodshot.components.weights import Weight, resolve

CONSE_NAME = "conse-lite0-minilm"
CONSE_CAUTION = (
    "Texts and images are compared by ConSE (EfficientNet-Lite0 and MiniLM), the embedded substitute for CLIP; it is "
    "weak on textures."
)

# Increase a recipe's number whenever its code changes the embeddings: it is part of every fingerprint.
CONSE_RECIPE = "1"
OPEN_CLIP_RECIPE = "1"


CONSE_WEIGHTS = ("efficientnet_lite0", "all-minilm-l6-v2")


def conse_weights() -> tuple[Weight, ...]:
    """Return ConSE's two weights, image network first. Raises `MissingWeights` if one is not installed."""
    return tuple(map(resolve, CONSE_WEIGHTS))
