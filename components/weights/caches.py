"""The folders of weights on this machine: goodshot's own cache, and those of the libraries that load them.

Each library's rule is applied without importing it (torch and the hub's client take seconds); if it is loaded
already, its own value is used, because it has read the environment before.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import lru_cache
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder for files that can be rebuilt: $GOODSHOT_CACHE, else the user's cache. It may not exist."""
    if chosen := os.environ.get("GOODSHOT_CACHE"):
        return Path(chosen).expanduser()
    return _user_cache() / "goodshot"


def hub_cache() -> Path:
    """The Hugging Face hub's cache: $HF_HUB_CACHE, else ``hub`` in $HF_HOME."""
    if (loaded := sys.modules.get("huggingface_hub.constants")) is not None:
        return Path(loaded.HF_HUB_CACHE)
    home = os.environ.get("HF_HOME") or str(_user_cache() / "huggingface")
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(chosen or str(Path(home) / "hub"))).expanduser()


def torch_cache() -> Path:
    """torch's hub cache: ``hub/checkpoints`` in $TORCH_HOME, with torchvision's and some of timm's files."""
    if (loaded := sys.modules.get("torch.hub")) is not None:
        return Path(loaded.get_dir()) / "checkpoints"
    return Path(os.environ.get("TORCH_HOME") or _user_cache() / "torch").expanduser() / "hub" / "checkpoints"


def clip_cache() -> Path:
    """open_clip's cache for files that are not on the hub."""
    return Path.home() / ".cache" / "clip"


def anomalib_cache() -> Path:
    """anomalib's cache of pretrained weights."""
    import platformdirs

    return platformdirs.user_cache_path("anomalib") / "pre_trained"


def forbid_downloads() -> None:
    """Make the hub clients use local files only, in this process and its children.

    Call it before importing transformers or open_clip, which read the variables once, on import. Without it a
    missing file costs them 47 seconds of retries on a machine without a network.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # huggingface_hub may have been imported before, and reads its own copy of the variable.
    if (loaded := sys.modules.get("huggingface_hub.constants")) is not None:
        loaded.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (64 hex digits) of a file's bytes, computed once per process and file state."""
    stat = path.stat()
    return _sha256(path.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    # size and time are only part of the key, so that a file replaced during a process is hashed again
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
