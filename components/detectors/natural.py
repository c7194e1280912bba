"""Natural photographs that some models learn from besides the good images.

EfficientAD's student is penalised for describing natural photographs; DRAEM and GLASS paint synthetic anomalies with
such photographs. anomalib downloads ImageNette and DTD for this purpose. Here, the photographs are ImageNette or DTD by
name after a fetch, or a user's folder; EfficientAD's default is the colour photographs that ship with scikit-image:
few, but enough for the tens of steps of the default preset.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from goodshot.components.errors import BadInput
from goodshot.components.weights import cache_dir, require
from goodshot.components.weights.registry import DTD, IMAGENETTE

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
_EMBEDDED = "scikit-image: " + " ".join(PHOTOGRAPHS)


@dataclass(frozen=True)
class NaturalImages:
    """A model's `argument` for the folder of its natural images.

    default: the set in the weights' registry that is used if the argument is not given. embedded: whether the
    embedded photographs are used without a folder; otherwise the model uses none.
    """

    argument: str
    default: str | None = None
    embedded: bool = False

    def chosen(self, args: Mapping[str, Any]) -> Any:
        """The folder or registered set in a model's arguments; None if there is none."""
        return args.get(self.argument, self.default)

    def used(self, folder: object) -> bool:
        """Whether natural photographs are used with this choice."""
        return self.embedded or folder is not None

    def registered(self, args: Mapping[str, Any]) -> tuple[str, ...]:
        """The choice's name in the weights' registry, if it is a registered set."""
        folder = self.chosen(args)
        return (str(folder),) if folder in (IMAGENETTE, DTD) else ()

    def argument_of(self, args: Mapping[str, Any]) -> dict[str, str]:
        """The argument as anomalib's class takes it: the path of a folder. Raises the errors of `natural_images`."""
        folder = self.chosen(args)
        return {self.argument: str(natural_images(folder))} if self.used(folder) else {}


def natural_images(folder: object = None) -> Path:
    """The folder of natural images, one level of folders deep: the given one, or the embedded photographs'.

    Args:
        folder: a path, or the name of a set in the weights' registry (`imagenette`, `dtd`).

    Raises `BadInput` if the given folder does not exist; nothing is downloaded.
    """
    if folder is None:
        return _written(cache_dir() / "natural_images")
    if folder in (IMAGENETTE, DTD):
        return require(str(folder))
    path = Path(str(folder)).expanduser()
    if not path.is_dir():
        raise BadInput(
            f"no folder {path} of natural images; nothing is downloaded implicitly: create it, or name {IMAGENETTE} or "
            f"{DTD} and fetch that"
        )
    return path


def natural_identity(folder: object = None) -> str:
    """The natural images' part of a fingerprint: names and sizes of the folder's files, never its path."""
    if folder is None:
        return _EMBEDDED
    return _listed(natural_images(folder))


@lru_cache(maxsize=8)
def _listed(folder: Path) -> str:
    files = sorted((path.relative_to(folder).as_posix(), path.stat().st_size) for path in folder.rglob("*.*"))
    if not files:
        raise BadInput(f"{folder}: holds no natural image")
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _written(folder: Path) -> Path:
    """The embedded photographs as one class of an image folder. Safe for several processes at once."""
    import skimage.data
    from PIL import Image

    target = folder / "photographs"
    for name in PHOTOGRAPHS:
        path = target / f"{name}.png"
        if not path.is_file():
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as part:
                Image.fromarray(getattr(skimage.data, name)()).save(part, format="PNG")
            Path(part.name).replace(path)
    return folder
