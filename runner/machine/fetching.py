"""``goodshot fetch``: a dataset, a weight, or all that a study or an experiment needs, once, into shared caches."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from goodshot.components.data import datasets
from goodshot.components.data.datasets import dataset_names, dataset_of
from goodshot.components.download import readable
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.weights import LISTED, Pretrained, resolve, weight
from goodshot.components.weights.registry import FAMILIES
from goodshot.runner.data.config import DatasetConfig
from goodshot.runner.machine.fetch_dataset import fetch_dataset
from goodshot.runner.machine.needs import needs_of
from goodshot.runner.machine.transfer import Say, transfer
from goodshot.runner.study.roots import folders_of
from goodshot.runner.study.study import Study


@dataclass(frozen=True)
class Wanted:
    """The options of ``goodshot fetch``.

    roots: the folders for the category folders of datasets, ``NAME=DIR`` or ``DIR``.
    archive: the publisher's archive, if the user has downloaded it; None to download it.
    keep_archive: whether to keep a downloaded archive.
    optional: whether to fetch a study's optional weights too.
    settings: ``key=value`` settings of a study.
    """

    roots: Sequence[str] = ()
    archive: Path | None = None
    keep_archive: bool = False
    optional: bool = False
    settings: Sequence[str] = ()


def fetch(name: str, options: Wanted, say: Say) -> None:
    """Fetch a dataset, a weight of the registry, or the weights and datasets of a study or an experiment, by name.

    Args:
        say: prints a line.

    Raises:
        BadInput: nothing has that name, or a dataset is requested without a folder for it.
        GoodshotError: a file could not be downloaded; all other files of a study were downloaded.
    """
    if name in _published_datasets():
        _fetch_dataset(name, options, say)
    elif is_weight(name):
        fetch_weight(weight(name), say)
    else:
        _fetch_studies(name, _load_studies(name, options), options, say)


def _published_datasets() -> list[str]:
    return [dataset.name for dataset in datasets.DATASETS if dataset.publisher]


def is_weight(name: str) -> bool:
    """Return whether the registry of weights has this name, as an entry or in a family (such as ``timm:…``)."""
    return name in LISTED or name.startswith(FAMILIES)


def fetch_weight(pretrained: Pretrained, say: Say) -> None:
    """Download one weight with its companions. Prints the size and licence first, and the SHA-256 afterwards."""
    if not pretrained.missing() and _is_sound(pretrained, say):
        say(f"{pretrained.name}: is here already: {pretrained.path}")
        return
    size = f"about {readable(pretrained.size)}" if pretrained.size else "its size is not published, the server will say"
    say(f"{pretrained.name}: {pretrained.what}")
    say(f"  published at {pretrained.page}")
    say(f"  size         {size}")
    say(f"  licence      {pretrained.licence}")
    with transfer(f"fetching {pretrained.name}", say) as report:
        path = pretrained.fetch(report)
    if path.is_file():
        say(f"  SHA-256      {resolve(pretrained.name).sha256}")
    say(f"  is at        {path}")


def _is_sound(pretrained: Pretrained, say: Say) -> bool:
    """Return whether the existing file is the published file; a wrong file in a cache is deleted.

    Raises :class:`BadInput` if the wrong file belongs to an installed package.
    """
    path = pretrained.path
    if path is None or not path.is_file():  # a folder of photographs: only its archive has a published hash
        return True
    try:
        resolve(pretrained.name)
    except BadInput as error:
        if not pretrained.removable:
            raise
        say(f"{error}")
        path.unlink()
        return False
    return True


def _fetch_dataset(name: str, options: Wanted, say: Say) -> None:
    folder = folders_of((name,), options.roots).get(name)
    if folder is None:
        raise BadInput(f"fetch {name}: name the folder for its category folders with --root DIR")
    fetch_dataset(name, Path(folder).expanduser(), options.archive, options.keep_archive, say)


def _fetch_studies(name: str, studies: Sequence[Study], options: Wanted, say: Say) -> None:
    failed: list[str] = []
    every = {need.name: need for study in studies for need in needs_of(study)}
    needs = [need for need in every.values() if options.optional or not need.instead]
    for need in needs:
        try:
            if need.registered:
                fetch_weight(weight(need.name), say)
            else:
                need.check()
        except GoodshotError as error:
            say(f"{need.name}: {error}")
            failed.append(need.name)
    for dataset in _datasets(studies):
        _fetch_study_dataset(dataset, options, say)
    what = f"study {name}" if len(studies) == 1 else f"experiment {name}"
    if failed:
        raise GoodshotError(
            f"{what}: {len(failed)} of {len(needs)} weights could not be fetched ({', '.join(failed)}); "
            "the reasons are above, the same command continues"
        )
    say(f"{what}: every weight that it needs is here")


def _datasets(studies: Sequence[Study]) -> Iterator[DatasetConfig]:
    """Yield the published datasets that the studies read, each once."""
    for config in dict.fromkeys(study.dataset for study in studies):
        if dataset_of(config.name).publisher:
            yield config


def _fetch_study_dataset(dataset: DatasetConfig, options: Wanted, say: Say) -> None:
    """Fetch a published dataset into its folder, if the folder is on this machine."""
    from goodshot.runner.data.sharding import has_shards

    if dataset.root is None:
        say(f"dataset {dataset.name}: not fetched, as no folder is given; name one with --root {dataset.name}=DIR")
    elif "://" not in dataset.root and not has_shards(dataset.root):
        root = Path(dataset.root).expanduser()
        fetch_dataset(dataset.name, root, options.archive, options.keep_archive, say)


def _load_studies(name: str, options: Wanted) -> Sequence[Study]:
    from goodshot.runner.named import experiment_names, load_studies, study_names

    known = [*dict.fromkeys([*experiment_names(), *study_names()]), *LISTED, *_published_datasets()]
    if name in dataset_names() and name not in known:
        dataset_of(name).published()  # raises, because the dataset has no publisher
    if not name.endswith((".yaml", ".yml")) and name not in known:
        similar = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(similar)}?" if similar else f"weights: {', '.join(LISTED)}"
        raise BadInput(f"fetch {name}: there is no dataset, weight, study or experiment of that name; {hint}")
    return load_studies(name, options.settings, roots=options.roots)[1]
