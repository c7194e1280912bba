"""Fetch a published dataset into a folder: download or accept an archive, verify it, unpack it, category by category.

Next to the categories, `.downloads` holds the archive while it is needed, the unpacked folder until its parts are
in place, and `<dataset>.json` at the end. One process works at a time; others wait and find the dataset complete.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from goodshot.components.archive import unpack
from goodshot.components.data.datasets import dataset_of
from goodshot.components.data.datasets.dataset import Dataset
from goodshot.components.data.datasets.publisher import Publisher
from goodshot.components.download import Unavailable, download, file_digest, locked, readable, writing
from goodshot.components.errors import BadInput
from goodshot.runner.machine.transfer import Say, transfer

DOWNLOADS = ".downloads"


def fetch_dataset(name: str, root: Path, archive: Path | None, keep: bool, say: Say) -> None:
    """Put the dataset's categories into ``root``, from ``archive`` if it is given, else from its publisher.

    Raises:
        BadInput: the dataset has no publisher, ``root`` cannot be written or contains categories of another dataset,
            or the given archive is not the published one.
        GoodshotError: the archive cannot be downloaded, or the disk is full.
    """
    dataset = dataset_of(name)
    publisher = dataset.published()
    if archive and not archive.is_file():
        raise BadInput(f"{archive}: no such file; give the {publisher.file} that you downloaded")
    lock = root / DOWNLOADS / f"{name}.lock"
    unpacked = root / DOWNLOADS / f"{name}-{publisher.sha256[:12]}"
    with locked(lock, lambda: say(f"{root}: another process is fetching {name}; waiting for it")):
        complete = _present(dataset, root) == set(dataset.categories)
        # If the unpacked folder still exists, an earlier process was stopped before it finished.
        if complete and not unpacked.exists():
            return say(_complete_message(name, root, publisher))
        if not complete:
            for line in _introduction(dataset.title, publisher):
                say(line)
            if not unpacked.exists():
                source = _verified(archive, publisher, say) if archive else _downloaded(name, root, publisher, say)
                _unpack(source, unpacked, say)
            _move(_category_parent(dataset, unpacked, publisher.file), root, say)
        _finish(name, root, publisher, archive, keep)
    say(f"{root}: {len(dataset.categories)} categories of {name}; next: {_command('shard', name, root)} --out SHARDS")


def _present(dataset: Dataset, root: Path) -> set[str]:
    """Return the dataset's categories in ``root``. Raises :class:`BadInput` if it contains any other category."""
    present = set(dataset.list_categories(root))
    others = ", ".join(sorted(present - set(dataset.categories))[:3])
    if others:
        raise BadInput(
            f"{root}: holds categories that are not of {dataset.name} ({others}); choose another folder with --root"
        )
    return present


def _complete_message(name: str, root: Path, publisher: Publisher) -> str:
    """Report that ``root`` already has every category, and whether they come from the published archive."""
    try:
        recorded = json.loads((root / DOWNLOADS / f"{name}.json").read_text())["sha256"]
    except (OSError, KeyError, TypeError, ValueError):
        recorded = None
    if recorded == publisher.sha256:
        return f"{root}: {name} is fetched already, from the archive with SHA-256 {recorded}"
    return f"{root}: holds every category of {name} already, of unknown origin; 'goodshot shard' verifies them"


def _introduction(title: str, publisher: Publisher) -> Iterator[str]:
    licence = publisher.licence
    size = f"about {readable(publisher.size)}" if publisher.size else "its size is not published, the server will say"
    yield title
    yield f"  published at {publisher.page}"
    yield f"  archive      {publisher.file}, {size}"
    yield f"  licence      {licence.name}: {licence.notice} ({licence.deed})"
    yield f"  cite         {publisher.citation}"


def _verified(archive: Path, publisher: Publisher, say: Say) -> Path:
    """Return the user's archive. Raises :class:`BadInput` if it is not the published file."""
    say(f"verifying {archive}")
    digest = file_digest(archive)
    if digest != publisher.sha256:
        raise BadInput(
            f"{archive}: has SHA-256 {digest}, not the published {publisher.sha256}; "
            f"download {publisher.file} again from {publisher.page}"
        )
    return archive


def _downloaded(name: str, root: Path, publisher: Publisher, say: Say) -> Path:
    target = root / DOWNLOADS / publisher.file
    try:
        with transfer(f"downloading {publisher.file}", say) as report:
            # The size is not checked, because it comes from third parties; the hash is.
            download(publisher.url, target, publisher.sha256, None, report)
    except Unavailable as error:
        by_hand = f"{_command('fetch', name, root)} --archive {publisher.file}"
        raise Unavailable(
            f"{error}; or download {publisher.file} by hand from {publisher.page} and run: {by_hand}"
        ) from error
    return target


def _unpack(archive: Path, unpacked: Path, say: Say) -> None:
    # The lock excludes other processes, so an existing partial folder is that of a killed process.
    for partial in unpacked.parent.glob(f".{unpacked.name}.unpacking-*"):
        shutil.rmtree(partial, ignore_errors=True)
    with transfer(f"unpacking {archive.name}", say) as report:
        unpack(archive, unpacked, report)


def _category_parent(dataset: Dataset, unpacked: Path, archive: str) -> Path:
    """Return the folder that contains the categories: the archive's top level, or a folder directly below it."""
    for folder in (unpacked, *sorted(p for p in unpacked.iterdir() if p.is_dir())):
        if {*dataset.categories} & {*dataset.list_categories(folder)}:
            return folder
    raise BadInput(f"{archive}: holds none of the categories of {dataset.name}; tell the maintainers of goodshot")


def _move(unpacked: Path, root: Path, say: Say) -> None:
    """Move files, such as the licence, and then category folders to ``root``; existing ones there are not changed."""
    for part in sorted(unpacked.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        target = root / part.name
        if target.exists():
            say(f"{target}: exists already and is not changed")
        else:
            with writing(target):
                part.rename(target)


def _finish(name: str, root: Path, publisher: Publisher, archive: Path | None, keep: bool) -> None:
    from goodshot.runner.store.files import Files

    """Record the origin of the categories, and delete the unpacked folder and a downloaded archive."""
    downloads = root / DOWNLOADS
    record = {
        "dataset": name,
        "sha256": publisher.sha256,
        "source": str(archive.name) if archive else publisher.url,
        "licence": f"{publisher.licence.name}, {publisher.licence.deed}",
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    Files(str(downloads)).write(f"{name}.json", json.dumps(record, indent=1, ensure_ascii=False).encode())
    shutil.rmtree(downloads / f"{name}-{publisher.sha256[:12]}", ignore_errors=True)
    if not keep and not archive:
        (downloads / publisher.file).unlink(missing_ok=True)


def _command(command: str, name: str, root: Path) -> str:
    return f"goodshot {command} {name} --root {shlex.quote(str(root))}"
