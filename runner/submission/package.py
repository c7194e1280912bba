"""The code that a job runs, as one archive: goodshot's own files and, if the study is a file, that file.

The archive contains only Python modules of goodshot's packages, and the data files that the packages declare, so that
data, results and secrets beside the code are not sent. Equal contents give an equal archive on every machine and at any
time, so that the cluster receives each version once.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import goodshot
from goodshot.components.download import readable
from goodshot.components.errors import BadInput

DATA = {
    "": ("py.typed",),
    "components/detectors": ("models.json",),
    "components/generator": ("embedded.safetensors",),
    "components/prompts": ("wordnet_nouns.*",),
    "runner/report": ("html/*",),
}
"""Files other than modules, as in pyproject.toml's package data, by the folder of their package."""
LIMIT = 100 * 2**20
"""The largest body, in bytes, of a request that a dashboard accepts."""
STUDY = "study.yaml"
"""The name of the study's file in the archive."""
LARGEST = 3
"""How many of the largest files an error names."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    """The contents of files by their path in the archive, sorted by path."""

    files: Mapping[str, bytes]

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(map(len, self.files.values()))

    @cached_property
    def archive(self) -> bytes:
        """The ZIP file, without compression: compressors differ, and the large files are compressed already."""
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
            for name, content in self.files.items():
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system, entry.external_attr = 3, 0o644 << 16
                archive.writestr(entry, content)
        return written.getvalue()

    @property
    def uri(self) -> str:
        """Ray's URI of the archive, as :func:`ray._private.runtime_env.packaging.get_uri_for_package` computes it."""
        digest = hashlib.sha1(self.archive, usedforsecurity=False).hexdigest()
        return f"gcs://_ray_pkg_{digest}.zip"

    def require_size(self) -> None:
        """Raise :class:`BadInput` with the largest files if a dashboard would not accept the archive."""
        if len(self.archive) <= LIMIT:
            return
        largest = sorted(self.files, key=lambda name: len(self.files[name]), reverse=True)[:LARGEST]
        shown = ", ".join(f"{name} ({readable(len(self.files[name]))})" for name in largest)
        raise BadInput(
            f"the package of {readable(self.size)} exceeds the {readable(LIMIT)} that a dashboard accepts; "
            f"the largest files: {shown}; move data out of the code's folders"
        )


def package_of(study_file: Path | None = None, code: Path | None = None) -> Package:
    """Return the package of a study.

    Args:
        study_file: the study's YAML file, if it has one.
        code: the folder of the package ``goodshot``, by default that of the running package.
    """
    folder = code or Path(next(iter(goodshot.__path__)))
    files = {f"goodshot/{name}": path.read_bytes() for name, path in sorted(_files(folder))}
    if study_file is not None:
        files[STUDY] = study_file.read_bytes()
    return Package(files)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    # In a checkout, the top folders are links, which are followed. Links below them are not, as they may lead anywhere.
    tops = [child for child in folder.iterdir() if (child / "__init__.py").is_file()]
    for path in _plain(folder.glob("*.py")):
        yield path.name, path
    for top in tops:
        for module in _modules(top):
            yield module.relative_to(folder).as_posix(), module
    for package, patterns in DATA.items():
        for pattern in patterns:
            for path in _plain((folder / package).glob(pattern)):
                yield path.relative_to(folder).as_posix(), path


def _modules(package: Path) -> Iterator[Path]:
    yield from _plain(package.glob("*.py"))
    for child in package.iterdir():
        if not child.name.startswith(".") and not child.is_symlink() and (child / "__init__.py").is_file():
            yield from _modules(child)


def _plain(paths: Iterator[Path]) -> Iterator[Path]:
    return (path for path in paths if path.is_file() and not path.is_symlink() and not path.name.startswith("."))
