"""``goodshot fetch``: a dataset, a weight, or everything that a study needs, downloaded once into shared caches."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from goodshot.components.data import datasets
from goodshot.components.data.datasets import dataset_names, dataset_of
from goodshot.components.download import readable
from goodshot.components.errors import BadInput, GoodshotError
from goodshot.components.weights import LISTED, Pretrained, resolve, weight
from goodshot.components.weights.registry import FAMILIES
from goodshot.runner.machine.fetch_dataset import fetch_dataset
from goodshot.runner.machine.needs import needs_of
from goodshot.runner.machine.transfer import Say, transfer
from goodshot.runner.study.study import Study


@dataclass(frozen=True)
class Wanted:
    """The options of ``goodshot fetch``.

    root: the folder for a dataset's category folders.
    archive: the publisher's archive, if the user has downloaded it; None to download it.
    keep_archive: whether to keep a downloaded archive.
    optional: whether to fetch a study's optional weights too.
    settings: ``key=value`` settings of a study.
    """

    root: Path | None = None
    archive: Path | None = None
    keep_archive: bool = False
    optional: bool = False
    settings: Sequence[str] = ()


def fetch(name: str, options: Wanted, say: Say) -> None:
    """Fetch a dataset, a weight of the registry, or a study's weights and dataset, by name.

    Args:
        say: prints a line.

    Raises:
        BadInput: no dataset, weight or study has that name, or a dataset is requested without a folder for it.
        GoodshotError: a file could not be downloaded; of a study, all other files were.
    """
    if name in _published_datasets():
        _fetch_dataset(name, options, say)
    elif is_weight(name):
        fetch_weight(weight(name), say)
    else:
        _fetch_study(_load_study(name, options.settings), options, say)


def _published_datasets() -> list[str]:
    return [dataset.name for dataset in datasets.DATASETS if dataset.publisher]


def is_weight(name: str) -> bool:
    """Whether the registry of weights has this name, in its list or in one of its families (such as ``timm:…``)."""
    return name in LISTED or name.startswith(FAMILIES)


def fetch_weight(pretrained: Pretrained, say: Say) -> None:
    """Download one weight with its companions; prints size and licence before, the SHA-256 after."""
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
    """Whether the existing file is the published one; a wrong file in a cache is deleted.

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
    if options.root is None:
        raise BadInput(f"fetch {name}: name the folder for its category folders with --root DIR")
    fetch_dataset(name, options.root, options.archive, options.keep_archive, say)


def _fetch_study(study: Study, options: Wanted, say: Say) -> None:
    failed: list[str] = []
    needs = [need for need in needs_of(study) if options.optional or not need.instead]
    for need in needs:
        try:
            if need.registered:
                fetch_weight(weight(need.name), say)
            else:
                need.check()
        except GoodshotError as error:
            say(f"{need.name}: {error}")
            failed.append(need.name)
    _fetch_study_dataset(study, options, say)
    if failed:
        raise GoodshotError(
            f"study {study.name}: {len(failed)} of {len(needs)} weights could not be fetched ({', '.join(failed)}); "
            "the reasons are above, the same command continues"
        )
    say(f"study {study.name}: every weight that it needs is here")


def _fetch_study_dataset(study: Study, options: Wanted, say: Say) -> None:
    """Fetch a published dataset into ``--root``, or else into the study's local ``dataset.root``."""
    name = study.dataset.name
    if not dataset_of(name).publisher:
        return
    declared = study.dataset.root
    root = options.root or (Path(declared).expanduser() if declared and "://" not in declared else None)
    if root is None:
        say(f"dataset {name}: not fetched, as no folder is given; name one with --root DIR or --set dataset.root=DIR")
        return
    from goodshot.runner.data.sharding import has_shards

    if not has_shards(str(root)):
        fetch_dataset(name, root, options.archive, options.keep_archive, say)


def _load_study(name: str, settings: Sequence[str]) -> Study:
    from goodshot.runner.named import load_study, study_names

    known = [*study_names(), *LISTED, *_published_datasets()]
    if name in dataset_names() and name not in known:
        dataset_of(name).published()  # raises, because the dataset has no publisher
    if not name.endswith((".yaml", ".yml")) and name not in known:
        similar = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(similar)}?" if similar else f"weights: {', '.join(LISTED)}"
        raise BadInput(f"fetch {name}: there is no dataset, weight or study of that name; {hint}")
    return load_study(name, settings)
