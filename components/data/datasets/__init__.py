"""The registry of datasets: each is an object in a file of its own, and one tuple lists them.

To add one, write its file after the example of `mvtec_ad.py` (or of `folder.py`, for another layout) and add
its object to `DATASETS`: studies, commands, prompts and reports use that object.
"""

import difflib

from goodshot.components.data.datasets.btad import BTAD
from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.data.datasets.demo import DEMO
from goodshot.components.data.datasets.folder import FOLDER
from goodshot.components.data.datasets.mvtec_ad import MVTEC_AD
from goodshot.components.data.datasets.mvtec_loco import MVTEC_LOCO
from goodshot.components.errors import BadInput

DATASETS: tuple[Dataset, ...] = (MVTEC_AD, MVTEC_LOCO, BTAD, DEMO, FOLDER)
"""Always read as `datasets.DATASETS` and never copied, so that a test may replace it."""


def dataset_names() -> tuple[str, ...]:
    """Returns the names of all datasets."""
    return tuple(dataset.name for dataset in DATASETS)


def dataset_of(name: str) -> Dataset:
    """Returns the dataset of that name. Raises BadInput with the existing names if there is none."""
    for dataset in DATASETS:
        if dataset.name == name:
            return dataset
    near = difflib.get_close_matches(name, dataset_names(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise BadInput(f"{name}: no such dataset; {hint}there are: {', '.join(dataset_names())}")
