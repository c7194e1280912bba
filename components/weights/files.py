"""The kinds of weight files: in a package, on the hub, at an address, in an archive.

Each kind knows where its file is searched and how it is fetched: downloaded only once however many processes and nodes
ask, verified before it becomes visible, and put in place by one rename.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote

from goodshot.components.archive import unpack
from goodshot.components.download import Progress, Unavailable, download, head, locked, writing
from goodshot.components.errors import BadInput
from goodshot.components.weights.caches import hub_cache

HUB = "https://huggingface.co"


class WeightFile(Protocol):
    """One file of a weight."""

    @property
    def size(self) -> int | None:
        """Bytes of the download, None if they are not stated anywhere."""
        ...

    def find(self) -> Path | None:
        """The file's path on this machine, or None; only names are checked."""
        ...

    def describe(self) -> str:
        """The file and where it is searched, for a message: ``model.safetensors of timm/… in /…``."""
        ...

    def published(self, path: Path) -> str:
        """The published SHA-256 (or its beginning) of the file found at `path`; empty if none is published."""
        ...

    def fetch(self, on_progress: Progress) -> Path:
        """Download the file unless it is on this machine. Raises as `goodshot.components.download.download` does."""
        ...


@dataclass(frozen=True)
class InPackage:
    """A file inside an importable package that pip installs."""

    package: str
    file: str
    install: str
    sha256: str
    size: int | None = None

    def find(self) -> Path | None:
        """The installed file."""
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / self.file
        return path if path.is_file() else None

    def published(self, path: Path) -> str:
        """The published SHA-256; see `WeightFile.published`."""
        return self.sha256

    def describe(self) -> str:
        """Package and file."""
        return f"{Path(self.file).name} of the Python package {self.package}"

    def fetch(self, on_progress: Progress) -> Path:
        """Raises `BadInput` if the package is not installed, because pip has to install it."""
        if (path := self.find()) is None:
            raise BadInput(f"{self.describe()} comes with a package; run: {self.install}")
        return path


@dataclass(frozen=True)
class OnHub:
    """A file of a repository of the Hugging Face hub, in the hub's own cache, where every client finds it.

    names: possible file names; the first that the repository has is used. also: further files that are downloaded too
    if the repository has them (a tokenizer's other files).
    """

    repository: str
    names: tuple[str, ...]
    sha256: str = ""
    size: int | None = None
    also: tuple[str, ...] = ()
    revision: str = "main"

    def find(self) -> Path | None:
        """The file in the snapshot of the revision."""
        return next(filter(None, map(self._cached, self.names)), None)

    def published(self, path: Path) -> str:
        """The published SHA-256; see `WeightFile.published`."""
        return self.sha256

    def describe(self) -> str:
        """File, repository and cache."""
        return f"{self.names[0]} of {self.repository} in the hub cache {hub_cache()}"

    def fetch(self, on_progress: Progress) -> Path:
        """Download it into the hub's cache and verify it against the hub's own SHA-256."""
        if (found := self.find()) is not None:
            return found
        # Its further files first: once the file itself exists, everything is complete.
        for name in self.also:
            if self._cached(name) is None:
                self._download(name, on_progress, required=False)
        for number, name in enumerate(self.names, start=1):
            if self._download(name, on_progress, required=number == len(self.names)):
                break
        found = self.find()
        if found is None:
            raise Unavailable(f"{self.describe()}: is not where it was put; remove {self._folder} and fetch it again")
        return found

    @property
    def _folder(self) -> Path:
        return hub_cache() / f"models--{self.repository.replace('/', '--')}"

    @property
    def _work(self) -> Path:
        # The folder of the hub's own client for locks: a snapshot contains only the repository's files.
        return hub_cache() / ".locks" / self._folder.name

    @property
    def _commit(self) -> str:
        """The commit of the revision in the cache; the revision itself if nothing of the repository is cached yet."""
        reference = self._folder / "refs" / self.revision
        return reference.read_text().strip() if reference.is_file() else self.revision

    def _cached(self, name: str) -> Path | None:
        path = self._folder / "snapshots" / self._commit / name
        return path if path.is_file() else None

    def _download(self, name: str, on_progress: Progress, required: bool) -> bool:
        """Download one file of the repository; False if the repository has no such file and it is not required."""
        if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
            raise Unavailable(f"{self.repository}: HF_HUB_OFFLINE forbids to ask the hub; unset it to download")
        # From the same commit as the cached files, because a newer commit would hide them.
        url = f"{_endpoint()}/{self.repository}/resolve/{quote(self._commit, safe='')}/{quote(name)}"
        headers = _authorization()
        answer = head(url, headers)
        if answer.status == 404 and not required:
            return False
        if answer.status in (401, 403):
            raise Unavailable(
                f"{self.repository}: the hub requires authentication (answer {answer.status}); accept its terms at "
                f"{_endpoint()}/{self.repository} and set HF_TOKEN"
            )
        if answer.status not in (200, 301, 302, 303, 307, 308):
            raise Unavailable(f"{url}: the hub answers {answer.status}; the repository may have moved")
        commit = answer.headers.get("X-Repo-Commit", "")
        if not commit.isalnum():
            raise Unavailable(f"{url}: the answer is not that of a hub (it names no commit); check HF_ENDPOINT")
        # A file in large-file storage is identified by its SHA-256; a small one by git's own hash, which is weaker.
        etag = answer.headers.get("X-Linked-Etag", "").strip('"')
        digest = etag if len(etag) == 64 else ""
        target = self._folder / "snapshots" / commit / name
        # Other folders of the repository may contain a file of the same name.
        work = self._work / commit / PurePosixPath(name).parent
        download(url, target, self.sha256 or digest, self.size, on_progress, headers, work)
        with writing(self._folder):
            reference = self._folder / "refs" / self.revision
            reference.parent.mkdir(parents=True, exist_ok=True)
            fresh = reference.with_name(f".{reference.name}.{commit}")
            fresh.write_text(commit)
            fresh.replace(reference)
        return True


@dataclass(frozen=True)
class AtURL:
    """A file at a fixed address, in a cache folder; a file called like one of ``instead`` takes precedence over it."""

    url: str
    folder: Callable[[], Path]
    name: str
    sha256: str = ""
    size: int | None = None
    instead: tuple[str, ...] = ()

    def find(self) -> Path | None:
        """The file in its folder."""
        places = (self.folder() / name for name in (*self.instead, self.name))
        return next((path for path in places if path.is_file()), None)

    def published(self, path: Path) -> str:
        """The published SHA-256; see `WeightFile.published`."""
        return self.sha256 if path.name == self.name else ""

    def describe(self) -> str:
        """The file's full path."""
        return str(self.folder() / self.name)

    def fetch(self, on_progress: Progress) -> Path:
        """Download it."""
        if (found := self.find()) is not None:
            return found
        target = self.folder() / self.name
        download(self.url, target, self.sha256, self.size, on_progress)
        return target


@dataclass(frozen=True)
class InArchive:
    """A file or folder inside a published archive, which is unpacked into ``folder`` and then deleted.

    holds: the wanted file or folder, below ``folder``.
    """

    url: str
    folder: Callable[[], Path]
    holds: str
    sha256: str = ""
    size: int | None = None

    def find(self) -> Path | None:
        """The wanted file or folder."""
        path = self.folder() / self.holds
        return path if path.exists() else None

    def published(self, path: Path) -> str:
        """Empty: a hash is published only for the archive."""
        return ""

    def describe(self) -> str:
        """The file's full path."""
        return str(self.folder() / self.holds)

    def fetch(self, on_progress: Progress) -> Path:
        """Download and unpack it; the unpacked content appears completely or not at all."""
        if (found := self.find()) is not None:
            return found
        name = self.url.rsplit("/", 1)[-1]
        work = self.folder() / ".downloads"
        with locked(work / f"{name}.unpacking.lock"):
            if (found := self.find()) is None:
                archive, unpacked = work / name, work / f"{name}.unpacked"
                download(self.url, archive, self.sha256, self.size, on_progress)
                for left in (unpacked, *work.glob(f".{unpacked.name}.unpacking-*")):
                    shutil.rmtree(left, ignore_errors=True)  # left by a killed process: the lock excludes any other
                unpack(archive, unpacked)
                self._put_in_place(unpacked)
                with writing(archive):
                    shutil.rmtree(unpacked)
                    archive.unlink()
                found = self.find()
        if found is None:
            raise Unavailable(f"{self.url}: holds no {self.holds}; the publisher has changed it")
        return found

    def _put_in_place(self, unpacked: Path) -> None:
        target, inside = self.folder(), PurePosixPath(self.holds)
        if not (unpacked / inside).exists() and len(inside.parts) > 1 and (unpacked / inside.name).exists():
            target = target / inside.parts[0]  # the archive does not contain the folder itself
        _merge(unpacked, target)


def _merge(source: Path, target: Path) -> None:
    """Move everything that the target lacks, whole folders by one rename; existing files are not changed."""
    for part in sorted(source.iterdir()):
        place = target / part.name
        with writing(place):
            if not place.exists():
                target.mkdir(parents=True, exist_ok=True)
                part.replace(place)
            elif part.is_dir():
                _merge(part, place)


def _endpoint() -> str:
    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if "@" in endpoint:
        raise BadInput("HF_ENDPOINT: holds a name or password, which messages would show; give the token in HF_TOKEN")
    return endpoint


def _authorization() -> dict[str, str]:
    """The user's own token for the hub, sent only to the hub."""
    from huggingface_hub import get_token

    token = get_token()
    if token and not token.isascii():
        raise BadInput("HF_TOKEN: holds a character that no token has; copy it again")
    return {"Authorization": f"Bearer {token}"} if token else {}
