"""The configuration of a study's dataset."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from goodshot.components.config import Config
from goodshot.components.data.datasets import dataset_names, dataset_of
from goodshot.components.data.images import MAX_MEGAPIXELS, Limit


def _known(name: str) -> str:
    return dataset_of(name).name


def _say_what_there_is(schema: dict[str, Any]) -> None:
    schema["enum"] = list(dataset_names())


class DatasetConfig(Config):
    """The dataset. ``root`` is the folder that contains the category folders, in the dataset's layout.

    ``name`` is that of a dataset in ``goodshot.components.data.datasets``.
    """

    name: Annotated[str, AfterValidator(_known)] = Field(default="mvtec_ad", json_schema_extra=_say_what_there_is)
    root: str | None = None
    overlap: Literal["refuse", "allow"] = Field(
        default="refuse", description="test images that are training images too: refused, or read all the same"
    )

    max_megapixels: float = Field(
        default=MAX_MEGAPIXELS, gt=0, description="millions of pixels above which an image is refused"
    )

    @property
    def limit(self) -> Limit:
        """The size above which an image is refused, with the field that sets it."""
        return Limit(self.max_megapixels, "dataset.max_megapixels")

    @property
    def is_written_here(self) -> bool:
        """Whether a run writes the photographs itself: those that ship with the installation, if no folder is given."""
        return self.root is None and dataset_of(self.name).write is not None
