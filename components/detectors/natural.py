"""Photographs of anything: what EfficientAD's student must not learn to describe (its loss on natural images).

anomalib downloads ImageNette for it. Here the user brings a folder, or it is the colour photographs that ship with
scikit-image: few, but enough for the tens of steps of the default preset.
"""

from __future__ import annotations

import hashlib
import tempfile
from functools import lru_cache
from pathlib import Path

from components.errors import BadInput
from components.weights import cache_dir

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
_EMBEDDED = "scikit-image: " + " ".join(PHOTOGRAPHS)


def natural_images(folder: object = None) -> Path:
    """The folder of natural images, one level of folders deep: the one given, or the embedded photographs'.

    Raises `BadInput` where the given one is not there; nothing is downloaded.
    """
    if folder is None:
        return _written(cache_dir() / "natural_images")
    path = Path(str(folder)).expanduser()
    if not path.is_dir():
        raise BadInput(f"detector efficient_ad: no folder imagenet_dir {path}; nothing is downloaded, so bring it")
    return path


def natural_identity(folder: object = None) -> str:
    """What a fingerprint holds of the natural images: names and sizes of the folder's files, never its path."""
    if folder is None:
        return _EMBEDDED
    return _listed(natural_images(folder))


@lru_cache(maxsize=8)
def _listed(folder: Path) -> str:
    files = sorted((path.relative_to(folder).as_posix(), path.stat().st_size) for path in folder.rglob("*.*"))
    if not files:
        raise BadInput(f"detector efficient_ad: imagenet_dir {folder} holds no image")
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _written(folder: Path) -> Path:
    """The embedded photographs as one class of an image folder. Several processes may ask at once."""
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
