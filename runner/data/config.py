"""Where a study's photographs are."""

from __future__ import annotations

from components.config import Config
from components.data.datasets import DatasetName


class DatasetConfig(Config):
    """A dataset and its place. ``root`` is the folder that holds the category folders, in the dataset's layout."""

    name: DatasetName = "mvtec_ad"
    root: str | None = None
