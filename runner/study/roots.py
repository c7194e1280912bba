"""``--root``: the folders of the datasets that studies read, one for each dataset, whatever the number of studies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from goodshot.components.data.datasets import dataset_names, dataset_of
from goodshot.components.errors import BadInput
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.study.study import Study


def rooted(studies: Sequence[Study], roots: Iterable[str]) -> tuple[Study, ...]:
    """The studies, with the given folders as the roots of their datasets.

    Args:
        roots: texts ``NAME=DIR``, or ``DIR`` for the only dataset that is read. ``DIR`` may be a URI of shards.

    Raises:
        BadInput: a text names no dataset of the studies, or does not say which of several is meant.
    """
    read = dict.fromkeys(config.name for study in studies for config in (study.dataset, *study.variation_sources))
    folders = folders_of(tuple(read), roots)
    return tuple(_rooted(study, folders) for study in studies) if folders else tuple(studies)


def folders_of(read: Sequence[str], roots: Iterable[str]) -> dict[str, str]:
    """Dataset → its folder, as ``roots`` name them, of the datasets ``read``. Raises as :func:`rooted`."""
    folders: dict[str, str] = {}
    for text in roots:
        name, folder = _named(text, read)
        if name not in read:
            raise BadInput(f"--root {text}: no dataset {name} is read; it can be {' or '.join(read)}")
        if folders.setdefault(name, folder) != folder:
            raise BadInput(f"--root {text}: {name} has a folder already, {folders[name]}; give one")
    return folders


def _named(text: str, read: Sequence[str]) -> tuple[str, str]:
    """The dataset and the folder of one text. An equals sign may also be part of a folder's name."""
    before, equals, folder = text.partition("=")
    if equals and (before in dataset_names() or not ("/" in before or Path(text).expanduser().exists())):
        if not folder:
            raise BadInput(f"--root {text}: the folder is missing; write it as {before}=DIR")
        return dataset_of(before).name, folder
    if len(read) > 1:
        every = " ".join(f"--root {name}=DIR" for name in read)
        raise BadInput(f"--root {text}: several datasets are read; name the folder of each: {every}")
    return read[0], text


def _rooted(study: Study, folders: Mapping[str, str]) -> Study:
    def at(config: DatasetConfig) -> DatasetConfig:
        return config.model_copy(update={"root": folders.get(config.name, config.root)})

    sources = tuple(map(at, study.variation_sources))
    return study.model_copy(update={"dataset": at(study.dataset), "variation_sources": sources})
