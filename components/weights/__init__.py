"""Every pretrained weight by name: its source, its verification, and the remedy if it is missing.

``registry`` names → publication and location · ``files`` the kinds of files and how they are fetched ·
``caches`` the folders of this machine · ``timm_table`` and ``open_clip_table`` two publishers' tables, read without
importing them · ``lite0`` the embedded backbone. Importing this package loads neither torch nor a hub's client, and
only `Pretrained.fetch` ever downloads.
"""

from components.weights.caches import cache_dir, file_sha256, forbid_downloads
from components.weights.lite0 import (
    LITE0_MEAN,
    LITE0_STD,
    efficientnet_lite0_state_dict,
    load_efficientnet_lite0,
)
from components.weights.registry import LISTED, Pretrained, Weight, require, resolve, weight

__all__ = [
    "LISTED",
    "LITE0_MEAN",
    "LITE0_STD",
    "Pretrained",
    "Weight",
    "cache_dir",
    "efficientnet_lite0_state_dict",
    "file_sha256",
    "forbid_downloads",
    "load_efficientnet_lite0",
    "require",
    "resolve",
    "weight",
]
