"""The interface of the layouts of made images on disk. A layout is written completely or not at all."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from goodshot.components.data.sample import GOOD
from goodshot.components.defects.images import DefectImages
from goodshot.components.errors import BadInput

RGB = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Layout(ABC):
    """A layout of images, masks and types. name: its name for users. read_by: the libraries that load it."""

    name: ClassVar[str]
    read_by: ClassVar[str]

    @abstractmethod
    def write(self, made: DefectImages, goods: RGB, object_name: str, folder: Path) -> None:
        """Writes the made images and the good ones, uint8 (K, S, S, 3), into the empty ``folder``."""


def write_layout(layout: Layout, made: DefectImages, goods: RGB, object_name: str, out: Path) -> Path:
    """Writes the images as the folder ``out``, which appears complete or not at all, and returns it.

    object_name: the word for the product.

    Raises:
        BadInput: ``out`` exists and is not an empty folder, or cannot be written; or a defect type is called ``good``,
            which is the name of the normal images everywhere.
    """
    if GOOD in made.types:
        raise BadInput(f"a defect type is called {GOOD}, as the normal images are; rename its folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: exists already; choose another folder, or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            written = Path(scratch) / "written"
            written.mkdir()
            layout.write(made, goods, object_name, written)
            written.rename(out)
    except OSError as error:
        raise BadInput(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    return out


def put(path: Path, data: bytes | str) -> None:
    """Writes a file, and its folders if they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def parts(mask: Mask) -> Iterator[Mask]:
    """Yields the connected parts of a mask, bool (S, S), diagonal neighbours included: one defect each."""
    from scipy import ndimage

    labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
    for part in range(1, count + 1):
        yield np.asarray(labelled == part)


def kinds(made: DefectImages) -> list[str]:
    """The defect types, sorted; their position is their class."""
    return sorted({*made.types})


def folder_name(object_name: str) -> str:
    """The product's word as the name of a folder."""
    return object_name.strip().replace(" ", "_").replace("/", "_")
