"""``goodshot fetch``: a dataset, a weight, or everything that a study needs, downloaded once into shared caches."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.data import datasets
from components.data.datasets import dataset_names, dataset_of
from components.download import readable
from components.errors import BadInput, GoodshotError
from components.weights import LISTED, Pretrained, resolve, weight
from components.weights.registry import FAMILIES
from runner.machine.fetch_dataset import fetch_dataset
from runner.machine.needs import needs_of
from runner.machine.transfer import Say, transfer
from runner.study.study import Study


@dataclass(frozen=True)
class Wanted:
    """Options of the command besides the name: a dataset's folder and archive, whether to fetch optional weights."""

    root: Path | None = None
    archive: Path | None = None
    keep_archive: bool = False
    optional: bool = False
    settings: Sequence[str] = ()


def fetch(what: str, wanted: Wanted, say: Say) -> None:
    """Fetch ``what``: a dataset, a weight of the registry, or a study's weights and dataset.

    Raises:
        BadInput: there is nothing of that name, or a dataset has no folder to go to.
        GoodshotError: something could not be downloaded; everything else was.
    """
    if what in _published():
        _dataset(what, wanted, say)
    elif is_weight(what):
        fetch_weight(weight(what), say)
    else:
        _study(_load(what, wanted.settings), wanted, say)


def _published() -> list[str]:
    return [dataset.name for dataset in datasets.DATASETS if dataset.publisher]


def is_weight(name: str) -> bool:
    """Whether a name belongs to the registry: one of its own, or of one of its families."""
    return name in LISTED or name.startswith(FAMILIES)


def fetch_weight(wanted: Pretrained, say: Say) -> None:
    """Download one weight with its companions; prints size and licence before, the SHA-256 after."""
    if not wanted.missing() and _is_sound(wanted, say):
        say(f"{wanted.name}: is here already: {wanted.path}")
        return
    size = f"about {readable(wanted.size)}" if wanted.size else "its size is not published, the server will say"
    say(f"{wanted.name}: {wanted.what}")
    say(f"  published at {wanted.page}")
    say(f"  size         {size}")
    say(f"  licence      {wanted.licence}")
    with transfer(f"fetching {wanted.name}", say) as report:
        path = wanted.fetch(report)
    if path.is_file():
        say(f"  SHA-256      {resolve(wanted.name).sha256}")
    say(f"  is at        {path}")


def _is_sound(wanted: Pretrained, say: Say) -> bool:
    """Whether the existing file is the published one; a wrong file in a cache is deleted.

    Raises :class:`BadInput` if a wrong file lies in an installed package.
    """
    path = wanted.path
    if path is None or not path.is_file():  # a folder of photographs, whose archive alone has a hash
        return True
    try:
        resolve(wanted.name)
    except BadInput as error:
        if not wanted.removable:
            raise
        say(f"{error}")
        path.unlink()
        return False
    return True


def _dataset(name: str, wanted: Wanted, say: Say) -> None:
    if wanted.root is None:
        raise BadInput(f"fetch {name}: say where the category folders go, --root DIR")
    fetch_dataset(name, wanted.root, wanted.archive, wanted.keep_archive, say)


def _study(study: Study, wanted: Wanted, say: Say) -> None:
    failed: list[str] = []
    needs = [need for need in needs_of(study) if wanted.optional or not need.instead]
    for need in needs:
        try:
            if need.registered:
                fetch_weight(weight(need.name), say)
            else:
                need.check()
        except GoodshotError as error:
            say(f"{need.name}: {error}")
            failed.append(need.name)
    _study_dataset(study, wanted, say)
    if failed:
        raise GoodshotError(
            f"study {study.name}: {len(failed)} of {len(needs)} weights could not be brought ({', '.join(failed)}); "
            "the reasons are above, the same command continues"
        )
    say(f"study {study.name}: every weight that it needs is here")


def _study_dataset(study: Study, wanted: Wanted, say: Say) -> None:
    name = study.dataset.name
    if not dataset_of(name).publisher:
        return
    declared = study.dataset.root
    root = wanted.root or (Path(declared).expanduser() if declared and "://" not in declared else None)
    if root is None:
        say(f"dataset {name}: brought too if you say where, --root DIR (or --set dataset.root=DIR)")
        return
    from runner.data.sharding import has_shards

    if not has_shards(str(root)):
        fetch_dataset(name, root, wanted.archive, wanted.keep_archive, say)


def _load(name: str, settings: Sequence[str]) -> Study:
    from runner.named import load_study, study_names

    known = [*study_names(), *LISTED, *_published()]
    if name in dataset_names() and name not in known:
        dataset_of(name).published()
    if not name.endswith((".yaml", ".yml")) and name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"weights: {', '.join(LISTED)}"
        raise BadInput(f"fetch {name}: there is no dataset, weight or study of that name; {hint}")
    return load_study(name, settings)
