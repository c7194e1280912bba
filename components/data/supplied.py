"""Images that a user supplies for training besides the dataset's, from the web or another generator (Table 1).

<folder>/<category>/*    if there is such a folder
<folder>/*               otherwise, for a study of one category
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from goodshot.components.data.depth import white_of
from goodshot.components.data.images import DEFAULT_LIMIT, RGB, ImageFacts, Limit, check_image, decode_rgb
from goodshot.components.data.layout import EXTENSIONS, images, inmost, is_folder, listed
from goodshot.components.errors import BadInput


@dataclass(frozen=True)
class Supplied:
    """One supplied image: its path, the SHA-256 of its bytes, and the value read as white (see `Sample.white`)."""

    path: Path
    sha256: str
    white: int | None = None

    @property
    def content(self) -> str:
        """The identity of the image's pixels (see `Sample.content`)."""
        return self.sha256 if self.white is None else f"{self.sha256}:white={self.white}"

    def decode(self, size: int | None = None) -> RGB:
        """Returns the image as `decode_rgb` does: uint8 RGB (H, W, 3), or (size, size, 3)."""
        return decode_rgb(_bytes(self.path), size, self.white)


def folder_of(folder: Path, category: str, is_only_category: bool) -> Path:
    """Returns the folder of the category's images; `is_only_category` says that the study has no other category.

    Raises:
        BadInput: there is no such folder, or it is unclear which of its images belong to the category.
    """
    if not is_folder(folder):
        raise BadInput(f"{folder}: no such folder; put the images of arm external:{folder} there")
    if is_folder(folder / category):
        return inmost(folder / category)
    if not is_only_category:
        raise BadInput(
            f"{folder}: has no folder for {category}; make {folder / category}, or run a study of one category"
        )
    return inmost(folder)


def read_supplied(folder: Path, count: int, limit: Limit = DEFAULT_LIMIT) -> tuple[Supplied, ...]:
    """Returns the first `count` images of `folder`, by name, each read whole and decoded once.

    Files are recognised as images by their extension; others are skipped.

    Raises:
        BadInput: there are fewer images, or one of them cannot be read or is above the limit.
    """
    found = images(folder)
    if len(found) < count:
        raise BadInput(
            f"{folder}: holds {len(found)} images{_passed_over(folder, found)}, and copies = {count} needs "
            f"{count}; add some, or lower copies"
        )
    return read_files(found[:count], limit)


def read_files(paths: Iterable[Path], limit: Limit = DEFAULT_LIMIT) -> tuple[Supplied, ...]:
    """Returns the image files at `paths`, each read whole and decoded once.

    Raises:
        BadInput: one of them cannot be read or is above the limit.
    """
    files = [(path, *_intact(path, limit)) for path in paths]
    white = white_of(facts.brightest for *_, facts in files)
    return tuple(Supplied(path, sha256, facts.white(white)) for path, sha256, facts in files)


def decode_supplied(supplied: Sequence[Supplied], size: int) -> RGB:
    """Returns the images, square-resized as `decode_rgb` does: uint8 RGB (M, size, size, 3).

    Raises:
        BadInput: a file was removed or changed since it was first read.
    """
    decoded = []
    for image in supplied:
        data = _bytes(image.path)
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise BadInput(f"{image.path}: changed since it was first read; run the command again")
        decoded.append(decode_rgb(data, size, image.white))
    return np.stack(decoded)


def _intact(path: Path, limit: Limit) -> tuple[str, ImageFacts]:
    """The file's SHA-256, and its facts."""
    data = _bytes(path)
    try:
        # Both checks: a PNG's checksums, and errors that only decoding finds (pixels of an unknown range).
        facts = check_image(data, limit)
        decode_rgb(data)
    except BadInput as error:
        problem, _, remedy = str(error).partition("; ")
        raise BadInput(f"{path}: {problem}; {remedy or 'replace or remove the file'}") from error
    return hashlib.sha256(data).hexdigest(), facts


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); check its permissions, or remove it") from error


def _passed_over(folder: Path, found: list[Path]) -> str:
    others = [p.name for p in listed(folder) if p not in found and not is_folder(p)]
    if not others:
        return ""
    return f" ({len(others)} files are not named {', '.join(sorted(EXTENSIONS))}: {others[0]} …)"
