"""What the rest of goodshot asks about a dataset; a dataset is one `Dataset` in a file of its own beside this one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.data import mvtec
from components.data.datasets.publisher import Publisher
from components.data.layout import Listing
from components.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One dataset: how its folders are read, which objects its categories show, who publishes it on which terms."""

    name: str
    """What studies and commands call it."""
    title: str
    source: str
    """Its origin in one line, for shards made of it."""
    licence: str
    """Its licence in one line, for shards made of it."""
    list_category: Callable[[Path, str], Listing] = mvtec.list_category
    """(root, category) -> the category's images. Raises BadInput if there is no such category, or it is unreadable."""
    list_categories: Callable[[Path], tuple[str, ...]] = mvtec.list_categories
    """root -> the names of the categories in it, sorted. Raises BadInput if `root` is missing or unreadable."""
    categories: tuple[str, ...] = ()
    """All its categories; empty where they depend on the user."""
    objects: Mapping[str, str] = field(default_factory=dict)
    """Category -> the object it shows, a noun that WordNet knows. Datasets that share a category agree on it."""
    publisher: Publisher | None = None
    nothing_to_fetch: str = ""
    """Where nobody publishes it: why, and what to do instead."""
    write: Callable[[Path], Path] | None = None
    """Writes the photographs that ship with the installation as the folder given, and returns it; None: none ship."""
    caution: str = ""
    """What a reader has to know before comparing its numbers with others."""

    def published(self) -> Publisher:
        """Returns the publisher. Raises BadInput, saying why, where there is nothing to fetch."""
        if self.publisher is None:
            raise BadInput(f"{self.name}: there is nothing to fetch: {self.nothing_to_fetch}")
        return self.publisher
