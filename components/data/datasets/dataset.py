"""The interface of a dataset; each dataset is one `Dataset` in a file of its own in this folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from goodshot.components.data import mvtec
from goodshot.components.data.datasets.publisher import Publisher
from goodshot.components.data.layout import Listing
from goodshot.components.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One dataset: how its folders are read, the objects in its categories, its publisher and licence."""

    name: str
    """The dataset's name in studies and commands."""
    title: str
    source: str
    """The dataset's origin in one line, which shards made from it record."""
    licence: str
    """The dataset's licence in one line, which shards made from it record."""
    list_category: Callable[[Path, str], Listing] = mvtec.list_category
    """(root, category) -> the category's images. Raises BadInput if the category is missing or unreadable."""
    list_categories: Callable[[Path], tuple[str, ...]] = mvtec.list_categories
    """root -> the names of the categories in it, sorted. Raises BadInput if `root` is missing or unreadable."""
    recognises: Callable[[Path], bool] = lambda folder: False
    """Whether a folder is a category in this layout and in no other dataset's. Raises BadInput if it is unreadable."""
    categories: tuple[str, ...] = ()
    """All categories of the dataset; empty if they depend on the user's folder."""
    objects: Mapping[str, str] = field(default_factory=dict)
    """Category -> the object in its images, a noun in WordNet. Datasets that share a category agree on it."""
    publisher: Publisher | None = None
    nothing_to_fetch: str = ""
    """For a dataset without publisher: the reason, and what to do instead."""
    write: Callable[[Path], Path] | None = None
    """Function that writes the shipped photographs to the given folder and returns it; None if none are shipped."""
    caution: str = ""
    """A caution for readers who compare results on this dataset with other results."""

    def published(self) -> Publisher:
        """Returns the publisher. Raises BadInput with the reason if nothing can be fetched."""
        if self.publisher is None:
            raise BadInput(f"{self.name}: there is nothing to fetch: {self.nothing_to_fetch}")
        return self.publisher
