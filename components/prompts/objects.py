"""Which object a category shows: the W^o of §4.1.1, a noun that WordNet knows."""

from collections.abc import Mapping
from types import MappingProxyType

from components.errors import BadInput

OBJECTS: Mapping[str, str] = MappingProxyType(
    {
        # MVTec AD
        "bottle": "bottle",
        "cable": "cable",
        "capsule": "capsule",
        "carpet": "carpet",
        "grid": "grid",
        "hazelnut": "hazelnut",
        "leather": "leather",
        "metal_nut": "nut",
        "pill": "pill",
        "screw": "screw",
        "tile": "tile",
        "toothbrush": "toothbrush",
        "transistor": "transistor",
        "wood": "wood",
        "zipper": "zipper",
        # MVTec LOCO: the head noun, as WordNet knows none of the compounds but pushpin
        "breakfast_box": "box",
        "juice_bottle": "bottle",
        "pushpins": "pushpin",
        "screw_bag": "bag",
        "splicing_connectors": "connector",
        # BTAD numbers three industrial products and names none of them. These names are ours, by what the
        # pictures
        # look like (a round part, a striped flat surface, a round part with a hole): override them to taste.
        "01": "disk",
        "02": "panel",
        "03": "ring",
        # the hazelnut set of the tests and the photographs inside scikit-image
        "hazelnut_toy": "hazelnut",
        "brick": "brick",
        "gravel": "gravel",
        "grass": "grass",
        "coin": "coin",
        "coins": "coin",
    }
)
"""Category → object. The embedded WordNet extract covers exactly these objects."""


def object_for(category: str, overrides: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the object name of a category: `overrides` first, then the table, then the category's own name.

    Underscores in a category that is in neither become spaces. The name serves as WordNet lemma and in the
    prompt. Raises `BadInput` for an empty name.
    """
    name = overrides.get(category) or OBJECTS.get(category) or category.replace("_", " ")
    if not name.strip() or (category in overrides and not overrides[category].strip()):
        raise BadInput(f"category {category!r} has an empty object name; give it a noun")
    return name.strip()
