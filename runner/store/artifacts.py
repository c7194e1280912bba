"""Content-addressed artifacts that studies share.

An artifact is a few named files under ``<stage>/<fingerprint>[/<part>]``. They are written below a fresh attempt key
and become visible by one small commit object, ``commit.json``, the only thing that readers trust. Two writers of one
artifact do no harm: both attempts are complete, the last commit wins, and equal fingerprints mean equal content.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from goodshot.components.errors import GoodshotError
from goodshot.runner.store.files import Files

COMMIT = "commit.json"
CHECKPOINT = "checkpoint-"
"""Prefix of an artifact's parts that only serve to continue a training: without them it starts from the beginning."""


class DamagedArtifact(GoodshotError):
    """The bytes of an artifact are not those that were committed."""


@dataclass(frozen=True)
class Artifact:
    """A committed artifact: its files and the plain values that its writer recorded (``info``)."""

    key: str
    info: Mapping[str, Any]
    _files: Files
    _attempt: str
    _hashes: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the artifact's files."""
        return tuple(self._hashes)

    def read(self, name: str) -> bytes:
        """One file's bytes, checked against the hash in the commit. Raises :class:`DamagedArtifact` if they differ."""
        data = self._files.read(f"{self._attempt}/{name}")
        if hashlib.sha256(data).hexdigest() != self._hashes[name]:
            raise DamagedArtifact(
                f"{self._files.where(f'{self._attempt}/{name}')}: bytes differ from those committed; "
                f"delete the folder {self.key} in the store and run again"
            )
        return data

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a safetensors file."""
        arrays: dict[str, np.ndarray] = load_arrays(self.read(name))
        return arrays

    def json(self, name: str) -> Any:
        """The value of a JSON file."""
        return json.loads(self.read(name))

    def path(self, name: str) -> str:
        """The file's path on :attr:`filesystem`, for range reads; its hash as a whole is not checked."""
        return self._files.path(f"{self._attempt}/{name}")

    @property
    def filesystem(self) -> fs.FileSystem:
        """The filesystem that :meth:`path` refers to."""
        return self._files.filesystem


class Store:
    """Artifacts below one URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._files = Files(uri)

    @property
    def is_local(self) -> bool:
        """Whether requests take microseconds; an object store is reached over a network."""
        return self._files.is_local

    def has(self, key: str) -> bool:
        """Whether the artifact is committed."""
        return self._files.exists(f"{key}/{COMMIT}")

    def get(self, key: str) -> Artifact:
        """The committed artifact. Raises :class:`GoodshotError` if there is none."""
        try:
            commit = json.loads(self._files.read(f"{key}/{COMMIT}"))
            return Artifact(key, commit["info"], self._files, f"{key}/{commit['attempt']}", commit["files"])
        except FileNotFoundError:
            raise GoodshotError(f"{self._files.shown}: no artifact {key}; run the study again to make it") from None
        except (ValueError, KeyError, TypeError):
            where = self._files.where(f"{key}/{COMMIT}")
            raise DamagedArtifact(f"{where}: is damaged; delete that file and run the study again") from None

    def put(
        self, key: str, files: Mapping[str, bytes | Callable[[pa.NativeFile], object]], info: Mapping[str, Any]
    ) -> Artifact:
        """Write the files (bytes, or functions that write them in pieces) under a new attempt, then commit them."""
        attempt = uuid.uuid4().hex[:12]
        try:
            hashes = {name: self._write(f"{key}/{attempt}/{name}", data) for name, data in files.items()}
        except BaseException:
            # On a full disk, half an attempt would keep the disk full.
            self._files.discard(f"{key}/{attempt}")
            raise
        commit = {"attempt": attempt, "files": hashes, "info": dict(info)}
        self._files.write(f"{key}/{COMMIT}", json.dumps(commit, indent=1).encode())
        return self.get(key)

    def take_back_if_damaged(self, key: str) -> bool:
        """Delete the commit of an artifact whose bytes are not those committed; its files stay until ``goodshot gc``.

        Returns whether that was so. An artifact that cannot be read at the moment is left alone.
        """
        try:
            artifact = self.get(key)
            for name in artifact.names:
                artifact.read(name)
        except (FileNotFoundError, DamagedArtifact):
            with suppress(GoodshotError, OSError):  # a store that cannot be written keeps it
                if self.has(key):
                    self._files.delete(f"{key}/{COMMIT}")
                    return True
            return False
        except (GoodshotError, OSError):
            return False
        return False

    def discard(self, key: str) -> None:
        """Delete an artifact if it exists: its commit first, so that nobody reads an incomplete artifact."""
        files = self._files
        with suppress(FileNotFoundError):
            files.filesystem.delete_file(files.path(f"{key}/{COMMIT}"))
        with suppress(FileNotFoundError):
            files.filesystem.delete_dir(files.path(key))

    def _write(self, name: str, data: bytes | Callable[[pa.NativeFile], object]) -> str:
        if not isinstance(data, bytes):
            return self._files.write_stream(name, data)
        self._files.write(name, data)
        return hashlib.sha256(data).hexdigest()

    def parts(self, key: str) -> list[str]:
        """Names of the committed parts directly below ``key``, sorted."""
        commits = self._files.names(key, suffix=f"/{COMMIT}", recursive=True)
        parts = [name.removeprefix(f"{key}/").removesuffix(f"/{COMMIT}") for name in commits]
        return [part for part in parts if "/" not in part and part != COMMIT]


def arrays_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a safetensors file with these arrays."""
    data: bytes = save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return data
