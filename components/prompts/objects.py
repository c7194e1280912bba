"""The object that a category shows: the W^o of §4.1.1, a noun in WordNet."""

from collections.abc import Mapping
from types import MappingProxyType

from goodshot.components.errors import BadInput


def known_objects() -> dict[str, str]:
    """Returns category → object of every dataset."""
    # Imported here: the readers of datasets need numpy, and a light driver that knows words alone does not.
    from goodshot.components.data import datasets

    return {category: noun for dataset in datasets.DATASETS for category, noun in dataset.objects.items()}


def object_for(category: str, overrides: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the object name of a category: `overrides` first, then the datasets' nouns, then the category's own name.

    Underscores in a category without either become spaces. The name stands in the prompt, and its words are those of
    its noun in WordNet. Raises `BadInput` for an empty name.
    """
    name = overrides.get(category) or known_objects().get(category) or category.replace("_", " ")
    if not name.strip() or (category in overrides and not overrides[category].strip()):
        raise BadInput(f"category {category!r} has an empty object name; give it a noun")
    return name.strip()
